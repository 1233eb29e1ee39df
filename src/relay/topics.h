/*
 * topics.h
 *		The topics that records name by number.
 */
#ifndef EVPUB_RELAY_TOPICS_H
#define EVPUB_RELAY_TOPICS_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "tail.h"

typedef enum TopicState
{
	TOPIC_ASK,					/* the cluster is to be asked for it, at "due" */
	TOPIC_CREATE,				/* to be created, at "due" */
	TOPIC_PIN,					/* its count was reported; the worker makes it
								 * durable, and says so by a TOPIC frame */
	TOPIC_READY					/* records may be produced */
} TopicState;

/* May a partition be written to? */
typedef enum PartitionAccess
{
	PARTITION_UNREAD,			/* yes; it was not to be read back, so far */
	PARTITION_OPEN,				/* yes; what is in it is known */
	PARTITION_READ,				/* it is being read back */
	PARTITION_FOUND				/* that was reported; the worker answers by TAIL */
} PartitionAccess;

typedef struct TopicPartition
{
	int64_t		offset;			/* newest acknowledged one, or -1 */
	bool		unreported;		/* newer than the last ACKED_OFFSET frame */
	uint32_t	in_flight;		/* records of this relay */
	int64_t		bytes;			/* that they have, about */
	int64_t		limit;			/* of bytes, for more than one record; 0: none */
	int64_t		acked_at;		/* when the last one was acknowledged */
	bool		proved;			/* the leader is known to know this producer */
	PartitionAccess access;
	int64_t		read_end;		/* it was read back up to here; -1: what was acknowledged
								 * since has shown that this was its end */
	int64_t		read_at;		/* when that was */
	bool		mixed;			/* there are others' records among those of this relay */
	bool		again;			/* it was read again, and the answer is awaited */
	Tail	   *tail;			/* what is dropped; NULL: nothing */
	uint64_t	dropped;		/* the number of the last record that was; 0: none was */
	char		id[EVPUB_FRAME_ID_LENGTH];	/* of the record at "offset", if unreported */
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
	bool		fresh;			/* it was certainly we who created it */
	uint32_t	group;			/* those created by one request; 0: alone */
	bool		scout;			/* the one of them that is asked for often */
	bool		auto_create;	/* the cluster cannot be asked to create it */
	bool		asked;			/* the cluster has answered for it */
	int64_t		waiting_since;	/* for the cluster to know it */
	bool		read_back;		/* partitions are read before they are written to */
	int32_t		count;			/* found, but not reported before ... */
	int32_t		ends_awaited;	/* ... the ends of so many partitions are known */
	int32_t		reported;		/* count in the last PARTITIONS frame */
	int			times_smaller;	/* answers in a row with less than pinned */
	int64_t		due;
	int			backoff;		/* ms */
	int64_t		size;			/* its max.message.bytes; 0: not known */
	int64_t		size_due;		/* when that is asked for; 0: never was */
	char		trouble[600];	/* why records have to wait, or ""; with
								 * TOPIC_READY: why they may never arrive */
	TopicPartition *partitions;
	int32_t		partitions_size;
} Topic;

extern void topics_start(rd_kafka_t *client);

/* A TOPIC frame. */
extern Topic *topics_announce(const char *payload, uint32_t length);

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
 * Reports to the worker that the topic was deleted and made again: evpub.resume()
 * is to accept just this one.
 */
extern void topics_remade(const Topic *topic);

/* The count that the cluster gives; it is reported to the worker if it has changed. */
extern void topics_report(Topic *topic, int32_t count);

/* Records may be produced from now on. */
extern void topics_ready(Topic *topic, int64_t now);

/* librdkafka's topic, made when it is needed. */
extern void topics_make_handle(Topic *topic);

/* Above the number of any topic. */
extern uint32_t topics_end(void);

/* Once after a topic has become ready that was never asked for its size. */
extern bool topics_new_ready(void);

/* Once after each change that may be a reason to ask the cluster. */
extern bool topics_changed(void);

/* How often the partition count of a topic in use is looked at. */
#define TOPICS_GROWTH_CHECK_MS 60000

#endif							/* EVPUB_RELAY_TOPICS_H */
