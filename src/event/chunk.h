/*
 * chunk.h
 *		How events are encoded in the body of a chunk: for event/write.c and
 *		event/read.c only.
 *
 * Per event, in this order; "varint" is an unsigned LEB128 of at most 32 bits,
 * "bytes" a varint length and that many bytes:
 *
 *	flags		one byte, EVPUB_EVENT_*
 *	route		new: envelope (one byte), topic (bytes), type (bytes), with
 *				CloudEvents source (bytes); it gets the next index of the
 *				chunk, from 0.  Else: index (varint)
 *	delta		after a hole: how many numbers are skipped (varint)
 *	key			bytes; nothing for a NULL key or the same key again
 *	tenant		bytes; nothing without an envelope or for the same tenant again
 *	subject		bytes; CloudEvents only, nothing without a value
 *	body		bytes; nothing without a value
 *	tail		bytes; nothing without an envelope or without a value
 *	headers		bytes; nothing without headers or for the same headers again
 *
 * "Again" means as in the last event of the chunk that had one.
 */
#ifndef EVPUB_EVENT_CHUNK_H
#define EVPUB_EVENT_CHUNK_H

#define EVPUB_EVENT_NEW_ROUTE 0x01
#define EVPUB_EVENT_NO_KEY 0x02
#define EVPUB_EVENT_SAME_KEY 0x04
#define EVPUB_EVENT_SAME_TENANT 0x08
#define EVPUB_EVENT_NO_VALUE 0x10
#define EVPUB_EVENT_HEADERS 0x20
#define EVPUB_EVENT_SAME_HEADERS 0x40
#define EVPUB_EVENT_HOLE 0x80

/* The event has tenant and tail; and has source and subject, too. */
#define EVPUB_HAS_ENVELOPE(route) ((route)->envelope != EVPUB_ENVELOPE_NONE)
#define EVPUB_IS_CLOUDEVENT(route) \
	((route)->envelope == EVPUB_ENVELOPE_CLOUDEVENTS || \
	 (route)->envelope == EVPUB_ENVELOPE_CLOUDEVENTS_BINARY)

/* longest varint */
#define EVPUB_VARINT_LENGTH 5

/* offsets in the chunk header, see event.h */
#define EVPUB_CHUNK_KIND_AT 0
#define EVPUB_CHUNK_VERSION_AT 1
#define EVPUB_CHUNK_FLAGS_AT 2
#define EVPUB_CHUNK_FIRST_AT 4
#define EVPUB_CHUNK_COUNT_AT 8
#define EVPUB_CHUNK_EVENTS_AT 12
#define EVPUB_CHUNK_TOTAL_AT 16
#define EVPUB_CHUNK_MAC_AT 20

#endif							/* EVPUB_EVENT_CHUNK_H */
