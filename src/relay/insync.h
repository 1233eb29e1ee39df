/*
 * insync.h
 *		Do the in-sync replicas of partitions answer?
 */
#ifndef EVPUB_RELAY_INSYNC_H
#define EVPUB_RELAY_INSYNC_H

#include <stdint.h>

#include <librdkafka/rdkafka.h>

/* Begins a round of read-back, with this client. */
extern void insync_start(rd_kafka_t *client);

/* Ends it; the client must still be there. */
extern void insync_end(void);

/* Asks those replicas of a partition that have not answered in this round. */
extern void insync_ask(const struct rd_kafka_metadata_partition *partition);

/* Takes the answers; waits a moment for brokers that were asked for the first time. */
extern void insync_wait(void);

/*
 * The in-sync replica that has not answered yet, or -1: the end of the partition can
 * be asked for.
 */
extern int32_t insync_silent(const struct rd_kafka_metadata_partition *partition,
							 const char *topic);

#endif							/* EVPUB_RELAY_INSYNC_H */
