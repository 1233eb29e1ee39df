/*
 * topics.h
 *		The topics that records name by number.
 */
#ifndef EVPUB_RELAY_TOPICS_H
#define EVPUB_RELAY_TOPICS_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "config.h"

typedef enum TopicState
{
	TOPIC_ASK,					/* the cluster is to be asked for it, at "due" */
	TOPIC_CREATE,				/* to be created, at "due" */
	TOPIC_PIN,					/* its count was reported; the worker makes it
								 * durable, and says so by a TOPIC frame */
	TOPIC_READY					/* records may be produced */
} TopicState;

typedef struct TopicPartition
{
	int64_t		offset;			/* newest acknowledged one, or -1 */
	bool		unreported;		/* newer than the last ACKED_OFFSET frame */
	uint32_t	in_flight;		/* records of this relay */
	int64_t		bytes;			/* that they have, about */
	int64_t		limit;			/* of bytes, for more than one record; 0: none */
	int64_t		acked_at;		/* when the last one was acknowledged */
	bool		proved;			/* the leader is known to know this producer */
} TopicPartition;

typedef struct Topic
{
	uint32_t	number;
	char	   *name;
	rd_kafka_topic_t *handle;
	TopicState	state;
	int32_t		pinned;			/* partitions to choose from; 0: none yet */
	bool		published;		/* says the worker: never to be created */
	bool		created;		/* by us, and not seen since */
	bool		auto_create;	/* the cluster cannot be asked to create it */
	bool		alone;			/* was not among all topics: ask for it alone */
	int64_t		waiting_since;	/* for the cluster to know it */
	int32_t		reported;		/* count in the last PARTITIONS frame */
	int			times_smaller;	/* answers in a row with less than pinned */
	int64_t		due;
	int			backoff;		/* ms */
	char		trouble[600];	/* why records have to wait, or ""; with
								 * TOPIC_READY: why they may never arrive */
	TopicPartition *partitions;
	int32_t		partitions_size;
} Topic;

extern void topics_start(rd_kafka_t *client, const RelaySettings *settings);

/* A TOPIC frame. */
extern void topics_announce(const char *payload, uint32_t length);

/* An OFFSET frame. */
extern void topics_set_offset(const char *payload, uint32_t length);

/* A LIMIT frame. */
extern void topics_set_limit(const char *payload, uint32_t length);

/* The topic with this number; NULL: never announced. */
extern Topic *topics_get(uint32_t number);

/* Where the offsets of a partition are kept. */
extern TopicPartition *topics_partition(Topic *topic, int32_t partition);

/* librdkafka says that the topic or a partition is gone: ask again. */
extern void topics_ask_again(Topic *topic);

/*
 * Tells the worker that it is another topic of the same name than the one that
 * was published to: evpub.resume() is to accept just this one.
 */
extern void topics_remade(const Topic *topic);

/*
 * Takes answers and asks the next question.  "head": the topic that the next
 * record waits for, or NULL.  "stuck": records are not acknowledged, so look
 * at their topics.  Returns when it wants to be called again.
 */
extern int64_t topics_work(int64_t now, const Topic *head, bool stuck);

/*
 * A topic that was there when records of it were produced, and is not there
 * now; NULL if there is none.
 */
extern const Topic *topics_vanished(void);

#endif							/* EVPUB_RELAY_TOPICS_H */
