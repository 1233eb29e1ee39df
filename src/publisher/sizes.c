/*
 * sizes.c
 *		Topics that do not take every event that evpub.max_event_bytes allows.
 *
 * Who writes learns only by that setting that his event is too large.  What is
 * smaller and still too large for its topic stands still in front of the broker,
 * and everything with it; so it is said beforehand.  The relay tells what the
 * topics take, where it may ask.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "publisher/sizes.h"
#include "settings.h"

/* What a broker counts of a batch beside key, value and headers of its event. */
#define BATCH_OVERHEAD 512

/* Topics that are named. */
#define NAMED_MAX 3

static bool changed = true;

void
evpub_sizes_changed(void)
{
	changed = true;
}

void
evpub_sizes_tell(const EvpubPosition *position, char *text, Size length)
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
