/*
 * event.h
 *		The form in which events travel through WAL: chunks.
 *
 * A chunk is one transactional logical message with prefix "evpub".  Capture
 * writes chunks (event/write.c), the publisher and evpub.peek read them
 * (event/read.c).  A chunk carries a contiguous range of event numbers of one
 * transaction; the values in it are complete but for what is unknown until
 * commit (id, lsn, tx, time), which event/output.c splices in.
 *
 * Layout; "varint" is explained in event/chunk.h:
 *
 *	offset	size
 *	0		1	kind: EVPUB_KIND_CHUNK or EVPUB_KIND_POSITION
 *	1		1	format version (lower half), flags EVPUB_CHUNK_* (upper half)
 *	2		16	MAC over database, xid, the 2 bytes above and all behind it
 *	18		..	first event number of the range (varint), unless the range begins at 0
 *			..	length of the range (varint; numbers, holes included), unless it is 1
 *			..	events in the chunk (varint), if there are holes in the range
 *			..	body: encoded events
 *
 * Most transactions make one event, so its chunk needs none of the numbers.  In the
 * last chunk, the end of the range is the transaction's count of numbers.
 *
 * The MAC is SipHash-2-4 of 128 bits, under a key made of the cluster's secret
 * mock authentication nonce (mac.c): pg_logical_emit_message() is open to PUBLIC,
 * so anyone can write a message with our prefix.  Binding the xid keeps a chunk
 * copied from elsewhere from being accepted; a chunk copied inside its own
 * transaction repeats a range and is refused by the assembler.
 */
#ifndef EVPUB_EVENT_H
#define EVPUB_EVENT_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

#define EVPUB_MESSAGE_PREFIX "evpub"

#define EVPUB_KIND_CHUNK 'C'
#define EVPUB_KIND_POSITION 'P'
#define EVPUB_FORMAT_VERSION 2

#define EVPUB_CHUNK_LAST 0x10	/* of its transaction */
#define EVPUB_CHUNK_FROM_0 0x20
#define EVPUB_CHUNK_ONE 0x40
#define EVPUB_CHUNK_HOLES 0x80

/*
 * No chunk's record is larger: one ends with the event that fills it, and an
 * event has at most EVPUB_MAX_EVENT_BYTES (settings.h).
 */
#define EVPUB_CHUNK_LONGEST (17 * 1024 * 1024)
#define EVPUB_CHUNK_ROOM 256	/* of these for the headers of the record */

#define EVPUB_MAC_LENGTH 16
#define EVPUB_CHUNK_HEADER_LEAST (2 + EVPUB_MAC_LENGTH)

/* publisher id (16) - timeline (8) - end of commit record (16) - number (8) */
#define EVPUB_ID_LENGTH 51

/* A run of bytes that belongs to somebody else; not NUL-terminated. */
typedef struct EvpubSlice
{
	const char *data;
	uint32		len;
} EvpubSlice;

/* Are these the same bytes? */
static inline bool
evpub_slice_equals(EvpubSlice a, EvpubSlice b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

typedef enum EvpubEnvelope
{
	EVPUB_ENVELOPE_PLAIN = 'p',
	EVPUB_ENVELOPE_NONE = 'n',	/* the value as it is */
	EVPUB_ENVELOPE_CLOUDEVENTS = 'c',	/* structured mode */
	EVPUB_ENVELOPE_CLOUDEVENTS_BINARY = 'b' /* attributes in headers */
} EvpubEnvelope;

/*
 * Where an event goes and of which type it is.  Interned: events of one
 * transaction that share a route point to one struct, and a chunk holds each
 * route once.  "number" is small, and no other route of the transaction has it.
 */
typedef struct EvpubRoute
{
	uint32		number;
	EvpubEnvelope envelope;
	EvpubSlice	topic;			/* UTF-8 */
	EvpubSlice	type;			/* plain, cloudevents: JSON string with its
								 * quotes; binary: text; none: empty */
	EvpubSlice	source;			/* cloudevents, binary: database, percent-encoded */
	EvpubSlice	encoded;		/* as it stands in a chunk; for the writer, and may
								 * be empty */
} EvpubRoute;

/*
 * One event.  All text is UTF-8; JSON parts are valid JSON.
 *
 * Plain envelope: tenant is a JSON string with its quotes, body the value of
 * "pk" (an object, or null), tail further members, each with a comma before it
 * (`,"data":{...}`), or empty.  Envelope none: tenant and tail are empty, body
 * is the value.  has_value false is a tombstone (body and tail empty).
 *
 * CloudEvents: body and tail as in the plain envelope (they go into "data"),
 * and subject, the primary key as text.  Tenant and subject are JSON strings in
 * structured mode, and text in binary mode, where they become headers.
 *
 * Headers: for each one a uint32 length, the name, a uint32 length, the value.
 */
typedef struct EvpubEvent
{
	uint32		number;			/* in its transaction, from 0 */
	const EvpubRoute *route;
	bool		has_key;
	bool		has_value;
	EvpubSlice	key;
	EvpubSlice	tenant;
	EvpubSlice	subject;
	EvpubSlice	body;
	EvpubSlice	tail;
	EvpubSlice	headers;
} EvpubEvent;

/* ---- writing (event/write.c) ---- */

/* Routes with numbers below that need no memory of their own in the writer. */
#define EVPUB_WRITER_ROUTES 16

typedef struct EvpubChunkWriter
{
	StringInfo	buf;			/* room for the header, and the body of the chunk */
	uint32		first;
	uint32		events;
	uint32		next_number;	/* number that needs no hole before it */
	uint32	   *route_index;	/* by route number: index in this chunk + 1 */
	uint32		route_slots;
	uint32		routes;
	EvpubSlice	last_key;		/* of the event before, for "the same again" */
	EvpubSlice	last_tenant;
	EvpubSlice	last_headers;
	bool		has_last_key;
	uint32		few_routes[EVPUB_WRITER_ROUTES];	/* route_index, at first */
} EvpubChunkWriter;

/*
 * Start a chunk whose range begins at number "first".  buf is reset; the
 * writer allocates in CurrentMemoryContext.
 */
extern void evpub_chunk_begin(EvpubChunkWriter *writer, StringInfo buf, uint32 first);

/*
 * Write a route as it stands in a chunk, and return its length, which is not above
 * that of its topic, type and source and EVPUB_ROUTE_ROOM.  *topic and *source are
 * where these lie in it.  For routes that are used again and again.
 */
#define EVPUB_ROUTE_ROOM 16
extern uint32 evpub_route_encode(const EvpubRoute *route, char *dst,
								 const char **topic, const char **source);

/* Append an event; its slices must stay valid until the chunk is finished. */
extern void evpub_chunk_add(EvpubChunkWriter *writer, const EvpubEvent *event);

/* Bytes in the chunk so far. */
extern Size evpub_chunk_size(const EvpubChunkWriter *writer);

/*
 * Complete header and MAC, and return the chunk, which lies in buf.  "end" is the
 * number after the range; "last" says that no chunk of this transaction follows
 * (then end is also its count of numbers).  Call with the xid that the message will
 * be logged with.
 */
extern EvpubSlice evpub_chunk_finish(EvpubChunkWriter *writer, Oid dbid,
									 TransactionId xid, uint32 end, bool last);

/* Append one header in the encoded form. */
extern void evpub_headers_add(StringInfo headers, const char *name, int namelen,
							  const char *value, int valuelen);

/* ---- reading (event/read.c) ---- */

/* A chunk's range, known without decoding its events. */
typedef struct EvpubChunkInfo
{
	uint32		first;
	uint32		count;			/* numbers, holes included */
	uint32		events;
	bool		last;
} EvpubChunkInfo;

typedef struct EvpubChunkReader
{
	MemoryContext context;		/* of its own allocations */
	const char *cursor;
	const char *end;
	uint32		next_number;
	uint32		limit;			/* first number after the range */
	EvpubRoute **routes;			/* palloc'd, grows; the routes stay in place */
	uint32		route_count;
	uint32		route_slots;
	EvpubSlice	last_key;
	EvpubSlice	last_tenant;
	EvpubSlice	last_headers;
	bool		has_last_key;
} EvpubChunkReader;

typedef enum EvpubChunkVerdict
{
	EVPUB_CHUNK_OK,
	EVPUB_CHUNK_FORGED,			/* no chunk, or the MAC does not fit */
	EVPUB_CHUNK_NEWER			/* authentic, but of a format we do not know */
} EvpubChunkVerdict;

/* Check a message's MAC and header.  Never throws on bad input. */
extern EvpubChunkVerdict evpub_chunk_check(const char *data, Size len, Oid dbid,
										   TransactionId xid, EvpubChunkInfo *info);

/*
 * Begin to decode a chunk that passed the check.  What the reader allocates
 * until _close is in the context that is current now.
 */
extern void evpub_chunk_open(EvpubChunkReader *reader, const char *data, Size len);

/*
 * Next event, or false at the end.  Slices point into the chunk, the route
 * into the reader.  ERROR (data corrupted) if the body does not parse, which
 * an authentic chunk cannot cause.
 */
extern bool evpub_chunk_next(EvpubChunkReader *reader, EvpubEvent *event);
extern void evpub_chunk_close(EvpubChunkReader *reader);

/* ---- position messages (event/positionmessage.c) ---- */

/* Kind, version, form, zero, MAC; then the position. */
#define EVPUB_POSITION_VERSION 5
#define EVPUB_POSITION_HEADER_LENGTH (4 + EVPUB_MAC_LENGTH)

/*
 * Make a message: begin, append the position, finish.  It goes into a record
 * that is not transactional, of database 0.
 */
extern void evpub_position_message_begin(StringInfo message, char form);
extern void evpub_position_message_finish(StringInfo message);

/*
 * Was it made by the above, in this cluster or one that it was copied from?
 * What follows the header is then to be parsed.  Never throws on bad input.
 */
extern bool evpub_position_message_check(const char *data, Size len, char *form);

/* ---- rendering what Kafka gets (event/output.c) ---- */

/* What a commit adds to its events. */
typedef struct EvpubCommit
{
	uint64		publisher_id;
	TimeLineID	timeline;		/* at the start of the commit record */
	XLogRecPtr	lsn;			/* end of the commit record */
	TimestampTz time;
	uint32		events;			/* "tx" */
} EvpubCommit;

/* Write the id of event "number": EVPUB_ID_LENGTH bytes and a NUL. */
extern void evpub_event_id(char *dst, const EvpubCommit *commit, uint32 number);

/* Append the value as it goes to Kafka.  Only for events with a value. */
extern void evpub_event_value(StringInfo dst, const EvpubEvent *event,
							  const EvpubCommit *commit);

/*
 * Append the headers that its envelope has, and the event's own, in the
 * encoded form; without evpub-id, which the relay adds.
 */
extern void evpub_event_headers(StringInfo dst, const EvpubEvent *event,
								const EvpubCommit *commit);

/*
 * Bytes of key, value and headers in Kafka at most (lsn, tx and time in their
 * longest form, the evpub-id header included), for evpub.max_event_bytes.
 */
extern Size evpub_event_max_size(const EvpubEvent *event);

/* ---- MAC (event/mac.c) ---- */

extern void evpub_mac(uint8 *dst, Oid dbid, TransactionId xid,
					  const char *header, Size header_len,
					  const char *body, Size body_len);
extern bool evpub_mac_equal(const uint8 *a, const uint8 *b);

#endif							/* EVPUB_EVENT_H */
