/*
 * offsets.h
 *		Where acknowledged records are in their partitions.
 */
#ifndef EVPUB_RELAY_OFFSETS_H
#define EVPUB_RELAY_OFFSETS_H

#include <stdint.h>

#include <librdkafka/rdkafka.h>

/* The id of a record that was sent, by its header; NULL: there is none. */
extern const char *offsets_id(const rd_kafka_message_t *message);

/*
 * The offset of a record that was acknowledged.  Ends the relay when it shows that
 * the topic was made again.
 */
extern void offsets_take(const rd_kafka_message_t *message);

/*
 * The id of the last record of a partition in an event, which is what the worker gets
 * with its offset.  Those of the others are not looked at: that would cost CPU for
 * each record.
 */
extern void offsets_take_id(const rd_kafka_message_t *message);

/*
 * Reports to the worker the offsets that are new since the last call.  Records up to this
 * number have been acknowledged to it: an offset behind a record that was dropped, and is
 * not among them, waits.
 */
extern void offsets_send(uint64_t acknowledged);

/*
 * The same for offsets that had to wait, when nothing more is acknowledged meanwhile.
 * Returns when it is to be called again.
 */
extern int64_t offsets_look(uint64_t acknowledged, int64_t now);

#endif							/* EVPUB_RELAY_OFFSETS_H */
