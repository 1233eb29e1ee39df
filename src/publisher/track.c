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

/* Name to number; an index into position->topics. */
typedef struct TopicEntry
{
	const char *name;
	uint32		number;
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

static void
index_topic(EvpubPosition *position, uint32 number)
{
	bool		found;
	TopicEntry *entry = topicname_insert(topic_names,
										 position->topics[number].name, &found);

	entry->number = number;
}

/* There is one publisher at a time, but it may be retired and made anew. */
static void
index_topics(EvpubPosition *position)
{
	if (topic_names && topic_names->members == (uint32) position->ntopics)
		return;
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
	}
	topic = &position->topics[position->ntopics];
	memset(topic, 0, sizeof(*topic));
	topic->name = pstrdup(name);
	topic->number = position->ntopics++;
	topic->offsets = palloc(sizeof(int64));
	index_topic(position, topic->number);
	MemoryContextSwitchTo(old);
	return topic;
}

static void
announce(EvpubTopic *topic, EvpubRelay *relay)
{
	StringInfoData data;
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
	appendBinaryStringInfo(&data, (char *) &topic->number, sizeof(uint32));
	appendBinaryStringInfo(&data, (char *) &partitions, sizeof(int32));
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
	topic = entry ? &position->topics[entry->number] : add_topic(position, text);
	if (!topic->announced)
		announce(topic, relay);
	return topic->number;
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

static void
pin(EvpubTopic *topic, int32 partitions)
{
	int64	   *offsets = MemoryContextAlloc(TopMemoryContext,
											 sizeof(int64) * partitions);

	for (int32 p = 0; p < partitions; p++)
		offsets[p] = p < topic->partitions ? topic->offsets[p] : -1;
	pfree(topic->offsets);
	topic->offsets = offsets;
	topic->partitions = partitions;
	topic->grown = 0;
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
	uint32		number;
	int32		partitions;
	EvpubTopic *topic;

	if (frame->length != sizeof(number) + sizeof(partitions))
		return false;
	memcpy(&number, frame->data, sizeof(number));
	memcpy(&partitions, frame->data + sizeof(number), sizeof(partitions));
	if (number >= (uint32) position->ntopics || partitions <= 0)
		return false;
	topic = &position->topics[number];

	/* what is not durable was not used, so it may still be another count */
	if (!topic->durable)
		pin(topic, partitions);
	else if (partitions > topic->partitions)
		topic->grown = partitions;
	return true;
}

bool
evpub_track_offset(EvpubPosition *position, const EvpubFrame *frame)
{
	EvpubFrameOffset offset;

	if (frame->length != sizeof(offset))
		return false;
	memcpy(&offset, frame->data, sizeof(offset));
	if (offset.topic >= (uint32) position->ntopics || offset.partition < 0 ||
		offset.partition >= position->topics[offset.topic].partitions)
		return false;
	position->topics[offset.topic].offsets[offset.partition] = offset.offset;
	return true;
}

bool
evpub_track_adopt_growth(EvpubPosition *position)
{
	bool		adopted = false;

	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		if (topic->grown <= Max(topic->partitions, 0))
			continue;
		ereport(LOG,
				(errmsg("evpub: topic \"%s\" has grown from %d to %d partitions",
						topic->name, topic->partitions, topic->grown)));
		pin(topic, topic->grown);
		topic->announced = false;
		adopted = true;
	}
	return adopted;
}

void
evpub_track_accept_topics(EvpubPosition *position)
{
	for (int i = 0; i < position->ntopics; i++)
	{
		if (position->topics[i].partitions > 0)
			position->topics[i].partitions = -1;
		position->topics[i].durable = false;
		position->topics[i].grown = 0;
	}
}
