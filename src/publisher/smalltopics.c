/*
 * smalltopics.c
 *		Topics that do not take every event that evpub.max_event_bytes allows.
 *
 * The writer of an event that is larger than this setting gets an error.  An event
 * that is smaller, and still too large for its topic, is refused by the broker, and
 * everything behind it waits.  So evpub.check() names such topics beforehand.  The
 * relay reports what the topics take, where it may ask.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "publisher/smalltopics.h"
#include "settings.h"

/* What a broker counts of a batch beside key, value and headers of its event. */
#define BATCH_OVERHEAD 512

/* Topics that are named. */
#define NAMED_MAX 3

static bool changed = true;

void
evpub_smalltopics_changed(void)
{
	changed = true;
}

void
evpub_smalltopics_report(const EvpubPosition *position, char *text, Size length)
{
	StringInfoData names;
	int			count = 0;

	if (!changed)
		return;
	changed = false;
	initStringInfo(&names);
	for (int i = 0; i < position->ntopics; i++)
	{
		const EvpubTopic *topic = &position->topics[i];

		/* what does not fit into a dead letter is cut */
		if (evpub_on_error == EVPUB_ON_ERROR_DEAD_LETTER &&
			strcmp(topic->name, evpub_dead_letter_topic) == 0)
			continue;
		if (topic->size == 0 ||
			topic->size >= (int64) evpub_max_event_bytes + BATCH_OVERHEAD)
			continue;
		if (count++ < NAMED_MAX)
			appendStringInfo(&names, "%s\"%.80s\" " INT64_FORMAT,
							 count > 1 ? ", " : "", topic->name, topic->size);
	}
	if (count > NAMED_MAX)
		appendStringInfo(&names, " and %d more", count - NAMED_MAX);
	text[0] = '\0';
	if (count > 0)
		snprintf(text, length,
				 "an event may have %d bytes, with %d around it; less is taken by topic %s",
				 evpub_max_event_bytes, BATCH_OVERHEAD, names.data);
	pfree(names.data);
}
