/*
 * consumer.c
 *		The consumer that partitions are read back with, and its topics.
 *
 * It has the producer's configuration, so it comes to the brokers in the same way.
 * librdkafka warns in its log that it ignores the properties that are only a
 * producer's; nobody reads that log.
 */
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "consumer.h"
#include "relay.h"

#define METADATA_TIMEOUT_MS 3000

/*
 * A partition may hold millions of records of others, so what is fetched ahead is
 * bounded, in bytes and in messages: a message takes about 500 bytes beside its own.
 * Once it is that much, librdkafka 2.0 pauses for a fifth of a second.  So one
 * fetch of a partition, with the smallest records that there are, must not reach the
 * bound: otherwise reading 300,000 of them took 4 to 19 s, and now takes 0.3 s.  The size of a
 * response is only a wish: a broker sends a batch as a whole, however large it is.
 */
static const struct
{
	const char *name;
	const char *value;
}			properties[] = {
	{"isolation.level", "read_uncommitted"},
	{"auto.offset.reset", "error"},
	{"enable.partition.eof", "true"},
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"fetch.wait.max.ms", "5"},
	{"fetch.min.bytes", "1"},
	{"fetch.error.backoff.ms", "100"},
	{"fetch.queue.backoff.ms", "5"},	/* since 2.3 */
	{"message.max.bytes", "262144"},	/* or fetch.max.bytes is raised to it */
	{"fetch.message.max.bytes", "131072"},
	{"fetch.max.bytes", "1048576"},
	{"receive.message.max.bytes", "2147483647"},
	{"queued.min.messages", "20000"},
	{"queued.max.messages.kbytes", "4096"},
	{"topic.metadata.refresh.fast.interval.ms", "50"},
	{"log.connection.close", "false"},
	{"enable.metrics.push", "false"},	/* since 2.5 */
};

Consumer *
consumer_new(const rd_kafka_conf_t *conf)
{
	rd_kafka_conf_t *own = rd_kafka_conf_dup(conf);
	Consumer   *consumer;
	char		why[256];

	/* what an older librdkafka does not know it does not do either */
	for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++)
		(void) rd_kafka_conf_set(own, properties[i].name, properties[i].value,
								 why, sizeof(why));
	rd_kafka_conf_set_events(own, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
	consumer = relay_realloc(NULL, sizeof(*consumer));
	memset(consumer, 0, sizeof(*consumer));
	consumer->client = rd_kafka_new(RD_KAFKA_CONSUMER, own, why, sizeof(why));
	if (consumer->client == NULL)
	{
		rd_kafka_conf_destroy(own);
		free(consumer);
		return NULL;
	}
	rd_kafka_set_log_queue(consumer->client, NULL);
	consumer->events = rd_kafka_queue_get_main(consumer->client);
	consumer->queue = rd_kafka_queue_new(consumer->client);
	return consumer;
}

static ConsumerTopic *
add_topic(Consumer *consumer, uint32_t number, const char *name)
{
	ConsumerTopic *topic = relay_realloc(NULL, sizeof(*topic));
	rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(consumer->client);

	memset(topic, 0, sizeof(*topic));
	topic->name = name;
	rd_kafka_topic_conf_set_opaque(conf, topic);
	topic->handle = rd_kafka_topic_new(consumer->client, name, conf);
	if (topic->handle == NULL)
	{
		rd_kafka_topic_conf_destroy(conf);
		free(topic);
		return NULL;
	}
	consumer->topics[number] = topic;
	return topic;
}

ConsumerTopic *
consumer_topic(Consumer *consumer, uint32_t number, const char *name, int32_t partition)
{
	ConsumerTopic *topic;

	if (number >= consumer->topics_size)
	{
		uint32_t	size = (number + 1) * 2;

		consumer->topics = relay_realloc(consumer->topics,
										 size * sizeof(*consumer->topics));
		memset(consumer->topics + consumer->topics_size, 0,
			   (size - consumer->topics_size) * sizeof(*consumer->topics));
		consumer->topics_size = size;
	}
	topic = consumer->topics[number];
	if (topic == NULL && (topic = add_topic(consumer, number, name)) == NULL)
		return NULL;
	if (partition >= topic->size)
	{
		int32_t		size = partition * 2 + 1;

		topic->tasks = relay_realloc(topic->tasks, (size_t) size * sizeof(*topic->tasks));
		memset(topic->tasks + topic->size, 0,
			   (size_t) (size - topic->size) * sizeof(*topic->tasks));
		topic->size = size;
	}
	return topic;
}

static const struct rd_kafka_metadata_topic *
metadata_of(const struct rd_kafka_metadata *metadata, const char *name)
{
	for (int i = 0; i < metadata->topic_cnt; i++)
	{
		if (strcmp(metadata->topics[i].topic, name) == 0)
			return &metadata->topics[i];
	}
	return NULL;
}

rd_kafka_resp_err_t
consumer_metadata(Consumer *consumer, const struct rd_kafka_metadata **metadata)
{
	rd_kafka_resp_err_t error = rd_kafka_metadata(consumer->client, 0, NULL,
												  metadata, METADATA_TIMEOUT_MS);

	for (uint32_t i = 0; !error && i < consumer->topics_size; i++)
	{
		if (consumer->topics[i] != NULL)
			consumer->topics[i]->metadata = metadata_of(*metadata,
														consumer->topics[i]->name);
	}
	return error;
}

const struct rd_kafka_metadata_partition *
consumer_partition(const ConsumerTopic *wanted, int32_t partition,
				   rd_kafka_resp_err_t *error)
{
	const struct rd_kafka_metadata_topic *topic = wanted->metadata;

	*error = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
	if (topic == NULL)
		return NULL;
	if (topic->err)
	{
		*error = topic->err;
		return NULL;
	}
	for (int i = 0; i < topic->partition_cnt; i++)
	{
		if (topic->partitions[i].id != partition)
			continue;
		return topic->partitions[i].leader >= 0 ? &topic->partitions[i] : NULL;
	}
	*error = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	return NULL;
}

static void *
end_main(void *what)
{
	Consumer   *consumer = what;

	for (uint32_t i = 0; i < consumer->topics_size; i++)
	{
		ConsumerTopic *topic = consumer->topics[i];

		if (topic == NULL)
			continue;
		rd_kafka_topic_destroy(topic->handle);
	}
	rd_kafka_queue_destroy(consumer->queue);
	rd_kafka_queue_destroy(consumer->events);
	rd_kafka_destroy_flags(consumer->client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	for (uint32_t i = 0; i < consumer->topics_size; i++)
	{
		ConsumerTopic *topic = consumer->topics[i];

		/* librdkafka could hand them out until now */
		if (topic != NULL)
			free(topic->tasks);
		free(topic);
	}
	free(consumer->topics);
	free(consumer);
	malloc_trim(0);
	return NULL;
}

void
consumer_end(Consumer *consumer)
{
	pthread_attr_t attr;
	pthread_t	thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	/* it inherits that all signals are blocked */
	if (pthread_create(&thread, &attr, end_main, consumer) != 0)
		end_main(consumer);
	pthread_attr_destroy(&attr);
}
