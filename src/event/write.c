/*
 * write.c
 *		Encoding events into a chunk.  The encoding is described in
 *		event/chunk.h, the chunk's header in event.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "event/chunk.h"
#include "event/event.h"

static inline char *
put_varint(char *p, uint32 value)
{
	while (value >= 0x80)
	{
		*p++ = (char) (value | 0x80);
		value >>= 7;
	}
	*p++ = (char) value;
	return p;
}

static inline char *
put_bytes(char *p, EvpubSlice slice)
{
	p = put_varint(p, slice.len);
	memcpy(p, slice.data, slice.len);
	return p + slice.len;
}

static inline bool
same(EvpubSlice a, EvpubSlice b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

void
evpub_chunk_begin(EvpubChunkWriter *writer, StringInfo buf, uint32 first)
{
	char		header[EVPUB_CHUNK_HEADER_LENGTH] = {0};

	memset(writer, 0, sizeof(*writer));
	writer->buf = buf;
	writer->next_number = first;

	header[EVPUB_CHUNK_KIND_AT] = EVPUB_KIND_CHUNK;
	header[EVPUB_CHUNK_VERSION_AT] = EVPUB_FORMAT_VERSION;
	memcpy(header + EVPUB_CHUNK_FIRST_AT, &first, sizeof(first));

	resetStringInfo(buf);
	appendBinaryStringInfo(buf, header, sizeof(header));
}

/*
 * Where the index of a route in this chunk, plus 1, is kept; it is 0 for a route
 * that the chunk does not have yet.
 */
static uint32 *
route_index_of(EvpubChunkWriter *writer, const EvpubRoute *route)
{
	if (unlikely(route->number >= writer->route_slots))
	{
		uint32		slots = Max(8, writer->route_slots);

		while (slots <= route->number)
			slots *= 2;
		if (writer->route_index == NULL)
			writer->route_index = palloc0(slots * sizeof(uint32));
		else
		{
			writer->route_index = repalloc(writer->route_index,
										   slots * sizeof(uint32));
			memset(writer->route_index + writer->route_slots, 0,
				   (slots - writer->route_slots) * sizeof(uint32));
		}
		writer->route_slots = slots;
	}
	return &writer->route_index[route->number];
}

/* Which parts of the event the chunk need not repeat. */
static uint8
event_flags(const EvpubChunkWriter *writer, const EvpubEvent *event)
{
	uint8		flags = 0;

	if (event->number != writer->next_number)
		flags |= EVPUB_EVENT_HOLE;
	if (!event->has_key)
		flags |= EVPUB_EVENT_NO_KEY;
	else if (writer->has_last_key && same(event->key, writer->last_key))
		flags |= EVPUB_EVENT_SAME_KEY;
	if (EVPUB_HAS_ENVELOPE(event->route) &&
		writer->last_tenant.data != NULL &&
		same(event->tenant, writer->last_tenant))
		flags |= EVPUB_EVENT_SAME_TENANT;
	if (!event->has_value)
		flags |= EVPUB_EVENT_NO_VALUE;
	if (event->headers.len > 0)
		flags |= (writer->last_headers.data != NULL &&
				  same(event->headers, writer->last_headers)) ?
			EVPUB_EVENT_SAME_HEADERS : EVPUB_EVENT_HEADERS;
	return flags;
}

void
evpub_chunk_add(EvpubChunkWriter *writer, const EvpubEvent *event)
{
	const EvpubRoute *route = event->route;
	bool		enveloped = EVPUB_HAS_ENVELOPE(route);
	uint32	   *index = route_index_of(writer, route);
	uint8		flags = event_flags(writer, event);
	StringInfo	buf = writer->buf;
	Size		room;
	char	   *p;

	Assert(event->number >= writer->next_number);

	/* one check for all parts, so that they can be put without further ones */
	room = 2 + 10 * EVPUB_VARINT_LENGTH + event->key.len + event->tenant.len +
		event->subject.len + event->body.len + event->tail.len + event->headers.len;
	if (*index == 0)
	{
		flags |= EVPUB_EVENT_NEW_ROUTE;
		room += route->topic.len + route->type.len + route->source.len;
	}
	if (unlikely(room > MaxAllocSize))
		elog(ERROR, "event is too large for a chunk");
	enlargeStringInfo(buf, (int) room);

	p = buf->data + buf->len;
	*p++ = (char) flags;
	if (*index == 0)
	{
		*index = ++writer->routes;
		*p++ = (char) route->envelope;
		p = put_bytes(p, route->topic);
		p = put_bytes(p, route->type);
		if (EVPUB_IS_CLOUDEVENT(route))
			p = put_bytes(p, route->source);
	}
	else
		p = put_varint(p, *index - 1);
	if (flags & EVPUB_EVENT_HOLE)
		p = put_varint(p, event->number - writer->next_number);
	if (!(flags & (EVPUB_EVENT_NO_KEY | EVPUB_EVENT_SAME_KEY)))
	{
		p = put_bytes(p, event->key);
		writer->last_key = event->key;
		writer->has_last_key = true;
	}
	if (enveloped && !(flags & EVPUB_EVENT_SAME_TENANT))
	{
		p = put_bytes(p, event->tenant);
		writer->last_tenant = event->tenant;
	}
	if (event->has_value)
	{
		if (EVPUB_IS_CLOUDEVENT(route))
			p = put_bytes(p, event->subject);
		p = put_bytes(p, event->body);
		if (enveloped)
			p = put_bytes(p, event->tail);
	}
	if (flags & EVPUB_EVENT_HEADERS)
	{
		p = put_bytes(p, event->headers);
		writer->last_headers = event->headers;
	}
	Assert(p - (buf->data + buf->len) <= (ptrdiff_t) room);
	buf->len = p - buf->data;
	buf->data[buf->len] = '\0';

	writer->events++;
	writer->next_number = event->number + 1;
}

Size
evpub_chunk_size(const EvpubChunkWriter *writer)
{
	return writer->buf->len;
}

void
evpub_chunk_finish(EvpubChunkWriter *writer, Oid dbid, TransactionId xid,
				   uint32 end, bool last)
{
	char	   *header = writer->buf->data;
	uint32		first;
	uint32		count;
	uint32		total = last ? end : 0;

	Assert(end >= writer->next_number);

	memcpy(&first, header + EVPUB_CHUNK_FIRST_AT, sizeof(first));
	count = end - first;
	header[EVPUB_CHUNK_FLAGS_AT] = last ? EVPUB_CHUNK_LAST : 0;
	memcpy(header + EVPUB_CHUNK_COUNT_AT, &count, sizeof(count));
	memcpy(header + EVPUB_CHUNK_EVENTS_AT, &writer->events, sizeof(uint32));
	memcpy(header + EVPUB_CHUNK_TOTAL_AT, &total, sizeof(total));

	evpub_mac((uint8 *) header + EVPUB_CHUNK_MAC_AT, dbid, xid,
			  header, EVPUB_CHUNK_MAC_AT,
			  header + EVPUB_CHUNK_HEADER_LENGTH,
			  writer->buf->len - EVPUB_CHUNK_HEADER_LENGTH);

	if (writer->route_index != NULL)
		pfree(writer->route_index);
	writer->route_index = NULL;
	writer->route_slots = 0;
}

void
evpub_headers_add(StringInfo headers, const char *name, int namelen,
				  const char *value, int valuelen)
{
	uint32		len;

	len = namelen;
	appendBinaryStringInfo(headers, (char *) &len, sizeof(len));
	appendBinaryStringInfo(headers, name, namelen);
	len = valuelen;
	appendBinaryStringInfo(headers, (char *) &len, sizeof(len));
	appendBinaryStringInfo(headers, value, valuelen);
}
