/*
 * record.c
 *		A record as it comes from the worker: taken apart, and how large it is.
 */
#include <inttypes.h>
#include <string.h>

#include "record.h"
#include "relay.h"

/*
 * What librdkafka 2.0.2 needs for a record beside key, value and headers:
 * its message (about 190 bytes), header list (80 and a pointer each), the
 * header's own fields, and malloc's share of each.
 */
#define RECORD_OVERHEAD 400
#define HEADER_OVERHEAD 72

/*
 * What a record takes in a batch beside key, value and headers: lengths and
 * differences of its own, and the header evpub-id.
 */
#define WIRE_OVERHEAD 90

void
record_malformed(uint64_t sequence)
{
	relay_fail(EVPUB_FAILURE_RETRY,
			   "malformed record %" PRIu64 " from the server", sequence);
}

void
record_read(Record *record, const char *at, const char *end, uint64_t sequence)
{
	size_t		left = (size_t) (end - at);

	if (left < sizeof(record->fixed) + EVPUB_FRAME_ID_LENGTH)
		record_malformed(sequence);
	memcpy(&record->fixed, at, sizeof(record->fixed));
	if (record->fixed.value_len < -1)
		record_malformed(sequence);
	record->key_len = record->fixed.key_len < 0 ? 0 : (size_t) record->fixed.key_len;
	record->value_len = record->fixed.value_len < 0 ? 0 : (size_t) record->fixed.value_len;
	if (left - sizeof(record->fixed) - EVPUB_FRAME_ID_LENGTH <
		record->key_len + record->value_len + record->fixed.headers_len)
		record_malformed(sequence);
	at += sizeof(record->fixed);
	record->id = at;
	at += EVPUB_FRAME_ID_LENGTH;
	record->key = record->fixed.key_len < 0 ? NULL : at;
	at += record->key_len;
	record->value = record->fixed.value_len < 0 ? NULL : at;
	at += record->value_len;
	record->headers = at;
	record->end = at + record->fixed.headers_len;
}

/* Takes a length and so many bytes off a record's headers. */
static const char *
read_piece(const char **at, const char *end, uint32_t *len, uint64_t sequence)
{
	const char *piece;

	if (end - *at < 4)
		record_malformed(sequence);
	memcpy(len, *at, 4);
	piece = *at + 4;
	if ((size_t) (end - piece) < *len)
		record_malformed(sequence);
	*at = piece + *len;
	return piece;
}

rd_kafka_headers_t *
record_headers(const Record *record, uint64_t sequence)
{
	rd_kafka_headers_t *headers =
		rd_kafka_headers_new(record->fixed.headers_len == 0 ? 1 : 8);
	const char *at = record->headers;

	rd_kafka_header_add(headers, "evpub-id", 8, record->id, EVPUB_FRAME_ID_LENGTH);
	while (at < record->end)
	{
		uint32_t	name_len;
		uint32_t	value_len;
		const char *name = read_piece(&at, record->end, &name_len, sequence);
		const char *value = read_piece(&at, record->end, &value_len, sequence);

		rd_kafka_header_add(headers, name, name_len, value, value_len);
	}
	return headers;
}

uint32_t
record_cost(const Record *record)
{
	/* a header has eight bytes of lengths and hardly less in its name and value */
	return (uint32_t) (RECORD_OVERHEAD + record->key_len + record->value_len +
					   record->fixed.headers_len / 16 * HEADER_OVERHEAD +
					   record->fixed.headers_len);
}

uint32_t
record_wire_size(const Record *record)
{
	return (uint32_t) (WIRE_OVERHEAD + record->key_len + record->value_len +
					   record->fixed.headers_len);
}

int32_t
record_partition(const Record *record, rd_kafka_topic_t *topic, int32_t partitions,
				 uint64_t sequence)
{
	const char *key = record->key;
	size_t		key_len = record->key_len;

	if (record->fixed.partition >= partitions)
		record_malformed(sequence);
	if (record->fixed.partition >= 0)
		return record->fixed.partition;
	if (key == NULL)
	{
		key = record->id;
		key_len = EVPUB_FRAME_ID_LENGTH;
	}
	return rd_kafka_msg_partitioner_murmur2(topic, key, key_len, partitions, NULL, NULL);
}
