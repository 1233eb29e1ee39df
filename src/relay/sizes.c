/*
 * sizes.c
 *		How large a batch the topics take: their max.message.bytes.
 *
 * The worker caps what is in flight by it where batches were refused, and
 * evpub.check() compares it with evpub.max_event_bytes.  Nothing depends on an
 * answer: a user who may not ask (DescribeConfigs on the topic), a broker that
 * does not know the question, or one that does not answer means that the size
 * is not known, and nothing is reported.
 *
 * One request is out at a time, about a limited number of topics, and it waits
 * for nobody: librdkafka puts the answer into the queue of the event loop.
 */
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "relay.h"
#include "sizes.h"
#include "topics.h"

#define SIZES_TOPICS 200		/* of one request */
#define SIZES_TIMEOUT_MS 15000

/* Topics in use are asked for again after so long, in ms. */
#define SIZES_AGAIN_MS (5 * 60 * 1000)

/*
 * The first request for a topic waits so long: others may become ready with it,
 * and then the first records are on their way.
 */
#define SIZES_GATHER_MS 500

#define SIZE_PROPERTY "max.message.bytes"

static rd_kafka_t *client;
static rd_kafka_queue_t *events;
static Topic *asked[SIZES_TOPICS];
static int	asked_count;		/* 0: no request is out */
static int64_t next_work = RELAY_NEVER;

void
sizes_start(rd_kafka_t *use_client, rd_kafka_queue_t *use_events)
{
	client = use_client;
	events = use_events;
}

static void
ask(void)
{
	rd_kafka_ConfigResource_t *resources[SIZES_TOPICS];
	rd_kafka_AdminOptions_t *options =
		rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);

	rd_kafka_AdminOptions_set_request_timeout(options, SIZES_TIMEOUT_MS, NULL, 0);
	for (int i = 0; i < asked_count; i++)
	{
		resources[i] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, asked[i]->name);
		/* only this one, of some thirty */
		rd_kafka_ConfigResource_set_config(resources[i], SIZE_PROPERTY, "");
	}
	rd_kafka_DescribeConfigs(client, resources, (size_t) asked_count, options, events);
	rd_kafka_ConfigResource_destroy_array(resources, (size_t) asked_count);
	rd_kafka_AdminOptions_destroy(options);
}

int64_t
sizes_work(int64_t now)
{
	if (topics_new_ready() && next_work > now + SIZES_GATHER_MS)
		next_work = now + SIZES_GATHER_MS;
	if (asked_count > 0)
		return RELAY_NEVER;
	if (now < next_work)
		return next_work;
	next_work = RELAY_NEVER;
	for (uint32_t i = 0; i < topics_end(); i++)
	{
		Topic	   *topic = topics_get(i);

		if (topic == NULL || topic->state != TOPIC_READY)
			continue;
		if (topic->size_due <= now && asked_count < SIZES_TOPICS)
		{
			/* whatever becomes of this request */
			topic->size_due = now + SIZES_AGAIN_MS;
			asked[asked_count++] = topic;
		}
		if (topic->size_due < next_work)
			next_work = topic->size_due;
	}
	if (asked_count == 0)
		return next_work;
	ask();
	return RELAY_NEVER;
}

/* The value of max.message.bytes; 0: it is not there. */
static int64_t
size_of(const rd_kafka_ConfigResource_t *resource)
{
	size_t		count = 0;
	const rd_kafka_ConfigEntry_t **entries =
		rd_kafka_ConfigResource_configs(resource, &count);

	if (rd_kafka_ConfigResource_error(resource))
		return 0;
	for (size_t i = 0; i < count; i++)
	{
		const char *value = rd_kafka_ConfigEntry_value(entries[i]);

		if (value != NULL &&
			strcmp(rd_kafka_ConfigEntry_name(entries[i]), SIZE_PROPERTY) == 0)
			return strtoll(value, NULL, 10);
	}
	return 0;
}

static Topic *
find_asked(const char *name)
{
	for (int i = 0; i < asked_count; i++)
	{
		if (strcmp(asked[i]->name, name) == 0)
			return asked[i];
	}
	return NULL;
}

void
sizes_take(rd_kafka_event_t *event, int64_t now)
{
	const rd_kafka_DescribeConfigs_result_t *result =
		rd_kafka_event_DescribeConfigs_result(event);
	const rd_kafka_ConfigResource_t **resources;
	size_t		count = 0;

	/* the next topics, if there were more */
	if (next_work < now)
		next_work = now;
	if (result != NULL && !rd_kafka_event_error(event))
	{
		resources = rd_kafka_DescribeConfigs_result_resources(result, &count);
		for (size_t i = 0; i < count; i++)
		{
			Topic	   *topic = find_asked(rd_kafka_ConfigResource_name(resources[i]));
			int64_t		size = size_of(resources[i]);
			EvpubFrameOffset frame;

			if (topic == NULL || size <= 0 || size == topic->size)
				continue;
			topic->size = size;
			frame.topic = topic->number;
			frame.partition = -1;
			frame.offset = size;
			frames_send(EVPUB_FRAME_TOPIC_SIZE, &frame, sizeof(frame), NULL, 0);
		}
	}
	asked_count = 0;
}
