/*
 * chunks.c
 *		Logs events as chunks.
 *
 * The reader joins the chunks of a transaction by their ranges of event numbers.
 * So a chunk ends where the numbers jump, because a subtransaction logged its own
 * in between, and the transaction's last chunk says that it is the last.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "capture/chunks.h"
#include "compat.h"
#include "event/event.h"

/* Encoded bytes after which a chunk is full. */
#define CHUNK_BYTES (128 * 1024)

/* The one that is being made; data NULL until it is needed. */
static StringInfoData chunk;

/* A chunk of this transaction, perhaps of a part that was rolled back, is in WAL. */
static bool logged = false;

static void
fill_event(EvpubEvent *dst, const EvpubBuffered *src, const char *arena)
{
	const char *p = arena + src->start;

	dst->number = src->number;
	dst->route = src->route;
	dst->has_key = src->has_key;
	dst->has_value = src->has_value;
	dst->key = (EvpubSlice) {p, src->key_len};
	p += src->key_len;
	dst->tenant = (EvpubSlice) {p, src->tenant_len};
	p += src->tenant_len;
	dst->subject = (EvpubSlice) {p, src->subject_len};
	p += src->subject_len;
	dst->body = (EvpubSlice) {p, src->body_len};
	p += src->body_len;
	dst->tail = (EvpubSlice) {p, src->tail_len};
	p += src->tail_len;
	dst->headers = (EvpubSlice) {p, src->headers_len};
}

static void
log_chunk(EvpubChunkWriter *writer, TransactionId xid, uint32 end, bool last)
{
	EvpubSlice	message;

	/* the reader takes a longer message for a forged one */
	if (unlikely(chunk.len > EVPUB_CHUNK_LONGEST - EVPUB_CHUNK_ROOM))
		elog(ERROR, "chunk of %d bytes is too long", chunk.len);
	message = evpub_chunk_finish(writer, MyDatabaseId, xid, end, last);
	evpub_log_message(EVPUB_MESSAGE_PREFIX, message.data, message.len, true);
	logged = true;
}

static void
begin_chunk(EvpubChunkWriter *writer, uint32 first)
{
	if (chunk.data == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		initStringInfo(&chunk);
		MemoryContextSwitchTo(caller);
	}
	evpub_chunk_begin(writer, &chunk, first);
}

void
evpub_chunks_log(const EvpubBuffered *events, Size count, const char *arena,
				 uint32 next, bool final)
{
	/* first assign the xid: the MAC is bound to that of the record */
	TransactionId xid = GetCurrentTransactionId();
	EvpubChunkWriter writer;
	EvpubEvent	event;
	bool		last = false;
	Size		i = 0;

	while (i < count)
	{
		uint32		end;

		begin_chunk(&writer, events[i].first);
		do
		{
			if (!events[i].dropped)
			{
				fill_event(&event, &events[i], arena);
				evpub_chunk_add(&writer, &event);
			}
			end = events[i].end;
			i++;
		} while (i < count && events[i].first == end &&
				 evpub_chunk_size(&writer) < CHUNK_BYTES);

		last = final && end == next;
		log_chunk(&writer, xid, end, last);
	}
	if (final && !last)
	{
		begin_chunk(&writer, next);
		log_chunk(&writer, xid, next, true);
	}
}

bool
evpub_chunks_logged(void)
{
	return logged;
}

void
evpub_chunks_end(void)
{
	logged = false;
	if (chunk.data == NULL || chunk.maxlen <= EVPUB_KEEP_BYTES)
		return;
	pfree(chunk.data);
	chunk.data = NULL;
}
