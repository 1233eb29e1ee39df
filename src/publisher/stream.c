/*
 * stream.c
 *		From WAL to the relay, and acknowledgements back to a position.
 *
 * Transactions are queued in the order of their commit records and sent in
 * that order, each only when it is visible; a head that is not holds all
 * behind it.  What was sent is remembered batch by batch, with the position
 * that its acknowledgement means.  The position moves only from the oldest
 * batch, so it never passes an event that Kafka does not have.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "publisher/announce.h"
#include "publisher/put.h"
#include "publisher/stream.h"
#include "publisher/track.h"
#include "settings.h"

/* Records go to the relay in batches of about this size. */
#define BATCH_BYTES (64 * 1024)

/* Stop reading ahead of the relay at so many transactions. */
#define QUEUE_LENGTH 4096

/* Look at latch and relay after so much WAL. */
#define READ_BYTES (4 * 1024 * 1024)

static void
start_reading(EvpubStream *stream)
{
	MemoryContext old = MemoryContextSwitchTo(stream->context);
	TimeLineID	timeline;
	XLogRecPtr	end = evpub_walreader_end(&timeline);

	stream->reader = evpub_walreader_create();
	evpub_walreader_set_limit(stream->reader, end, timeline);
	stream->assembler = evpub_assembler_create((Size) evpub_decode_memory * 1024);
	evpub_walreader_seek(stream->reader, stream->position->restart_lsn);
	stream->queue_length += evpub_announce_gaps(&stream->queue, stream->position,
												stream->reader);
	MemoryContextSwitchTo(old);
}

void
evpub_stream_init(EvpubStream *stream, EvpubPosition *position)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "evpub stream",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	memset(stream, 0, sizeof(*stream));
	stream->context = context;
	stream->position = position;
	dlist_init(&stream->queue);
	initStringInfo(&stream->batch);
	stream->flight_slots = 64;
	stream->flights = palloc(sizeof(EvpubInFlight) * stream->flight_slots);
	stream->confirmed_lsn = position->confirmed_lsn;
	stream->next_event = position->next_event;
	MemoryContextSwitchTo(old);
	start_reading(stream);
}

static EvpubTransaction *
queue_head(EvpubStream *stream)
{
	return dlist_head_element(EvpubTransaction, node, &stream->queue);
}

static void
pop_head(EvpubStream *stream)
{
	EvpubTransaction *transaction = queue_head(stream);

	evpub_put_close(stream);
	dlist_delete(&transaction->node);
	stream->queue_length--;
	stream->stuck = NULL;
	if (transaction->gap)
		pfree(transaction->gap);
	evpub_assembler_release(stream->assembler, transaction);
	stream->head_open = false;
	stream->head_visible = false;
}

void
evpub_stream_rewind(EvpubStream *stream)
{
	/*
	 * Start where the last persisted position says, not where the structures
	 * below would: when an error brought us here, a transaction may be in none
	 * of them.  Commits that are confirmed are skipped on the way.
	 */
	while (!dlist_is_empty(&stream->queue))
		pop_head(stream);
	stream->forged_before += evpub_assembler_forged(stream->assembler);
	evpub_assembler_free(stream->assembler);
	evpub_walreader_free(stream->reader);
	stream->flight_count = 0;
	stream->flight_head = 0;
	stream->sent_seq = 0;
	stream->acked_seq = 0;
	stream->waiting_xid = InvalidTransactionId;
	if (stream->broken)
		pfree(stream->broken);
	stream->broken = NULL;
	stream->stuck = NULL;
	start_reading(stream);
}

static void
read_records(EvpubStream *stream)
{
	XLogRecPtr	stop = stream->reader->position + READ_BYTES;

	while (stream->queue_length < QUEUE_LENGTH &&
		   stream->reader->position < stop &&
		   evpub_walreader_next(stream->reader))
	{
		EvpubRecordKind kind;
		EvpubTransaction *transaction;

		transaction = evpub_assembler_feed(stream->assembler, stream->reader, &kind);
		if (!transaction)
			continue;

		/*
		 * Confirmed before.  Its first chunks may lie before the place where
		 * reading started, so it need not be complete.
		 */
		if (transaction->commit.lsn <= stream->confirmed_lsn)
		{
			evpub_assembler_release(stream->assembler, transaction);
			continue;
		}
		transaction->commit.publisher_id =
			evpub_position_publisher_at(stream->position,
										stream->reader->xlog->ReadRecPtr);
		if (transaction->commit.lsn == stream->refused_lsn && !transaction->problem)
			transaction->problem = MemoryContextStrdup(stream->context,
													   stream->refused_reason);
		dlist_push_tail(&stream->queue, &transaction->node);
		stream->queue_length++;
		stream->transactions_read++;
	}
}

bool
evpub_stream_read(EvpubStream *stream)
{
	MemoryContext caller = CurrentMemoryContext;
	XLogRecPtr	before = stream->reader->position;

	if (stream->broken)
		return false;
	stream->limit = evpub_walreader_end(&stream->timeline);
	if (before >= stream->limit || evpub_stream_full(stream))
		return false;

	PG_TRY();
	{
		evpub_walreader_set_limit(stream->reader, stream->limit, stream->timeline);
		read_records(stream);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		/*
		 * A missing segment or a damaged record.  What was queued before is
		 * still published; then the worker stands still and says so.
		 */
		MemoryContextSwitchTo(stream->context);
		error = CopyErrorData();
		FlushErrorState();
		stream->broken = pstrdup(error->message);
		stream->broken_at = stream->reader->position;
		FreeErrorData(error);
		MemoryContextSwitchTo(caller);
		return false;
	}
	PG_END_TRY();

	if (stream->reader->position >= stream->limit)
		stream->caught_up = true;
	return stream->reader->position > before &&
		stream->reader->position < stream->limit &&
		stream->queue_length < QUEUE_LENGTH;
}

/* ---- sending ---- */

static EvpubInFlight *
flight(EvpubStream *stream, int i)
{
	return &stream->flights[(stream->flight_head + i) % stream->flight_slots];
}

static EvpubInFlight *
add_flight(EvpubStream *stream)
{
	if (stream->flight_count == stream->flight_slots)
	{
		EvpubInFlight *grown = MemoryContextAlloc(stream->context,
												  sizeof(EvpubInFlight) * stream->flight_slots * 2);

		for (int i = 0; i < stream->flight_count; i++)
			grown[i] = *flight(stream, i);
		pfree(stream->flights);
		stream->flights = grown;
		stream->flight_slots *= 2;
		stream->flight_head = 0;
	}
	return flight(stream, stream->flight_count++);
}

/*
 * May the head of the queue be told to the world?  One snapshot serves all
 * transactions that were read before it was taken.
 */
static bool
head_may_go(EvpubStream *stream, EvpubGate *gate, bool *fresh)
{
	EvpubTransaction *head = queue_head(stream);

	/* an accepted gap has no transaction to wait for */
	if (stream->head_visible || head->xid == InvalidTransactionId)
		return true;
	if (!*fresh)
	{
		evpub_gate_refresh(gate);
		*fresh = true;
	}
	if (evpub_gate_passed(gate, head->xid))
	{
		stream->head_visible = true;
		stream->waiting_xid = InvalidTransactionId;
		return true;
	}
	if (stream->waiting_xid != head->xid)
	{
		stream->waiting_xid = head->xid;
		stream->waiting_lsn = head->commit.lsn;
		stream->waiting_since = GetCurrentTimestamp();
	}
	return false;
}

/* What a batch means when it is acknowledged; starts with what is so far. */
static void
begin_flight(EvpubStream *stream, EvpubInFlight *entry)
{
	memset(entry, 0, sizeof(*entry));
	if (stream->flight_count > 0)
	{
		EvpubInFlight *last = flight(stream, stream->flight_count - 1);

		entry->confirmed_lsn = last->confirmed_lsn;
		entry->next_event = last->next_event;
	}
	else
	{
		entry->confirmed_lsn = stream->confirmed_lsn;
		entry->next_event = stream->next_event;
	}
}

/*
 * False if the head can never be published.  One that an accepted gap has cut
 * is told as a gap of its own.
 */
static bool
head_is_whole(EvpubStream *stream)
{
	EvpubTransaction *head = queue_head(stream);
	MemoryContext old;
	bool		whole = true;

	if (!head->problem || head->gap)
		return true;
	old = MemoryContextSwitchTo(stream->context);
	if (!evpub_announce_instead(stream->position, head))
	{
		stream->stuck = head->problem;
		whole = false;
	}
	MemoryContextSwitchTo(old);
	return whole;
}

/*
 * Put what is left of the head into the batch.  True when it has no more; then
 * *entry says what the batch means with it.
 */
static bool
put_head(EvpubStream *stream, EvpubRelay *relay, EvpubInFlight *entry, uint32 *count)
{
	EvpubTransaction *head = queue_head(stream);

	if (!stream->head_open)
	{
		stream->head_open = true;
		stream->head_place = 0;
	}
	if (entry->first_lsn == InvalidXLogRecPtr || head->first_lsn < entry->first_lsn)
		entry->first_lsn = head->first_lsn;
	if (entry->commit_time == 0)
		entry->commit_time = head->commit.time;

	if (!head->gap)
	{
		if (!evpub_put_transaction(stream, head, relay, BATCH_BYTES, count,
								   &entry->next_event))
			return false;
		entry->transactions++;
	}
	else
	{
		/* how far it got is not remembered: it is told anew after a crash */
		if (!evpub_announce_put(&stream->batch, BATCH_BYTES, stream->position,
								relay, head, &stream->head_place, count))
			return false;
		entry->told_lsn = head->gap->to_lsn;
	}
	if (head->commit.lsn > entry->confirmed_lsn)
	{
		entry->confirmed_lsn = head->commit.lsn;
		entry->next_event = 0;
	}
	return true;
}

/* Fill one batch from the queue and send it.  False if nothing may go. */
static bool
send_batch(EvpubStream *stream, EvpubRelay *relay, EvpubGate *gate, bool *fresh)
{
	EvpubInFlight entry;
	EvpubFrameBatch header;
	bool		ended = false;

	begin_flight(stream, &entry);
	header.first = stream->sent_seq + 1;
	header.count = 0;
	header.zero = 0;
	resetStringInfo(&stream->batch);
	appendBinaryStringInfo(&stream->batch, (char *) &header, sizeof(header));

	while (!dlist_is_empty(&stream->queue) && stream->batch.len < BATCH_BYTES)
	{
		if (!head_may_go(stream, gate, fresh) || !head_is_whole(stream))
			break;
		if (!put_head(stream, relay, &entry, &header.count))
			break;
		ended = true;
		pop_head(stream);
	}
	if (header.count == 0 && !ended)
		return false;

	memcpy(stream->batch.data, &header, sizeof(header));
	stream->sent_seq += header.count;
	entry.last_seq = stream->sent_seq;
	*add_flight(stream) = entry;
	if (header.count > 0)
		evpub_relay_put(relay, EVPUB_FRAME_BATCH, stream->batch.data, stream->batch.len);
	else
	{
		/* its last event went with the batch before, which may be acknowledged */
		evpub_stream_acknowledge(stream, stream->acked_seq);
	}
	return true;
}

void
evpub_stream_send(EvpubStream *stream, EvpubRelay *relay, EvpubGate *gate)
{
	bool		fresh = false;

	/* render no more than the relay takes: its back-pressure reaches us here */
	while (evpub_relay_flush(relay) && evpub_relay_may_put(relay) &&
		   send_batch(stream, relay, gate, &fresh))
		;
}

/* ---- acknowledgements ---- */

bool
evpub_stream_acknowledge(EvpubStream *stream, uint64 seq)
{
	if (seq < stream->acked_seq || seq > stream->sent_seq)
		return false;
	stream->events_published += seq - stream->acked_seq;
	stream->acked_seq = seq;
	while (stream->flight_count > 0 && flight(stream, 0)->last_seq <= seq)
	{
		EvpubInFlight *done = flight(stream, 0);

		stream->confirmed_lsn = done->confirmed_lsn;
		stream->next_event = done->next_event;
		stream->transactions_published += done->transactions;
		if (done->told_lsn != InvalidXLogRecPtr)
			evpub_announce_told(stream->position, done->told_lsn);
		stream->flight_head = (stream->flight_head + 1) % stream->flight_slots;
		stream->flight_count--;
	}
	return true;
}

bool
evpub_stream_full(const EvpubStream *stream)
{
	return stream->queue_length >= QUEUE_LENGTH || stream->broken != NULL;
}

bool
evpub_stream_at_stuck(const EvpubStream *stream)
{
	return stream->stuck != NULL && stream->flight_count == 0;
}

XLogRecPtr
evpub_stream_head_lsn(EvpubStream *stream)
{
	if (dlist_is_empty(&stream->queue))
		return InvalidXLogRecPtr;
	return queue_head(stream)->commit.lsn;
}

void
evpub_stream_refuse(EvpubStream *stream, XLogRecPtr lsn, const char *reason)
{
	stream->refused_lsn = lsn;
	stream->refused_reason = MemoryContextStrdup(stream->context, reason);
}

bool
evpub_stream_drained(const EvpubStream *stream)
{
	return stream->queue_length == 0 && stream->flight_count == 0;
}

void
evpub_stream_idle(EvpubStream *stream)
{
	/*
	 * All commits up to here were looked at.  next_event stays: it belongs to
	 * the next transaction with events, wherever that is.
	 */
	if (!stream->broken && evpub_stream_drained(stream) &&
		stream->reader->position > stream->confirmed_lsn)
		stream->confirmed_lsn = stream->reader->position;
}

XLogRecPtr
evpub_stream_restart_lsn(EvpubStream *stream)
{
	XLogRecPtr	restart;
	XLogRecPtr	oldest = evpub_assembler_oldest(stream->assembler);
	dlist_iter	iter;

	/* the record at which reading broke may have been passed, but not taken in */
	restart = stream->broken ? stream->position->restart_lsn : stream->reader->position;
	if (oldest != InvalidXLogRecPtr)
		restart = Min(restart, oldest);
	for (int i = 0; i < stream->flight_count; i++)
		restart = Min(restart, flight(stream, i)->first_lsn);
	dlist_foreach(iter, &stream->queue)
		restart = Min(restart, dlist_container(EvpubTransaction, node, iter.cur)->first_lsn);
	return restart;
}

TimestampTz
evpub_stream_oldest(EvpubStream *stream)
{
	if (stream->flight_count > 0 && flight(stream, 0)->commit_time != 0)
		return flight(stream, 0)->commit_time;
	if (!dlist_is_empty(&stream->queue))
		return queue_head(stream)->commit.time;
	return 0;
}
