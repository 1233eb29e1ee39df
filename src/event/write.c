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

void
evpub_chunk_begin(EvpubChunkWriter *writer, StringInfo buf, uint32 first)
{
	memset(writer, 0, sizeof(*writer));
	writer->buf = buf;
	writer->first = first;
	writer->next_number = first;
	writer->route_index = writer->few_routes;
	writer->route_slots = EVPUB_WRITER_ROUTES;

	/* the header is as long as its numbers, and ends where the body begins */
	resetStringInfo(buf);
	enlargeStringInfo(buf, EVPUB_CHUNK_HEADER_MOST);
	buf->len = EVPUB_CHUNK_HEADER_MOST;
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
		uint32		slots = writer->route_slots;
		uint32	   *index;

		while (slots <= route->number)
			slots *= 2;
		index = palloc0(slots * sizeof(uint32));
		memcpy(index, writer->route_index, writer->route_slots * sizeof(uint32));
		if (writer->route_index != writer->few_routes)
			pfree(writer->route_index);
		writer->route_index = index;
		writer->route_slots = slots;
	}
	return &writer->route_index[route->number];
}

/* Which parts of the event the chunk need not repeat. */
static uint8
event_flags(const EvpubChunkWriter *writer, const EvpubEvent *event)
{
	uint8		flags = 0;
	EvpubSlice	text;

	if (event->number != writer->next_number)
		flags |= EVPUB_EVENT_HOLE;
	if (!event->has_key)
		flags |= EVPUB_EVENT_NO_KEY;
	else if (evpub_tenant_text(event->route, event->tenant, &text) &&
			 evpub_slice_equals(event->key, text))
		flags |= EVPUB_EVENT_TENANT_KEY;
	else if (writer->has_last_key && evpub_slice_equals(event->key, writer->last_key))
		flags |= EVPUB_EVENT_SAME_KEY;
	if (EVPUB_HAS_ENVELOPE(event->route) &&
		writer->last_tenant.data != NULL &&
		evpub_slice_equals(event->tenant, writer->last_tenant))
		flags |= EVPUB_EVENT_SAME_TENANT;
	if (!event->has_value)
		flags |= EVPUB_EVENT_NO_VALUE;
	if (event->headers.len > 0)
		flags |= (writer->last_headers.data != NULL &&
				  evpub_slice_equals(event->headers, writer->last_headers)) ?
			EVPUB_EVENT_SAME_HEADERS : EVPUB_EVENT_HEADERS;
	return flags;
}

/* Of its type, the quotes of a JSON string and the ending that most have are not stored. */
uint32
evpub_route_encode(const EvpubRoute *route, char *dst, const char **topic,
				   const char **source)
{
	char	   *p = dst;
	EvpubSlice	type = route->type;
	uint8		bits = 0;

	while (evpub_route_envelopes[bits] != route->envelope)
	{
		bits++;
		Assert(bits < lengthof(evpub_route_envelopes));
	}
	if (type.len >= 2 && type.data[0] == '"' && type.data[type.len - 1] == '"')
	{
		bits |= EVPUB_ROUTE_QUOTED;
		type = (EvpubSlice) {type.data + 1, type.len - 2};
	}
	for (int i = 1; i < (int) lengthof(evpub_route_endings); i++)
	{
		EvpubSlice	ending = evpub_route_endings[i];

		if (type.len < ending.len ||
			memcmp(type.data + type.len - ending.len, ending.data, ending.len) != 0)
			continue;
		bits |= i << EVPUB_ROUTE_ENDING_SHIFT;
		type.len -= ending.len;
		break;
	}
	*p++ = (char) bits;
	p = put_bytes(p, route->topic);
	*topic = p - route->topic.len;
	p = put_bytes(p, type);
	if (EVPUB_IS_CLOUDEVENT(route))
		p = put_bytes(p, route->source);
	*source = p - route->source.len;
	return p - dst;
}

static char *
put_route(char *p, const EvpubRoute *route)
{
	const char *ignored;

	if (unlikely(route->encoded.len == 0))
		return p + evpub_route_encode(route, p, &ignored, &ignored);
	memcpy(p, route->encoded.data, route->encoded.len);
	return p + route->encoded.len;
}

/* Put what is the event's own, but for its route and number. */
static char *
put_parts(EvpubChunkWriter *writer, char *p, const EvpubEvent *event, uint8 flags)
{
	bool		enveloped = EVPUB_HAS_ENVELOPE(event->route);

	if (enveloped && !(flags & EVPUB_EVENT_SAME_TENANT))
	{
		p = put_bytes(p, event->tenant);
		writer->last_tenant = event->tenant;
	}
	if ((flags & EVPUB_EVENT_KEY_MASK) == 0)
		p = put_bytes(p, event->key);
	if (event->has_key)
	{
		writer->last_key = event->key;
		writer->has_last_key = true;
	}
	if (event->has_value)
	{
		bool		has_tail = enveloped && event->tail.len > 0;

		if (EVPUB_IS_CLOUDEVENT(event->route))
			p = put_bytes(p, event->subject);
		p = put_varint(p, event->body.len << 1 | has_tail);
		memcpy(p, event->body.data, event->body.len);
		p += event->body.len;
		if (has_tail)
			p = put_bytes(p, event->tail);
	}
	if (flags & EVPUB_EVENT_HEADERS)
	{
		p = put_bytes(p, event->headers);
		writer->last_headers = event->headers;
	}
	return p;
}

void
evpub_chunk_add(EvpubChunkWriter *writer, const EvpubEvent *event)
{
	const EvpubRoute *route = event->route;
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
		p = put_route(p, route);
	}
	else
		p = put_varint(p, *index - 1);
	if (flags & EVPUB_EVENT_HOLE)
		p = put_varint(p, event->number - writer->next_number);
	p = put_parts(writer, p, event, flags);
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

EvpubSlice
evpub_chunk_finish(EvpubChunkWriter *writer, Oid dbid, TransactionId xid,
				   uint32 end, bool last)
{
	uint32		count = end - writer->first;
	uint8		version = EVPUB_FORMAT_VERSION;
	char		numbers[3 * EVPUB_VARINT_LENGTH];
	char	   *p = numbers;
	char	   *chunk;
	Size		len;

	Assert(end >= writer->next_number);

	if (last)
		version |= EVPUB_CHUNK_LAST;
	if (writer->first == 0)
		version |= EVPUB_CHUNK_FROM_0;
	else
		p = put_varint(p, writer->first);
	if (count == 1)
		version |= EVPUB_CHUNK_ONE;
	else
		p = put_varint(p, count);
	if (writer->events != count)
	{
		version |= EVPUB_CHUNK_HOLES;
		p = put_varint(p, writer->events);
	}

	chunk = writer->buf->data + EVPUB_CHUNK_HEADER_MOST - (p - numbers) -
		EVPUB_CHUNK_HEADER_LEAST;
	len = writer->buf->data + writer->buf->len - chunk;
	memcpy(chunk + EVPUB_CHUNK_HEADER_LEAST, numbers, p - numbers);
	chunk[EVPUB_CHUNK_KIND_AT] = EVPUB_KIND_CHUNK;
	chunk[EVPUB_CHUNK_VERSION_AT] = (char) version;
	evpub_mac((uint8 *) chunk + EVPUB_CHUNK_MAC_AT, dbid, xid,
			  chunk, EVPUB_CHUNK_MAC_AT,
			  chunk + EVPUB_CHUNK_HEADER_LEAST, len - EVPUB_CHUNK_HEADER_LEAST);

	if (writer->route_index != writer->few_routes)
		pfree(writer->route_index);
	writer->route_index = NULL;
	writer->route_slots = 0;
	return (EvpubSlice) {chunk, len};
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
