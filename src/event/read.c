/*
 * read.c
 *		Decoding chunks.  The encoding is described in event/chunk.h, the
 *		chunk's header in event.h.
 *
 * A chunk comes out of WAL, where anyone may have written it: the check of
 * the MAC stands before everything else, and decoding never reads past the
 * chunk even so.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "event/chunk.h"
#include "event/event.h"

/* The next varint; false if there is none in front of "end". */
static inline bool
take_varint(const char **cursor, const char *end, uint32 *value)
{
	uint64		sum = 0;

	for (int shift = 0; shift <= 28; shift += 7)
	{
		uint8		byte;

		if (unlikely(*cursor >= end))
			return false;
		byte = (uint8) *(*cursor)++;
		sum |= (uint64) (byte & 0x7F) << shift;
		if (likely(!(byte & 0x80)))
		{
			*value = (uint32) sum;
			return sum <= PG_UINT32_MAX;
		}
	}
	return false;
}

/*
 * Read the numbers of the header; *body is where the events begin.  False if they
 * are not there, or cannot be: our own writer does not do this, and callers rely on
 * what is checked.
 */
static bool
read_header(const char *data, Size len, EvpubChunkInfo *info, const char **body)
{
	uint8		flags = (uint8) data[EVPUB_CHUNK_VERSION_AT];
	const char *end = data + len;

	*body = data + EVPUB_CHUNK_HEADER_LEAST;
	info->last = (flags & EVPUB_CHUNK_LAST) != 0;
	info->first = 0;
	if (!(flags & EVPUB_CHUNK_FROM_0) && !take_varint(body, end, &info->first))
		return false;
	info->count = 1;
	if (!(flags & EVPUB_CHUNK_ONE) && !take_varint(body, end, &info->count))
		return false;
	info->events = info->count;
	if ((flags & EVPUB_CHUNK_HOLES) && !take_varint(body, end, &info->events))
		return false;
	return info->count <= PG_UINT32_MAX - info->first && info->events <= info->count;
}

EvpubChunkVerdict
evpub_chunk_check(const char *data, Size len, Oid dbid, TransactionId xid,
				  EvpubChunkInfo *info)
{
	uint8		mac[EVPUB_MAC_LENGTH];
	const char *body;

	if (len < EVPUB_CHUNK_HEADER_LEAST ||
		data[EVPUB_CHUNK_KIND_AT] != EVPUB_KIND_CHUNK)
		return EVPUB_CHUNK_FORGED;

	/* kind, version and MAC stand at the same places in every version of the format */
	evpub_mac(mac, dbid, xid, data, EVPUB_CHUNK_MAC_AT,
			  data + EVPUB_CHUNK_HEADER_LEAST,
			  len - EVPUB_CHUNK_HEADER_LEAST);
	if (!evpub_mac_equal(mac, (const uint8 *) data + EVPUB_CHUNK_MAC_AT))
		return EVPUB_CHUNK_FORGED;
	if ((data[EVPUB_CHUNK_VERSION_AT] & EVPUB_CHUNK_VERSION_MASK) != EVPUB_FORMAT_VERSION)
		return EVPUB_CHUNK_NEWER;
	return read_header(data, len, info, &body) ? EVPUB_CHUNK_OK : EVPUB_CHUNK_FORGED;
}

#define CORRUPTED() \
	ereport(ERROR, \
			(errcode(ERRCODE_DATA_CORRUPTED), \
			 errmsg("evpub event chunk in WAL is corrupted")))

static inline uint8
get_byte(EvpubChunkReader *reader)
{
	if (unlikely(reader->cursor >= reader->end))
		CORRUPTED();
	return (uint8) *reader->cursor++;
}

static inline uint32
get_varint(EvpubChunkReader *reader)
{
	uint32		value;

	if (unlikely(!take_varint(&reader->cursor, reader->end, &value)))
		CORRUPTED();
	return value;
}

static inline EvpubSlice
get_slice(EvpubChunkReader *reader, uint32 len)
{
	EvpubSlice	slice = {reader->cursor, len};

	if (unlikely(len > (Size) (reader->end - reader->cursor)))
		CORRUPTED();
	reader->cursor += len;
	return slice;
}

static inline EvpubSlice
get_bytes(EvpubChunkReader *reader)
{
	return get_slice(reader, get_varint(reader));
}

void
evpub_chunk_open(EvpubChunkReader *reader, const char *data, Size len)
{
	EvpubChunkInfo info;

	Assert(len >= EVPUB_CHUNK_HEADER_LEAST);

	memset(reader, 0, sizeof(*reader));
	reader->context = CurrentMemoryContext;
	if (!read_header(data, len, &info, &reader->cursor))
		CORRUPTED();
	reader->end = data + len;
	reader->next_number = info.first;
	reader->limit = info.first + info.count;
}

/* Room for one more route in the table. */
static void
grow_routes(EvpubChunkReader *reader)
{
	uint32		slots = Max(8, reader->route_slots * 2);

	if (reader->routes == NULL)
		reader->routes = MemoryContextAlloc(reader->context,
											slots * sizeof(EvpubRoute *));
	else
		reader->routes = repalloc_huge(reader->routes,
									   slots * sizeof(EvpubRoute *));
	reader->route_slots = slots;
}

/*
 * Routes are handed out as pointers, which must stay good while the table
 * grows; so the table is made of single allocations.  The type lies behind the
 * struct: what every type has is not in the chunk.
 */
static const EvpubRoute *
read_route(EvpubChunkReader *reader)
{
	uint8		bits = get_byte(reader);
	uint32		which = bits >> EVPUB_ROUTE_ENDING_SHIFT;
	EvpubSlice	topic;
	EvpubSlice	stored;
	EvpubSlice	ending;
	EvpubRoute *route;
	char	   *p;

	if (which >= lengthof(evpub_route_endings))
		CORRUPTED();
	ending = evpub_route_endings[which];
	topic = get_bytes(reader);
	stored = get_bytes(reader);

	if (reader->route_count == reader->route_slots)
		grow_routes(reader);
	route = MemoryContextAlloc(reader->context,
							   sizeof(EvpubRoute) + stored.len + ending.len + 2);
	reader->routes[reader->route_count] = route;
	route->number = reader->route_count++;
	route->envelope = evpub_route_envelopes[bits & EVPUB_ROUTE_ENVELOPE_MASK];
	route->topic = topic;
	route->source = route->encoded = (EvpubSlice) {"", 0};
	if (EVPUB_IS_CLOUDEVENT(route))
		route->source = get_bytes(reader);

	route->type.data = p = (char *) (route + 1);
	if (bits & EVPUB_ROUTE_QUOTED)
		*p++ = '"';
	memcpy(p, stored.data, stored.len);
	p += stored.len;
	memcpy(p, ending.data, ending.len);
	p += ending.len;
	if (bits & EVPUB_ROUTE_QUOTED)
		*p++ = '"';
	route->type.len = p - route->type.data;
	return route;
}

static void
read_tenant(EvpubChunkReader *reader, EvpubEvent *event, uint8 flags)
{
	event->tenant = (EvpubSlice) {"", 0};
	if (!EVPUB_HAS_ENVELOPE(event->route))
		return;
	if (!(flags & EVPUB_EVENT_SAME_TENANT))
		reader->last_tenant = get_bytes(reader);
	else if (unlikely(reader->last_tenant.data == NULL))
		CORRUPTED();
	event->tenant = reader->last_tenant;
}

static void
read_key(EvpubChunkReader *reader, EvpubEvent *event, uint8 flags)
{
	event->has_key = true;
	switch (flags & EVPUB_EVENT_KEY_MASK)
	{
		case EVPUB_EVENT_NO_KEY:
			event->has_key = false;
			event->key = (EvpubSlice) {"", 0};
			return;
		case EVPUB_EVENT_SAME_KEY:
			if (unlikely(!reader->has_last_key))
				CORRUPTED();
			event->key = reader->last_key;
			return;
		case EVPUB_EVENT_TENANT_KEY:
			if (unlikely(!evpub_tenant_text(event->route, event->tenant, &event->key)))
				CORRUPTED();
			break;
		default:
			event->key = get_bytes(reader);
	}
	reader->last_key = event->key;
	reader->has_last_key = true;
}

/* Subject, body and tail; all are empty without a value. */
static void
read_value(EvpubChunkReader *reader, EvpubEvent *event, uint8 flags)
{
	static const EvpubSlice nothing = {"", 0};
	uint32		length;

	event->has_value = !(flags & EVPUB_EVENT_NO_VALUE);
	event->subject = event->body = event->tail = nothing;
	if (!event->has_value)
		return;
	if (EVPUB_IS_CLOUDEVENT(event->route))
		event->subject = get_bytes(reader);
	length = get_varint(reader);
	event->body = get_slice(reader, length >> 1);
	if (!(length & 1))
		return;
	if (unlikely(!EVPUB_HAS_ENVELOPE(event->route)))
		CORRUPTED();
	event->tail = get_bytes(reader);
}

static void
read_headers(EvpubChunkReader *reader, EvpubEvent *event, uint8 flags)
{
	switch (flags & (EVPUB_EVENT_HEADERS | EVPUB_EVENT_SAME_HEADERS))
	{
		case 0:
			event->headers = (EvpubSlice) {"", 0};
			return;
		case EVPUB_EVENT_HEADERS:
			reader->last_headers = get_bytes(reader);
			break;
		case EVPUB_EVENT_SAME_HEADERS:
			if (unlikely(reader->last_headers.data == NULL))
				CORRUPTED();
			break;
		default:
			CORRUPTED();
	}
	event->headers = reader->last_headers;
}

bool
evpub_chunk_next(EvpubChunkReader *reader, EvpubEvent *event)
{
	uint8		flags;

	if (reader->cursor == reader->end)
		return false;

	flags = get_byte(reader);

	if (flags & EVPUB_EVENT_NEW_ROUTE)
		event->route = read_route(reader);
	else
	{
		uint32		index = get_varint(reader);

		if (unlikely(index >= reader->route_count))
			CORRUPTED();
		event->route = reader->routes[index];
	}

	event->number = reader->next_number;
	if (unlikely(flags & EVPUB_EVENT_HOLE))
	{
		uint32		delta = get_varint(reader);

		if (delta > reader->limit - event->number)
			CORRUPTED();
		event->number += delta;
	}
	if (unlikely(event->number >= reader->limit))
		CORRUPTED();
	reader->next_number = event->number + 1;

	read_tenant(reader, event, flags);
	read_key(reader, event, flags);
	read_value(reader, event, flags);

	read_headers(reader, event, flags);
	return true;
}

void
evpub_chunk_close(EvpubChunkReader *reader)
{
	for (uint32 i = 0; i < reader->route_count; i++)
		pfree(reader->routes[i]);
	if (reader->routes != NULL)
		pfree(reader->routes);
	reader->routes = NULL;
	reader->route_count = 0;
	reader->route_slots = 0;
}
