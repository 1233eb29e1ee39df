/*
 * lookback.h
 *		What is in partitions already, before anything is written to them.
 */
#ifndef EVPUB_RELAY_LOOKBACK_H
#define EVPUB_RELAY_LOOKBACK_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "topics.h"

/* conf: a copy of the producer's configuration, which is kept. */
extern void lookback_start(rd_kafka_conf_t *conf);

/* An ORIGIN frame: there is read-back. */
extern void lookback_origin(const char *payload, uint32_t length);

/* A READ_BACK frame. */
extern void lookback_topic(const char *payload, uint32_t length);

/* A TOPIC frame was taken in: it may have brought partitions to be read back. */
extern void lookback_counted(Topic *topic);

/* A TAIL frame. */
extern void lookback_tail(const char *payload, uint32_t length);

/*
 * Reports the first count of a topic that is new or unpinned, and with it where its
 * partitions end, once that is known.  A topic that evpub has just created is empty.
 */
extern void lookback_report(Topic *topic, int32_t count);

/* Readable when a partition was read; -1: there is no read-back. */
extern int	lookback_fd(void);

/*
 * The first record that was sent to a partition is acknowledged.  If something stands
 * between the place up to which the partition was read and this record, it is read, too,
 * before another record follows.
 */
extern void lookback_first_acked(Topic *topic, int32_t partition, int64_t offset,
								 const char *id);

/* Takes what was read.  Returns when it wants to be called again. */
extern int64_t lookback_work(int64_t now);

/*
 * Why records have to wait, or "".  "waits_for": the topic whose next record waits
 * for its partition, or NULL.
 */
extern const char *lookback_trouble(const Topic *waits_for, int32_t partition, int64_t now);

#endif							/* EVPUB_RELAY_LOOKBACK_H */
