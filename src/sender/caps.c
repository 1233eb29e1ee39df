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
 * Where the relay may ask for the topic's max.message.bytes, that number is the
 * cap, and the cap ends when the topic takes the batch that was refused.  Elsewhere
 * a higher cap is tried after an hour.  It is tried at once when the settings are
 * reloaded, since whoever has raised the limit may have done that; resume() ends
 * all caps.  Each try costs a refused batch, if the limit is still the same.
 *
 * Caps are kept in memory only: a new worker finds them again at the price of a
 * few refused batches.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "clock.h"
#include "sender/caps.h"

/* In ms. */
#define TRIED_UPWARDS_AFTER (60 * 60 * 1000)
#define LOOK_INTERVAL (60 * 1000)

/* Above this a cap is none: as much as the relay has in flight in all. */
#define NO_CAP (16 * 1024 * 1024)

/* What a batch has beside its records; these are counted a little too large. */
#define BATCH_OVERHEAD 100

typedef struct Cap
{
	char	   *topic;
	int32		partition;
	int64		bytes;
	int64		refused;		/* the smallest batch that was */
	int64		size;			/* max.message.bytes as reported since; 0: not */
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
	cap->refused = NO_CAP;
	cap->size = 0;
	ncaps++;
	return cap;
}

/*
 * The relay reports how much the topic takes.  A number that is reported again
 * changes nothing: if the broker went by another one, the cap has been found by
 * trying since, and stays.
 */
static bool
use_size(Cap *cap, int64 size)
{
	if (cap->size == size)
		return false;
	cap->size = size;
	cap->bytes = size >= cap->refused ? NO_CAP : Max(1, size - BATCH_OVERHEAD);
	return true;
}

void
evpub_caps_lower(const EvpubPosition *position, const EvpubFrameFailed *failed)
{
	const EvpubTopic *topic = NULL;
	Cap		   *cap;

	for (int i = 0; i < position->ntopics; i++)
		if (position->topics[i].number == failed->topic)
			topic = &position->topics[i];
	if (!failed->size || failed->count < 2 || failed->partition < 0 || !topic)
		return;
	cap = find(topic->name, failed->partition);
	if (!cap)
		cap = add(topic->name, failed->partition);
	cap->refused = (int64) Min(failed->bytes, NO_CAP);
	cap->bytes = Max(1, Min(cap->bytes, cap->refused / 2));
	cap->since = evpub_clock_now();

	/* what the topic takes may have been reported before */
	if (topic->size > 0 && topic->size < cap->refused)
		use_size(cap, topic->size);
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

		if (topic->relay_knows && relay->socket != PGINVALID_SOCKET &&
			strcmp(topic->name, cap->topic) == 0)
			put(relay, topic, cap);
	}
}

/* End a cap. */
static void
lift(EvpubRelay *relay, const EvpubPosition *position, Cap *cap)
{
	cap->bytes = NO_CAP;
	tell(relay, position, cap);
	pfree(cap->topic);
	*cap = caps[--ncaps];
}

void
evpub_caps_size(EvpubRelay *relay, const EvpubPosition *position,
				const EvpubTopic *topic)
{
	for (int i = 0; i < ncaps; i++)
	{
		Cap		   *cap = &caps[i];

		if (strcmp(cap->topic, topic->name) != 0 || !use_size(cap, topic->size))
			continue;
		cap->since = evpub_clock_now();
		tell(relay, position, cap);
	}
}

/* Is the broker's own number known, and is the cap made from it? */
static bool
is_known(const Cap *cap)
{
	return cap->size > 0 && cap->size < cap->refused;
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

		if (is_known(cap) || !evpub_clock_passed(cap->since, TRIED_UPWARDS_AFTER))
		{
			i++;
			continue;
		}
		cap->bytes *= 2;
		cap->since = looked_at;
		if (cap->bytes >= NO_CAP)
			lift(relay, position, cap); /* the last one is here now */
		else
		{
			tell(relay, position, cap);
			i++;
		}
	}
}

void
evpub_caps_try(EvpubRelay *relay, const EvpubPosition *position)
{
	for (int i = 0; i < ncaps; i++)
	{
		caps[i].size = 0;
		caps[i].bytes = Min(NO_CAP, caps[i].bytes * 2);
		caps[i].since = evpub_clock_now();
		tell(relay, position, &caps[i]);
	}
}

void
evpub_caps_lift(EvpubRelay *relay, const EvpubPosition *position, const char *topic)
{
	for (int i = ncaps - 1; i >= 0; i--)
	{
		if (!topic || strcmp(caps[i].topic, topic) == 0)
			lift(relay, position, &caps[i]);
	}
}
