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

static uint32
header_field(const char *data, int at)
{
	uint32		value;

	memcpy(&value, data + at, sizeof(value));
	return value;
}

EvpubChunkVerdict
evpub_chunk_check(const char *data, Size len, Oid dbid, TransactionId xid,
				  EvpubChunkInfo *info)
{
	uint8		mac[EVPUB_MAC_LENGTH];
	uint32		total;

	if (len < EVPUB_CHUNK_HEADER_LENGTH ||
		data[EVPUB_CHUNK_KIND_AT] != EVPUB_KIND_CHUNK)
		return EVPUB_CHUNK_FORGED;

	/* the MAC stands at the same place in every version of the format */
	evpub_mac(mac, dbid, xid, data, EVPUB_CHUNK_MAC_AT,
			  data + EVPUB_CHUNK_HEADER_LENGTH,
			  len - EVPUB_CHUNK_HEADER_LENGTH);
	if (!evpub_mac_equal(mac, (const uint8 *) data + EVPUB_CHUNK_MAC_AT))
		return EVPUB_CHUNK_FORGED;
	if (data[EVPUB_CHUNK_VERSION_AT] != EVPUB_FORMAT_VERSION)
		return EVPUB_CHUNK_NEWER;

	info->first = header_field(data, EVPUB_CHUNK_FIRST_AT);
	info->count = header_field(data, EVPUB_CHUNK_COUNT_AT);
	info->events = header_field(data, EVPUB_CHUNK_EVENTS_AT);
	info->last = (data[EVPUB_CHUNK_FLAGS_AT] & EVPUB_CHUNK_LAST) != 0;
	total = header_field(data, EVPUB_CHUNK_TOTAL_AT);

	/* our own writer does not do this; callers may rely on it */
	if (info->count > PG_UINT32_MAX - info->first ||
		info->events > info->count ||
		total != (info->last ? info->first + info->count : 0))
		return EVPUB_CHUNK_FORGED;

	return EVPUB_CHUNK_OK;
}

void
evpub_chunk_open(EvpubChunkReader *reader, const char *data, Size len)
{
	Assert(len >= EVPUB_CHUNK_HEADER_LENGTH);

	memset(reader, 0, sizeof(*reader));
	reader->context = CurrentMemoryContext;
	reader->cursor = data + EVPUB_CHUNK_HEADER_LENGTH;
	reader->end = data + len;
	reader->next_number = header_field(data, EVPUB_CHUNK_FIRST_AT);
	reader->limit = reader->next_number +
		header_field(data, EVPUB_CHUNK_COUNT_AT);
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
	uint8		byte = get_byte(reader);
	uint64		value = byte & 0x7F;

	for (int shift = 7; unlikely(byte & 0x80); shift += 7)
	{
		if (shift > 28)
			CORRUPTED();
		byte = get_byte(reader);
		value |= (uint64) (byte & 0x7F) << shift;
	}
	if (unlikely(value > PG_UINT32_MAX))
		CORRUPTED();
	return (uint32) value;
}

static inline EvpubSlice
get_bytes(EvpubChunkReader *reader)
{
	EvpubSlice	slice;

	slice.len = get_varint(reader);
	if (unlikely(slice.len > (Size) (reader->end - reader->cursor)))
		CORRUPTED();
	slice.data = reader->cursor;
	reader->cursor += slice.len;
	return slice;
}

/* A switch, so that the compiler asks for an envelope that is new. */
static bool
is_known(EvpubEnvelope envelope)
{
	switch (envelope)
	{
		case EVPUB_ENVELOPE_PLAIN:
		case EVPUB_ENVELOPE_NONE:
		case EVPUB_ENVELOPE_CLOUDEVENTS:
		case EVPUB_ENVELOPE_CLOUDEVENTS_BINARY:
			return true;
	}
	return false;
}

/*
 * Routes are handed out as pointers, which must stay good while the table
 * grows; so the table is made of single allocations.
 */
static const EvpubRoute *
read_route(EvpubChunkReader *reader)
{
	EvpubRoute *route;

	if (reader->route_count == reader->route_slots)
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
	route = MemoryContextAlloc(reader->context, sizeof(EvpubRoute));
	reader->routes[reader->route_count] = route;
	route->number = reader->route_count++;
	route->envelope = (EvpubEnvelope) get_byte(reader);
	if (!is_known(route->envelope))
		CORRUPTED();
	route->topic = get_bytes(reader);
	route->type = get_bytes(reader);
	if (EVPUB_IS_CLOUDEVENT(route))
		route->source = get_bytes(reader);
	else
		route->source = (EvpubSlice) {"", 0};
	return route;
}

bool
evpub_chunk_next(EvpubChunkReader *reader, EvpubEvent *event)
{
	static const EvpubSlice nothing = {"", 0};
	uint8		flags;
	bool		enveloped;

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
	enveloped = EVPUB_HAS_ENVELOPE(event->route);

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

	event->has_key = !(flags & EVPUB_EVENT_NO_KEY);
	if (!event->has_key)
		event->key = nothing;
	else
	{
		if (!(flags & EVPUB_EVENT_SAME_KEY))
		{
			reader->last_key = get_bytes(reader);
			reader->has_last_key = true;
		}
		else if (unlikely(!reader->has_last_key))
			CORRUPTED();
		event->key = reader->last_key;
	}

	event->tenant = nothing;
	if (enveloped)
	{
		if (!(flags & EVPUB_EVENT_SAME_TENANT))
			reader->last_tenant = get_bytes(reader);
		else if (unlikely(reader->last_tenant.data == NULL))
			CORRUPTED();
		event->tenant = reader->last_tenant;
	}

	event->has_value = !(flags & EVPUB_EVENT_NO_VALUE);
	event->subject = event->has_value && EVPUB_IS_CLOUDEVENT(event->route) ?
		get_bytes(reader) : nothing;
	event->body = event->has_value ? get_bytes(reader) : nothing;
	event->tail = event->has_value && enveloped ? get_bytes(reader) : nothing;

	if (flags & EVPUB_EVENT_HEADERS)
		event->headers = reader->last_headers = get_bytes(reader);
	else if (flags & EVPUB_EVENT_SAME_HEADERS)
	{
		if (unlikely(reader->last_headers.data == NULL))
			CORRUPTED();
		event->headers = reader->last_headers;
	}
	else
		event->headers = nothing;

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
