/*
 * sizes.h
 *		How large a batch the topics take: their max.message.bytes.
 */
#ifndef EVPUB_RELAY_SIZES_H
#define EVPUB_RELAY_SIZES_H

#include <stdint.h>

#include <librdkafka/rdkafka.h>

/* Answers come as events of this queue; it must stay. */
extern void sizes_start(rd_kafka_t *client, rd_kafka_queue_t *events);

/* Asks, if it is time.  Returns when it wants to be called again. */
extern int64_t sizes_work(int64_t now);

/* An event of type RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT. */
extern void sizes_take(rd_kafka_event_t *event, int64_t now);

#endif							/* EVPUB_RELAY_SIZES_H */
