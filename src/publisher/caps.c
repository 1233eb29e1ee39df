/*
 * caps.c
 *		Partitions whose broker has refused large batches: how many bytes may
 *		be in flight to them.
 *
 * A broker compares a topic's max.message.bytes with the whole batch, and
 * librdkafka, which makes the batches, neither knows that limit nor splits a
 * batch that was refused.  It cannot make a larger batch than there are bytes
 * in flight, so these are halved each time that several records are refused
 * together, down to one record at a time.
 *
 * Caps are kept in memory only: a new worker finds them again at the price of a
 * few refused batches, and an administrator who has raised the limit does not
 * have to know of them.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "clock.h"
#include "publisher/caps.h"

/* In ms. */
#define TRIED_UPWARDS_AFTER (60 * 60 * 1000)
#define LOOK_INTERVAL (60 * 1000)

/* Above this a cap is none: as much as the relay has in flight in all. */
#define NO_CAP (16 * 1024 * 1024)

typedef struct Cap
{
	char	   *topic;
	int32		partition;
	int64		bytes;
	EvpubMsec	since;
} Cap;

static Cap *caps = NULL;
static int	ncaps = 0;
static int	cap_slots = 0;

static Cap *
find(const char *topic, int32 partition)
{
	for (int i = 0; i < ncaps; i++)
	{
		if (caps[i].partition == partition && strcmp(caps[i].topic, topic) == 0)
			return &caps[i];
	}
	return NULL;
}

static Cap *
add(const char *topic, int32 partition)
{
	Cap		   *cap;

	if (ncaps == cap_slots)
	{
		int			slots = Max(16, cap_slots * 2);

		caps = caps ? repalloc(caps, sizeof(Cap) * slots) :
			MemoryContextAlloc(TopMemoryContext, sizeof(Cap) * slots);
		cap_slots = slots;
	}
	cap = &caps[ncaps];
	cap->topic = MemoryContextStrdup(TopMemoryContext, topic);
	cap->partition = partition;
	cap->bytes = NO_CAP;
	ncaps++;
	return cap;
}

void
evpub_caps_lower(const EvpubPosition *position, const EvpubFrameFailed *failed)
{
	const char *topic = NULL;
	Cap		   *cap;

	for (int i = 0; i < position->ntopics; i++)
		if (position->topics[i].number == failed->topic)
			topic = position->topics[i].name;
	if (!failed->size || failed->count < 2 || failed->partition < 0 || !topic)
		return;
	cap = find(topic, failed->partition);
	if (!cap)
		cap = add(topic, failed->partition);
	cap->bytes = Max(1, Min(cap->bytes, (int64) Min(failed->bytes, NO_CAP) / 2));
	cap->since = evpub_clock_now();
}

static void
put(EvpubRelay *relay, const EvpubTopic *topic, const Cap *cap)
{
	EvpubFrameOffset limit;

	limit.topic = topic->number;
	limit.partition = cap->partition;
	limit.offset = cap->bytes >= NO_CAP ? 0 : cap->bytes;
	evpub_relay_put(relay, EVPUB_FRAME_LIMIT, &limit, sizeof(limit));
}

void
evpub_caps_announce(EvpubRelay *relay, const EvpubTopic *topic)
{
	for (int i = 0; i < ncaps; i++)
	{
		if (strcmp(caps[i].topic, topic->name) == 0)
			put(relay, topic, &caps[i]);
	}
}

static void
tell(EvpubRelay *relay, const EvpubPosition *position, const Cap *cap)
{
	for (int i = 0; i < position->ntopics; i++)
	{
		const EvpubTopic *topic = &position->topics[i];

		if (topic->announced && strcmp(topic->name, cap->topic) == 0)
			put(relay, topic, cap);
	}
}

void
evpub_caps_raise(EvpubRelay *relay, const EvpubPosition *position)
{
	static EvpubMsec looked_at = 0;

	if (ncaps == 0 || !evpub_clock_passed(looked_at, LOOK_INTERVAL))
		return;
	looked_at = evpub_clock_now();
	for (int i = 0; i < ncaps;)
	{
		Cap		   *cap = &caps[i];

		if (!evpub_clock_passed(cap->since, TRIED_UPWARDS_AFTER))
		{
			i++;
			continue;
		}
		cap->bytes *= 2;
		cap->since = looked_at;
		tell(relay, position, cap);
		if (cap->bytes < NO_CAP)
		{
			i++;
			continue;
		}
		pfree(cap->topic);
		*cap = caps[--ncaps];
	}
}
