/*
 * creation.c
 *		Topics that evpub creates: which are asked for, and what is reported of them.
 */
#include <stdio.h>
#include <string.h>

#include "creation.h"
#include "frames.h"
#include "relay.h"

/* A topic that is not there after so long is reported as the reason, in ms. */
#define CREATION_PATIENCE_MS 1000
/* ... and so long without such a topic ends the wait for a group of them. */
#define CREATION_OVER_MS 5000

/* Topics that a line about created ones names. */
#define NAMED_MAX 3

void
creation_note(Topic *const *topics, const Lookup *lookup)
{
	char		text[RELAY_TEXT_MAX];
	size_t		length = 0;
	int			count = 0;

	for (int i = 0; i < lookup->count; i++)
	{
		if (!topics[i]->created)
			continue;
		if (lookup->kind == LOOKUP_CREATE && lookup->results[i].error)
			continue;			/* it was there already */
		if (count++ < NAMED_MAX)
			length += (size_t) snprintf(text + length, sizeof(text) - length,
										"%s\"%s\"", count > 1 ? ", " : "", topics[i]->name);
	}
	if (count == 0)
		return;
	if (count > NAMED_MAX)
		length += (size_t) snprintf(text + length, sizeof(text) - length,
									" and %d more", count - NAMED_MAX);
	frames_note("created %s%s", count > 1 ? "topics " : "topic ", text);
}

void
creation_group(Topic *const *topics, int count, int64_t now)
{
	static uint32_t last_group;
	bool		have_scout = false;

	last_group = last_group == UINT32_MAX ? 1 : last_group + 1;
	for (int i = 0; i < count; i++)
	{
		Topic	   *topic = topics[i];

		if (topic->state != TOPIC_ASK || !topic->created || topic->group != 0)
			continue;
		topic->group = last_group;
		topic->scout = !have_scout;
		if (have_scout)
			topic->due = now + CREATION_GROUP_MS;
		have_scout = true;
	}
}

void
creation_arrived(const Topic *scout, int64_t now)
{
	uint32_t	group = scout->group;

	for (uint32_t i = 0; i < topics_end(); i++)
	{
		Topic	   *topic = topics_get(i);

		if (topic == NULL || topic->group != group)
			continue;
		topic->group = 0;
		topic->scout = false;
		topic->backoff = 0;
		if (topic->state == TOPIC_ASK)
			topic->due = now;
	}
}

/* How many others are not there yet? */
static int
others_created(const Topic *topic)
{
	int			count = 0;

	for (uint32_t i = 0; i < topics_end(); i++)
	{
		const Topic *other = topics_get(i);

		if (other != NULL && other != topic && other->state != TOPIC_READY &&
			(other->state == TOPIC_CREATE || other->created))
			count++;
	}
	return count;
}

int64_t
creation_report(const Topic *head, int64_t now)
{
	static char text[sizeof(head->trouble)];
	static int64_t reported_at = -CREATION_OVER_MS;
	Topic	   *topic = head != NULL ? topics_get(head->number) : NULL;
	int64_t		until;

	if (topic == NULL || topic->state == TOPIC_READY || topic->trouble[0] != '\0' ||
		(topic->state != TOPIC_CREATE && !topic->created))
		return RELAY_NEVER;
	until = topic->waiting_since + CREATION_PATIENCE_MS;
	if (now < until)
		return until;
	if (now - reported_at >= CREATION_OVER_MS)
	{
		int			others = others_created(topic);

		if (others > 0)
			snprintf(text, sizeof(text), "topic \"%s\" and %d more are being created",
					 topic->name, others);
		else
			snprintf(text, sizeof(text), "topic \"%s\" is being created", topic->name);
	}
	reported_at = now;
	memcpy(topic->trouble, text, sizeof(topic->trouble));
	return RELAY_NEVER;
}
