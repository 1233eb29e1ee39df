/*
 * track.c
 *		The topics that were published to.
 *
 * The partition count is pinned: clients follow a grown topic within seconds
 * and then most keys change their partition, so that events of one key stand
 * in two.  Growth is adopted only when everything sent under the old count is
 * confirmed.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "publisher/caps.h"
#include "publisher/track.h"

/* Name to place in position->topics. */
typedef struct TopicEntry
{
	const char *name;
	int			place;
	char		status;			/* for simplehash */
} TopicEntry;

#define SH_PREFIX topicname
#define SH_ELEMENT_TYPE TopicEntry
#define SH_KEY_TYPE const char *
#define SH_KEY name
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

static topicname_hash *topic_names = NULL;
static const EvpubTopic *indexed = NULL;	/* what it was made from */

/* Numbers rise from topic to topic.  NULL: no topic has this one. */
static EvpubTopic *
find_number(EvpubPosition *position, uint32 number)
{
	int			low = 0;
	int			high = position->ntopics;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (position->topics[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < position->ntopics && position->topics[low].number == number)
		return &position->topics[low];
	return NULL;
}

static void
index_topic(EvpubPosition *position, int place)
{
	bool		found;
	TopicEntry *entry = topicname_insert(topic_names,
										 position->topics[place].name, &found);

	entry->place = place;
}

/*
 * There is one publisher at a time, but it may be retired and made anew, and
 * its topics may be read from elsewhere.
 */
static void
index_topics(EvpubPosition *position)
{
	if (topic_names && indexed == position->topics &&
		topic_names->members == (uint32) position->ntopics)
		return;
	indexed = position->topics;
	if (topic_names)
		topicname_destroy(topic_names);
	topic_names = topicname_create(TopMemoryContext, 64, NULL);
	for (int i = 0; i < position->ntopics; i++)
		index_topic(position, i);
}

static EvpubTopic *
add_topic(EvpubPosition *position, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	EvpubTopic *topic;

	if (position->ntopics == position->topic_slots)
	{
		int			slots = Max(8, position->topic_slots * 2);
		EvpubTopic *grown = palloc0(sizeof(EvpubTopic) * slots);

		if (position->ntopics > 0)
			memcpy(grown, position->topics, sizeof(EvpubTopic) * position->ntopics);
		position->topics = grown;
		position->topic_slots = slots;
		indexed = grown;		/* the same topics in the same places */
	}
	topic = &position->topics[position->ntopics];
	memset(topic, 0, sizeof(*topic));
	topic->name = pstrdup(name);
	topic->number = position->next_topic++;
	topic->offsets = palloc(sizeof(int64));
	topic->places = palloc(sizeof(uint32));
	index_topic(position, position->ntopics++);
	MemoryContextSwitchTo(old);
	return topic;
}

static void
announce(EvpubTopic *topic, EvpubRelay *relay)
{
	StringInfoData data;
	EvpubFrameTopic frame;
	int32		partitions = EVPUB_FRAME_TOPIC_NEW;

	if (topic->durable)
		partitions = topic->partitions;
	else if (topic->partitions < 0)
		partitions = EVPUB_FRAME_TOPIC_UNPINNED;
	if (partitions <= 0 && !topic->awaited)
	{
		topic->awaited = true;
		if (relay->awaited++ == 0)
			relay->awaited_since = relay->put;
	}
	initStringInfo(&data);
	frame.number = topic->number;
	frame.partitions = partitions;
	appendBinaryStringInfo(&data, (char *) &frame, sizeof(frame));
	appendStringInfoString(&data, topic->name);
	evpub_relay_put(relay, EVPUB_FRAME_TOPIC, data.data, data.len);
	for (int32 p = 0; p < partitions; p++)
	{
		EvpubFrameOffset offset;

		if (topic->offsets[p] < 0)
			continue;
		offset.topic = topic->number;
		offset.partition = p;
		offset.offset = topic->offsets[p];
		evpub_relay_put(relay, EVPUB_FRAME_OFFSET, &offset, sizeof(offset));
	}
	pfree(data.data);
	evpub_caps_announce(relay, topic);
	topic->announced = true;
}

uint32
evpub_track_topic(EvpubPosition *position, EvpubRelay *relay,
				  const char *name, uint32 length)
{
	char		text[256];
	TopicEntry *entry;
	EvpubTopic *topic;

	/* capture lets no longer name through */
	if (length >= sizeof(text))
		elog(ERROR, "topic name of %u bytes", length);
	memcpy(text, name, length);
	text[length] = '\0';

	index_topics(position);
	entry = topicname_lookup(topic_names, text);
	topic = entry ? &position->topics[entry->place] : add_topic(position, text);
	if (!topic->announced)
		announce(topic, relay);
	return topic->number;
}

void
evpub_track_start_relay(EvpubPosition *position)
{
	for (int i = 0; i < position->ntopics; i++)
		position->topics[i].remade = false;
}

void
evpub_track_forget_relay(EvpubPosition *position)
{
	for (int i = 0; i < position->ntopics; i++)
	{
		position->topics[i].announced = false;
		position->topics[i].awaited = false;
	}
}

/*
 * Use this count from now on.  Each new partition gets a number of its own; the
 * arrays are new, since a position that is gone back to has the old ones.
 */
static void
pin(EvpubPosition *position, EvpubTopic *topic, int32 partitions)
{
	int64	   *offsets = MemoryContextAlloc(TopMemoryContext,
											 sizeof(int64) * partitions);

	for (int32 p = 0; p < partitions; p++)
		offsets[p] = p < topic->partitions ? topic->offsets[p] : -1;
	pfree(topic->offsets);
	topic->offsets = offsets;
	if (partitions > topic->nplaces)
	{
		topic->places = repalloc(topic->places, sizeof(uint32) * partitions);
		while (topic->nplaces < partitions)
			topic->places[topic->nplaces++] = position->next_place++;
	}
	topic->partitions = partitions;
	topic->grown = 0;
	topic->grown_from = InvalidXLogRecPtr;
	topic->grown_durable = false;
	topic->changed = true;
}

bool
evpub_track_pins_wanted(const EvpubPosition *position)
{
	for (int i = 0; i < position->ntopics; i++)
		if (!position->topics[i].durable && position->topics[i].partitions > 0)
			return true;
	return false;
}

void
evpub_track_pins_durable(EvpubPosition *position, EvpubRelay *relay)
{
	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		if (topic->partitions <= 0)
			continue;
		topic->durable = true;
		if (!topic->awaited || relay->socket == PGINVALID_SOCKET)
			continue;
		topic->awaited = false;
		relay->awaited--;
		announce(topic, relay);
	}
}

bool
evpub_track_partitions(EvpubPosition *position, const EvpubFrame *frame)
{
	EvpubFrameTopic counted;
	int32		partitions;
	EvpubTopic *topic;

	if (frame->length != sizeof(counted))
		return false;
	memcpy(&counted, frame->data, sizeof(counted));
	partitions = counted.partitions;
	topic = find_number(position, counted.number);
	if (!topic || partitions > EVPUB_FRAME_PARTITIONS_MAX ||
		(partitions <= 0 && partitions != EVPUB_FRAME_TOPIC_UNPINNED))
		return false;

	/* what is not durable was not used, so it may still be another count */
	if (partitions == EVPUB_FRAME_TOPIC_UNPINNED)
		topic->remade = true;
	else if (!topic->durable)
		pin(position, topic, partitions);
	else if (partitions > topic->partitions && partitions != topic->grown &&
			 !topic->grown_durable)
	{
		topic->grown = partitions;
		topic->grown_from = InvalidXLogRecPtr;
		topic->changed = true;
	}
	return true;
}

bool
evpub_track_offset(EvpubPosition *position, const EvpubFrame *frame)
{
	EvpubFrameOffset offset;
	EvpubTopic *topic;

	if (frame->length != sizeof(offset))
		return false;
	memcpy(&offset, frame->data, sizeof(offset));
	topic = find_number(position, offset.topic);
	if (!topic || offset.partition < 0 || offset.partition >= topic->partitions)
		return false;
	topic->offsets[offset.partition] = offset.offset;
	topic->changed = true;
	return true;
}

bool
evpub_track_size(EvpubPosition *position, const EvpubFrame *frame,
				 const EvpubTopic **topic)
{
	EvpubFrameOffset size;
	EvpubTopic *found;

	if (frame->length != sizeof(size))
		return false;
	memcpy(&size, frame->data, sizeof(size));
	found = find_number(position, size.topic);
	if (!found || size.offset <= 0)
		return false;
	found->size = size.offset;
	*topic = found;
	return true;
}

/* ---- growth ---- */

bool
evpub_track_growth_wanted(const EvpubPosition *position)
{
	for (int i = 0; i < position->ntopics; i++)
		if (position->topics[i].grown > 0 &&
			position->topics[i].grown_from == InvalidXLogRecPtr)
			return true;
	return false;
}

bool
evpub_track_growth_pending(const EvpubPosition *position)
{
	for (int i = 0; i < position->ntopics; i++)
		if (position->topics[i].grown > 0 && !position->topics[i].grown_durable)
			return true;
	return false;
}

void
evpub_track_written(EvpubPosition *position)
{
	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];
		bool		durable = topic->grown_from != InvalidXLogRecPtr;

		/*
		 * What commits from now on goes by the new count, so this is what who
		 * has stopped the writers for it waits for.
		 */
		if (durable && !topic->grown_durable)
			ereport(LOG,
					(errmsg("evpub: topic \"%s\" has grown from %d to %d partitions",
							topic->name, topic->partitions, topic->grown)));
		topic->grown_durable = durable;
	}
}

void
evpub_track_told(EvpubPosition *position, XLogRecPtr end)
{
	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		topic->changed = false;
		if (topic->grown > 0 && topic->grown_from == InvalidXLogRecPtr)
			topic->grown_from = end;
	}
}

void
evpub_track_message(EvpubPosition *position, const EvpubPosition *message,
					XLogRecPtr end)
{
	for (int i = 0; i < message->ntopics; i++)
	{
		const EvpubTopic *told = &message->topics[i];
		EvpubTopic *topic = find_number(position, told->number);

		if (topic && told->grown > topic->partitions && topic->durable &&
			told->grown_from == InvalidXLogRecPtr && !topic->grown_durable)
		{
			topic->grown = told->grown;
			topic->grown_from = end;
		}
	}
}

bool
evpub_track_growth_due(const EvpubPosition *position, XLogRecPtr commit_lsn)
{
	for (int i = 0; i < position->ntopics; i++)
		if (position->topics[i].grown_durable &&
			commit_lsn > position->topics[i].grown_from)
			return true;
	return false;
}

void
evpub_track_adopt_growth(EvpubPosition *position, XLogRecPtr commit_lsn)
{
	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		if (!topic->grown_durable || commit_lsn <= topic->grown_from)
			continue;
		pin(position, topic, topic->grown);
		topic->announced = false;
	}
}

/* ---- what a person decides ---- */

bool
evpub_track_accept_remade(EvpubPosition *position)
{
	bool		accepted = false;

	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		if (!topic->remade)
			continue;
		topic->remade = false;
		topic->partitions = -1;
		topic->durable = false;
		topic->grown = 0;
		topic->grown_from = InvalidXLogRecPtr;
		topic->grown_durable = false;
		topic->changed = true;
		accepted = true;
		ereport(LOG,
				(errmsg("evpub: topic \"%s\" was accepted as it is now, by user request",
						topic->name)));
	}
	return accepted;
}

bool
evpub_track_forget_topic(EvpubPosition *position, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	EvpubTopic *left = palloc0(sizeof(EvpubTopic) * (position->ntopics + 8));
	int			n = 0;

	for (int i = 0; i < position->ntopics; i++)
		if (strcmp(position->topics[i].name, name) != 0)
			left[n++] = position->topics[i];
	MemoryContextSwitchTo(old);
	if (n == position->ntopics)
	{
		pfree(left);
		return false;
	}
	position->topics = left;
	position->topic_slots = position->ntopics + 8;
	position->ntopics = n;
	return true;
}
