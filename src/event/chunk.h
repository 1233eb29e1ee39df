/*
 * chunk.h
 *		How events are encoded in the body of a chunk: for event/write.c and
 *		event/read.c only.
 *
 * Per event, in this order; "varint" is an unsigned LEB128 of at most 32 bits,
 * "bytes" a varint length and that many bytes:
 *
 *	flags		one byte, EVPUB_EVENT_*
 *	route		new: one byte, EVPUB_ROUTE_*; topic (bytes); type (bytes), without
 *				what the byte says; with CloudEvents source (bytes).  It gets the
 *				next index of the chunk, from 0.  Else: index (varint)
 *	delta		after a hole: how many numbers are skipped (varint)
 *	tenant		bytes; nothing without an envelope or for the same tenant again
 *	key			bytes; nothing for a NULL key, the same key again or the tenant's
 *	subject		bytes; CloudEvents only, nothing without a value
 *	body		bytes, but its varint is twice the length, and 1 more if there is a
 *				tail; nothing without a value
 *	tail		bytes; nothing without an envelope or without a value
 *	headers		bytes; nothing without headers or for the same headers again
 *
 * "Again" means as in the last event of the chunk that had one.  Most keys are the
 * tenant as text, which is the tenant's JSON string without its quotes.
 */
#ifndef EVPUB_EVENT_CHUNK_H
#define EVPUB_EVENT_CHUNK_H

#include "event/event.h"

#define EVPUB_EVENT_NEW_ROUTE 0x01
#define EVPUB_EVENT_KEY_MASK 0x06
#define EVPUB_EVENT_NO_KEY 0x02
#define EVPUB_EVENT_SAME_KEY 0x04
#define EVPUB_EVENT_TENANT_KEY 0x06
#define EVPUB_EVENT_SAME_TENANT 0x08
#define EVPUB_EVENT_NO_VALUE 0x10
#define EVPUB_EVENT_HEADERS 0x20
#define EVPUB_EVENT_SAME_HEADERS 0x40
#define EVPUB_EVENT_HOLE 0x80

/* of a route: its envelope, and what its type has around the bytes that are stored */
#define EVPUB_ROUTE_ENVELOPE_MASK 0x03
#define EVPUB_ROUTE_QUOTED 0x04
#define EVPUB_ROUTE_ENDING_SHIFT 3

/* The places in the list are part of the format; the two bits have no room for more. */
static const EvpubEnvelope evpub_route_envelopes[] = {
	EVPUB_ENVELOPE_PLAIN, EVPUB_ENVELOPE_NONE, EVPUB_ENVELOPE_CLOUDEVENTS,
	EVPUB_ENVELOPE_CLOUDEVENTS_BINARY
};

StaticAssertDecl(lengthof(evpub_route_envelopes) == EVPUB_ROUTE_ENVELOPE_MASK + 1,
				 "the bits of the envelope name each of the list, and no other");

/*
 * How types end mostly; any other type is stored whole.  The places in the list are
 * part of the format.
 */
static const EvpubSlice evpub_route_endings[] = {
	{"", 0}, {".created", 8}, {".updated", 8}, {".deleted", 8}, {".truncated", 10},
	{".resynced", 9}
};

/* The event has tenant and tail; and has source and subject, too. */
#define EVPUB_HAS_ENVELOPE(route) ((route)->envelope != EVPUB_ENVELOPE_NONE)
#define EVPUB_IS_CLOUDEVENT(route) \
	((route)->envelope == EVPUB_ENVELOPE_CLOUDEVENTS || \
	 (route)->envelope == EVPUB_ENVELOPE_CLOUDEVENTS_BINARY)

/*
 * What is between the quotes of the tenant's JSON string, or the tenant itself where it
 * is no such string (binary mode).  That is the tenant as text, unless there are escapes
 * in it: then most keys differ from it, and one that does not is these bytes all the
 * same.  False if there is no tenant.
 */
static inline bool
evpub_tenant_text(const EvpubRoute *route, EvpubSlice tenant, EvpubSlice *text)
{
	*text = tenant;
	if (route->envelope == EVPUB_ENVELOPE_CLOUDEVENTS_BINARY)
		return true;
	if (!EVPUB_HAS_ENVELOPE(route) || tenant.len < 2 || tenant.data[0] != '"')
		return false;
	*text = (EvpubSlice) {tenant.data + 1, tenant.len - 2};
	return true;
}

/* longest varint */
#define EVPUB_VARINT_LENGTH 5

/* offsets in the chunk header, see event.h */
#define EVPUB_CHUNK_KIND_AT 0
#define EVPUB_CHUNK_VERSION_AT 1
#define EVPUB_CHUNK_MAC_AT 2

#define EVPUB_CHUNK_VERSION_MASK 0x0F

#define EVPUB_CHUNK_HEADER_MOST (EVPUB_CHUNK_HEADER_LEAST + 3 * EVPUB_VARINT_LENGTH)

#endif							/* EVPUB_EVENT_CHUNK_H */
