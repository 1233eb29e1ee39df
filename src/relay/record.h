/*
 * record.h
 *		A record as it comes from the worker: taken apart, and how large it is.
 */
#ifndef EVPUB_RELAY_RECORD_H
#define EVPUB_RELAY_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "frame.h"

/* A record, taken apart in place. */
typedef struct Record
{
	EvpubFrameRecord fixed;
	const char *id;
	const char *key;			/* NULL: none */
	const char *value;			/* NULL: tombstone */
	const char *headers;
	size_t		key_len;
	size_t		value_len;
	const char *end;
} Record;

/* The record that begins at "at"; ends the relay when it is none. */
extern void record_read(Record *record, const char *at, const char *end,
						uint64_t sequence);

/* Its headers for librdkafka; they are the caller's. */
extern rd_kafka_headers_t *record_headers(const Record *record, uint64_t sequence);

/* Bytes of memory that librdkafka needs for a record. */
extern uint32_t record_cost(const Record *record);

/*
 * Bytes that a record takes in a batch, about: what the broker compares with
 * the topic's max.message.bytes.
 */
extern uint32_t record_wire_size(const Record *record);

/*
 * The partition of a topic with so many, by the key as Java clients do it; without a
 * key by the id.
 */
extern int32_t record_partition(const Record *record, rd_kafka_topic_t *topic,
								int32_t partitions, uint64_t sequence);

/* Ends the relay: what the worker sent as this record makes no sense. */
extern void record_malformed(uint64_t sequence) __attribute__((noreturn));

#endif							/* EVPUB_RELAY_RECORD_H */
