/*
 * consumer.h
 *		The consumer that partitions are read back with, and its topics.
 */
#ifndef EVPUB_RELAY_CONSUMER_H
#define EVPUB_RELAY_CONSUMER_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "readtask.h"

/* A topic of the consumer, and the tasks that its messages belong to. */
typedef struct ConsumerTopic
{
	const char *name;
	rd_kafka_topic_t *handle;
	const struct rd_kafka_metadata_topic *metadata; /* of the newest answer */
	bool		readable;		/* a fetch of some partition has shown that */
	rd_kafka_resp_err_t error;	/* of the newest fetch that failed, or none */
	int64_t		probe_due;		/* if still not, another partition is fetched */
	ReaderTask **tasks;			/* by partition, or NULL: nothing is wanted */
	int32_t		size;
} ConsumerTopic;

typedef struct Consumer
{
	rd_kafka_t *client;
	rd_kafka_queue_t *queue;	/* of all partitions */
	rd_kafka_queue_t *events;	/* errors and log */
	ConsumerTopic **topics;		/* by number; holes are NULL */
	uint32_t	topics_size;
} Consumer;

/* NULL: librdkafka refuses; the reason is the newest error. */
extern Consumer *consumer_new(const rd_kafka_conf_t *conf);

/*
 * A topic, made when it is needed, with room for a partition; NULL: librdkafka
 * refuses, the reason is rd_kafka_last_error().  name: must stay valid.
 */
extern ConsumerTopic *consumer_topic(Consumer *consumer, uint32_t number,
									 const char *name, int32_t partition);

/*
 * Asks for the metadata of all topics that there is a handle of, and keeps those of
 * each with it.  The caller destroys them, unless they are NULL.
 */
extern rd_kafka_resp_err_t consumer_metadata(Consumer *consumer,
											 const struct rd_kafka_metadata **metadata);

/* A partition that has a leader, in the newest metadata, or NULL with the error. */
extern const struct rd_kafka_metadata_partition *
consumer_partition(const ConsumerTopic *topic, int32_t partition,
				   rd_kafka_resp_err_t *error);

/* Ends it in a thread of its own, since that may wait for a broker. */
extern void consumer_end(Consumer *consumer);

#endif							/* EVPUB_RELAY_CONSUMER_H */
