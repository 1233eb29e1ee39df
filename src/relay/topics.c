/*
 * topics.c
 *		The topics that records name by number.
 *
 * The partition count is pinned: librdkafka follows a grown count silently,
 * which would move most keys to other partitions while their older records
 * are still on the way.  Growth is only reported.  What the cluster says of a
 * topic is found out by survey.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "relay.h"
#include "topics.h"

#define NUMBER_MAX (1 << 20)

/* librdkafka has said that a topic is gone: the cluster is asked so much later. */
#define ASK_AGAIN_MS 100

static rd_kafka_t *client;

static Topic **topics;			/* by number; holes are NULL */
static uint32_t topics_size;
static bool changed;			/* there may be something to ask */
static bool new_ready;			/* there may be a size to ask for */

void
topics_start(rd_kafka_t *use_client)
{
	client = use_client;
}

uint32_t
topics_end(void)
{
	return topics_size;
}

bool
topics_changed(void)
{
	bool		result = changed;

	changed = false;
	return result;
}

Topic *
topics_get(uint32_t number)
{
	return number < topics_size ? topics[number] : NULL;
}

bool
topics_new_ready(void)
{
	bool		result = new_ready;

	new_ready = false;
	return result;
}

static Topic *
add_topic(uint32_t number, const char *name, uint32_t len)
{
	Topic	   *topic;

	/* with a NUL in it, librdkafka would see another name, perhaps none */
	if (number >= NUMBER_MAX || len == 0 || len > 249 || memchr(name, '\0', len) != NULL)
		relay_fail(EVPUB_FAILURE_RETRY, "malformed TOPIC frame from the server");
	if (number >= topics_size)
	{
		uint32_t	size = (number + 1) * 2;

		topics = relay_realloc(topics, size * sizeof(*topics));
		memset(topics + topics_size, 0, (size - topics_size) * sizeof(*topics));
		topics_size = size;
	}
	topic = relay_realloc(NULL, sizeof(*topic));
	memset(topic, 0, sizeof(*topic));
	topic->number = number;
	topic->name = relay_realloc(NULL, len + 1);
	memcpy(topic->name, name, len);
	topic->name[len] = '\0';
	topic->state = TOPIC_ASK;
	topic->waiting_since = relay_now();
	topics[number] = topic;
	return topic;
}

void
topics_ready(Topic *topic, int64_t now)
{
	topic->state = TOPIC_READY;
	new_ready = new_ready || topic->size_due == 0;
	topic->created = false;
	topic->group = 0;
	topic->scout = false;
	topic->trouble[0] = '\0';
	topic->backoff = 0;
	topic->due = now + TOPICS_GROWTH_CHECK_MS;
}

Topic *
topics_announce(const char *payload, uint32_t length)
{
	EvpubFrameTopic frame;
	const char *name = payload + sizeof(frame);
	uint32_t	name_len;
	int32_t		pinned;
	Topic	   *topic;

	if (length < sizeof(frame))
		relay_fail(EVPUB_FAILURE_RETRY, "malformed TOPIC frame from the server");
	memcpy(&frame, payload, sizeof(frame));
	name_len = length - (uint32_t) sizeof(frame);
	pinned = frame.partitions;
	if (pinned < EVPUB_FRAME_TOPIC_UNPINNED || pinned > EVPUB_FRAME_PARTITIONS_MAX)
		relay_fail(EVPUB_FAILURE_RETRY, "malformed TOPIC frame from the server");

	topic = topics_get(frame.number);
	if (topic == NULL)
		topic = add_topic(frame.number, name, name_len);
	else if (strlen(topic->name) != name_len ||
			 memcmp(topic->name, name, name_len) != 0 || pinned < topic->pinned)
		relay_fail(EVPUB_FAILURE_RETRY,
				   "the server gave topic \"%s\" another meaning", topic->name);
	else if (topic->state == TOPIC_PIN && topic->reported == pinned)
		topics_ready(topic, relay_now());
	else if (topic->reported < pinned || topic->state == TOPIC_PIN)
		topic->state = TOPIC_ASK;
	topic->pinned = pinned > 0 ? pinned : 0;
	topic->published = pinned != EVPUB_FRAME_TOPIC_NEW;
	if (topic->state != TOPIC_READY)
		topic->due = 0;
	changed = true;
	return topic;
}

TopicPartition *
topics_partition(Topic *topic, int32_t partition)
{
	if (partition >= topic->partitions_size)
	{
		int32_t		size = partition + 1;

		if (size < topic->pinned)
			size = topic->pinned;
		topic->partitions = relay_realloc(topic->partitions,
										  (size_t) size * sizeof(TopicPartition));
		for (int32_t i = topic->partitions_size; i < size; i++)
			topic->partitions[i] = (TopicPartition){.offset = -1,.read_end = -1};
		topic->partitions_size = size;
	}
	return &topic->partitions[partition];
}

/* The partition that a frame about one names; *number gets what it says. */
static TopicPartition *
read_partition(const char *payload, uint32_t length, int64_t *number)
{
	EvpubFrameOffset frame;
	Topic	   *topic;

	if (length != sizeof(frame))
		relay_fail(EVPUB_FAILURE_RETRY, "malformed frame about a partition from the server");
	memcpy(&frame, payload, sizeof(frame));
	topic = topics_get(frame.topic);
	if (topic == NULL || frame.partition < 0 ||
		frame.partition >= EVPUB_FRAME_PARTITIONS_MAX)
		relay_fail(EVPUB_FAILURE_RETRY, "malformed frame about a partition from the server");
	*number = frame.offset;
	return topics_partition(topic, frame.partition);
}

void
topics_set_offset(const char *payload, uint32_t length)
{
	int64_t		offset;
	TopicPartition *partition = read_partition(payload, length, &offset);

	if (offset < -1 || offset > EVPUB_FRAME_OFFSET_MAX)
		relay_fail(EVPUB_FAILURE_RETRY, "malformed OFFSET frame from the server");
	partition->offset = offset;
}

void
topics_set_limit(const char *payload, uint32_t length)
{
	int64_t		bytes;
	TopicPartition *partition = read_partition(payload, length, &bytes);

	partition->limit = bytes < 0 ? 0 : bytes;
}

void
topics_ask_again(Topic *topic)
{
	if (topic->state == TOPIC_READY)
	{
		topic->state = TOPIC_ASK;
		topic->due = relay_now() + ASK_AGAIN_MS;
		changed = true;
	}
}

static void
send_count(const Topic *topic, int32_t count)
{
	EvpubFrameTopic frame = {.number = topic->number,.partitions = count};

	frames_send(EVPUB_FRAME_PARTITIONS, &frame, sizeof(frame), NULL, 0);
}

void
topics_report(Topic *topic, int32_t count)
{
	if (topic->reported == count)
		return;
	topic->reported = count;
	send_count(topic, count);
}

void
topics_remade(const Topic *topic)
{
	send_count(topic, EVPUB_FRAME_TOPIC_UNPINNED);
}

void
topics_make_handle(Topic *topic)
{
	rd_kafka_topic_conf_t *conf;

	if (topic->handle != NULL)
		return;
	conf = rd_kafka_default_topic_conf_dup(client);
	rd_kafka_topic_conf_set_opaque(conf, topic);
	topic->handle = rd_kafka_topic_new(client, topic->name, conf);
	if (topic->handle == NULL)
		relay_fail(EVPUB_FAILURE_RETRY, "topic \"%s\": %s", topic->name,
				   rd_kafka_err2str(rd_kafka_last_error()));
}
