/*
 * stream.c
 *		From WAL to the relay, and acknowledgements back to a position.
 *
 * Transactions are queued in the order of their commit records and sent in
 * that order, each only when it is visible; a head that is not holds all
 * behind it.  What was sent is remembered record by record, with the position
 * that its acknowledgement means (flight.c).
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "position/follow.h"
#include "position/pins.h"
#include "reason.h"
#include "sender/announce.h"
#include "sender/flight.h"
#include "sender/put.h"
#include "sender/stream.h"
#include "settings.h"

/* Records go to the relay in batches of about this size. */
#define BATCH_BYTES (64 * 1024)

/* A batch has no more records, for numbers to fit; it has far less. */
#define BATCH_RECORDS (64 * 1024)

/* Stop reading ahead of the relay at so many transactions. */
#define QUEUE_LENGTH 4096

/* Look at latch and relay after so much WAL. */
#define READ_BYTES (4 * 1024 * 1024)

/* Pauses before WAL is tried again, in ms: doubled with each failure in a row. */
#define AGAIN_FIRST 100
#define AGAIN_LONGEST 10000

static void
start_reading(EvpubStream *stream)
{
	MemoryContext old = MemoryContextSwitchTo(stream->context);
	TimeLineID	timeline;
	XLogRecPtr	end = evpub_walreader_end(&timeline);

	stream->reader = evpub_walreader_create();
	stream->reader->slice = READ_BYTES;
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
	stream->confirmed_lsn = position->confirmed_lsn;
	stream->next_event = position->next_event;
	evpub_flight_init(stream);
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

/*
 * What is set up next may fail for want of memory: then nothing must be left
 * that is freed once more.
 */
void
evpub_stream_close(EvpubStream *stream)
{
	EvpubAssembler *assembler = stream->assembler;
	EvpubWalReader *reader = stream->reader;

	stream->assembler = NULL;
	stream->reader = NULL;
	if (assembler)
		evpub_assembler_free(assembler);
	if (reader)
		evpub_walreader_free(reader);
}

uint64
evpub_stream_forged(const EvpubStream *stream)
{
	return stream->forged_before +
		(stream->assembler ? evpub_assembler_forged(stream->assembler) : 0);
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
	stream->forged_before = evpub_stream_forged(stream);
	evpub_stream_close(stream);
	evpub_flight_reset(stream);
	stream->waiting_xid = InvalidTransactionId;
	if (stream->broken)
		pfree(stream->broken);
	stream->broken = NULL;
	stream->missed = false;
	stream->feeding = false;
	stream->stuck = NULL;
	start_reading(stream);
}

static void
forget_unread(EvpubStream *stream)
{
	if (stream->unread)
		pfree(stream->unread);
	stream->unread = NULL;
	stream->unread_times = 0;
	stream->read_again_at = 0;
	stream->missed = false;
}

/*
 * The next record could not be read.  WAL that is not valid, or not there at a
 * second look, is a gap: what was queued before is still published; then the
 * worker stands still and says so.  Everything else may be over in a moment,
 * and must never end in a gap that somebody accepts: it is tried again.  The
 * reader has stayed at the record, and the assembler has not seen it.
 */
static void
cannot_read(EvpubStream *stream, const ErrorData *error)
{
	bool		missing = error->sqlerrcode == ERRCODE_UNDEFINED_FILE;
	char	   *text;

	if (evpub_walreader_no_wal(error->sqlerrcode) && (!missing || stream->missed))
	{
		forget_unread(stream);
		stream->broken = MemoryContextStrdup(stream->context, error->message);
		stream->broken_at = stream->reader->position;
		return;
	}
	stream->read_again_at = evpub_clock_now() +
		Min(AGAIN_FIRST << Min(stream->unread_times, 10), AGAIN_LONGEST);
	stream->missed = missing;
	if (missing)
		return;
	stream->unread_times++;
	text = MemoryContextStrdup(stream->context, evpub_reason_of_error(error));
	if (stream->unread)
		pfree(stream->unread);
	stream->unread = text;
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

		stream->feeding = true;
		transaction = evpub_assembler_feed(stream->assembler, stream->reader, &kind);
		if (kind == EVPUB_RECORD_HOUSEKEEPING)
			evpub_follow_growth(stream->position, stream->reader);
		stream->feeding = false;
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

/*
 * An error while reading.  What the assembler was taking in when it failed may
 * be half in it: then the caller rewinds.  A record of a newer version is
 * refused before anything is taken in, and can be read again.
 */
static void
reading_failed(EvpubStream *stream)
{
	MemoryContext caller = MemoryContextSwitchTo(stream->context);
	ErrorData  *error;

	if (stream->feeding)
	{
		stream->feeding = false;
		if (geterrcode() != ERRCODE_FEATURE_NOT_SUPPORTED)
			PG_RE_THROW();
		evpub_walreader_seek(stream->reader, stream->reader->xlog->ReadRecPtr);
	}
	error = CopyErrorData();
	FlushErrorState();
	MemoryContextSwitchTo(caller);
	cannot_read(stream, error);
	FreeErrorData(error);
}

bool
evpub_stream_read(EvpubStream *stream)
{
	XLogRecPtr	before = stream->reader->position;

	if (stream->broken)
		return false;
	stream->limit = evpub_walreader_end(&stream->timeline);
	stream->behind = before < stream->limit;
	if (!stream->behind || evpub_stream_full(stream))
		return false;
	if (stream->read_again_at != 0 && evpub_clock_left(stream->read_again_at) > 0)
	{
		stream->behind = false; /* what is left cannot be read now */
		return false;
	}

	PG_TRY();
	{
		evpub_walreader_set_limit(stream->reader, stream->limit, stream->timeline);
		read_records(stream);
	}
	PG_CATCH();
	{
		stream->behind = false;
		reading_failed(stream);
		return false;
	}
	PG_END_TRY();

	if (stream->read_again_at != 0)
		forget_unread(stream);
	stream->behind = stream->reader->position < stream->limit;
	if (!stream->behind)
		stream->caught_up = true;
	return stream->reader->yielded ||
		(stream->behind && stream->reader->position > before &&
		 stream->queue_length < QUEUE_LENGTH);
}

/* ---- sending ---- */

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
		stream->waiting_since = evpub_clock_now();
	}
	return false;
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
 * Put what is left of the head into the batch, until that has "limit" bytes or
 * "most" records.  True when the head has no more.
 */
static bool
put_head(EvpubStream *stream, EvpubRelay *relay, uint32 most)
{
	EvpubTransaction *head = queue_head(stream);

	if (!stream->head_open)
	{
		stream->head_open = true;
		stream->head_place = head->gap ? (int) head->gap->next_place : 0;
	}
	if (!head->gap)
	{
		if (!evpub_put_transaction(stream, head, relay, BATCH_BYTES, most))
			return false;
		evpub_flight_end_transaction(stream, head->commit.lsn);
	}
	else
	{
		/* as with careful sending, it goes on from the partition's number */
		if (!evpub_announce_put(stream, BATCH_BYTES, most, relay, head))
			return false;
		evpub_flight_end_gap(stream, head->gap);
	}
	return true;
}

/*
 * The head may be the first transaction that a grown topic's new count is for.
 * Then all before it, whatever its topic, is confirmed first, so that no key is
 * in two partitions at a time; that is rare, and short.  "before": the last number that was sent before this batch.
 * False: not yet.
 */
static bool
adopt_growth(EvpubStream *stream, uint64 before)
{
	XLogRecPtr	commit_lsn = queue_head(stream)->commit.lsn;

	/* one that is open was begun before, and has not changed its side since */
	if (stream->head_open || !evpub_pins_growth_due(stream->position, commit_lsn))
		return true;
	if (stream->sent_seq > before || evpub_stream_in_flight(stream))
		return false;
	evpub_pins_adopt_growth(stream->position, commit_lsn);
	return true;
}

/* Fill one batch from the queue and send it.  False if nothing may go. */
static bool
send_batch(EvpubStream *stream, EvpubRelay *relay, EvpubGate *gate, bool *fresh)
{
	EvpubFrameBatch header;
	uint64		before = stream->sent_seq;
	XLogRecPtr	first_lsn = InvalidXLogRecPtr;
	TimestampTz commit_time = 0;
	uint32		most = stream->careful > 0 ? 1 : BATCH_RECORDS;
	bool		ended = false;

	/* one of those in flight may be refused; then it is known which */
	if (stream->careful > 0 && evpub_stream_in_flight(stream))
		return false;

	resetStringInfo(&stream->batch);
	memset(&header, 0, sizeof(header));
	appendBinaryStringInfo(&stream->batch, (char *) &header, sizeof(header));

	while (!dlist_is_empty(&stream->queue) && stream->batch.len < BATCH_BYTES &&
		   stream->sent_seq - before < most)
	{
		EvpubTransaction *head = queue_head(stream);

		if (!head_may_go(stream, gate, fresh) || !head_is_whole(stream) ||
			!adopt_growth(stream, before))
			break;
		if (first_lsn == InvalidXLogRecPtr || head->first_lsn < first_lsn)
			first_lsn = head->first_lsn;
		if (commit_time == 0)
			commit_time = head->commit.time;
		if (!put_head(stream, relay, most - (uint32) (stream->sent_seq - before)))
			break;
		ended = true;
		pop_head(stream);
	}

	header.first = before + 1;
	header.count = (uint32) (stream->sent_seq - before);
	if (header.count == 0)
		return ended;
	memcpy(stream->batch.data, &header, sizeof(header));
	evpub_flight_add_batch(stream, first_lsn, commit_time);
	evpub_relay_put(relay, EVPUB_FRAME_BATCH, stream->batch.data, stream->batch.len);
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
evpub_stream_in_flight(const EvpubStream *stream)
{
	return stream->sent_seq > stream->acked_seq;
}

void
evpub_stream_be_careful(EvpubStream *stream, uint64 last_seq)
{
	if (last_seq <= stream->sent_seq && last_seq > stream->acked_seq)
		stream->careful = Max(stream->careful, last_seq - stream->acked_seq);
}

bool
evpub_stream_full(const EvpubStream *stream)
{
	return stream->queue_length >= QUEUE_LENGTH || stream->broken != NULL;
}

bool
evpub_stream_at_stuck(const EvpubStream *stream)
{
	return stream->stuck != NULL && !evpub_stream_in_flight(stream);
}

XLogRecPtr
evpub_stream_head_lsn(EvpubStream *stream)
{
	if (dlist_is_empty(&stream->queue))
		return InvalidXLogRecPtr;
	return queue_head(stream)->commit.lsn;
}

/*
 * Its number of events is that of the chunks that were found: all of them if it
 * was refused for the bytes of one.  It is the next transaction, so what is
 * published of it are events with numbers below next_event.
 */
EvpubLost
evpub_stream_head_lost(EvpubStream *stream)
{
	EvpubTransaction *head = queue_head(stream);
	EvpubLost	lost;

	lost.known = head->commit.lsn == stream->refused_lsn && stream->next_event == 0 ?
		EVPUB_LOST_ALL : EVPUB_LOST_EVENTS_PART;
	lost.transactions = 1;
	lost.events = head->commit.events > stream->next_event ?
		head->commit.events - stream->next_event : 0;
	return lost;
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
	return stream->queue_length == 0 && !evpub_stream_in_flight(stream);
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
	{
		stream->confirmed_lsn = stream->reader->position;
		stream->put_lsn = stream->confirmed_lsn;
	}
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
	restart = evpub_flight_restart_lsn(stream, restart);
	dlist_foreach(iter, &stream->queue)
		restart = Min(restart, dlist_container(EvpubTransaction, node, iter.cur)->first_lsn);
	return restart;
}

TimestampTz
evpub_stream_oldest(EvpubStream *stream)
{
	TimestampTz oldest = evpub_flight_oldest(stream);

	if (oldest != 0)
		return oldest;
	if (!dlist_is_empty(&stream->queue))
		return queue_head(stream)->commit.time;
	return 0;
}
