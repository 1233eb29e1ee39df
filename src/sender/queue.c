/*
 * queue.c
 *		From WAL to committed transactions, in the order of their commit
 *		records.
 *
 * Reading begins where the last persisted position says.  Commits that are
 * confirmed are skipped on the way.  Accepted gaps that were not announced yet
 * stand in front of all transactions.
 *
 * What reads WAL is set up by evpub_queue_read().  It looks at files for that, so
 * it may fail, and is tried again as reading is.  A queue is emptied where
 * something else has failed already, so that must not fail as well.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "clock.h"
#include "compat.h"
#include "position/follow.h"
#include "reason.h"
#include "sender/announce.h"
#include "sender/queue.h"
#include "settings.h"

/* Stop reading ahead of the relay at so many transactions. */
#define QUEUE_LENGTH 4096

/* Look at latch and relay after so much WAL. */
#define READ_BYTES (4 * 1024 * 1024)

/* Pauses before WAL is tried again, in ms: doubled with each failure in a row. */
#define AGAIN_FIRST 100
#define AGAIN_LONGEST 10000

/* What an error leaves half done, evpub_queue_restart() takes back. */
static void
start_reading(EvpubQueue *queue)
{
	MemoryContext old = MemoryContextSwitchTo(queue->context);

	queue->reader = evpub_walreader_create();
	queue->reader->slice = READ_BYTES;
	evpub_walreader_set_limit(queue->reader, queue->limit, queue->timeline);
	evpub_walreader_seek(queue->reader, queue->position->restart_lsn);
	queue->assembler = evpub_assembler_create((Size) evpub_decode_memory * 1024);
	queue->length = evpub_announce_gaps(&queue->transactions, queue->position,
										queue->reader);
	MemoryContextSwitchTo(old);
	queue->reading = true;
}

void
evpub_queue_init(EvpubQueue *queue, EvpubPosition *position)
{
	memset(queue, 0, sizeof(*queue));
	queue->context = CurrentMemoryContext;
	queue->position = position;
	dlist_init(&queue->transactions);
}

EvpubTransaction *
evpub_queue_head(EvpubQueue *queue)
{
	if (dlist_is_empty(&queue->transactions))
		return NULL;
	return dlist_head_element(EvpubTransaction, node, &queue->transactions);
}

void
evpub_queue_pop(EvpubQueue *queue)
{
	EvpubTransaction *head = evpub_queue_head(queue);

	dlist_delete(&head->node);
	queue->length--;
	if (head->gap)
		evpub_announce_free_gap(head->gap);
	evpub_assembler_release(queue->assembler, head);
}

const char *
evpub_queue_chunk(EvpubQueue *queue, EvpubTransaction *transaction, int i)
{
	return evpub_assembler_chunk(queue->assembler, transaction, i,
								 queue->limit, queue->timeline);
}

void
evpub_queue_close(EvpubQueue *queue)
{
	EvpubAssembler *assembler = queue->assembler;
	EvpubWalReader *reader = queue->reader;

	queue->assembler = NULL;
	queue->reader = NULL;
	queue->reading = false;
	if (assembler)
		evpub_assembler_free(assembler);
	if (reader)
		evpub_walreader_free(reader);
}

uint64
evpub_queue_forged(const EvpubQueue *queue)
{
	return queue->forged_before +
		(queue->assembler ? evpub_assembler_forged(queue->assembler) : 0);
}

void
evpub_queue_restart(EvpubQueue *queue)
{
	/*
	 * Reading begins where the last persisted position says.  A later place could
	 * be taken from queue and assembler, but after an error a transaction may be
	 * in neither of them.
	 */
	while (evpub_queue_head(queue))
		evpub_queue_pop(queue);
	queue->length = 0;			/* gaps that were added last may not be counted */
	queue->forged_before = evpub_queue_forged(queue);
	evpub_queue_close(queue);
	if (queue->broken)
		pfree(queue->broken);
	queue->broken = NULL;
	queue->missed = false;
	queue->feeding = false;
	queue->behind = true;		/* it is read soon, whoever wakes the worker */
}

static void
forget_unread(EvpubQueue *queue)
{
	if (queue->unread)
		pfree(queue->unread);
	queue->unread = NULL;
	queue->unread_times = 0;
	queue->read_again_at = 0;
	queue->missed = false;
}

/*
 * The next record could not be read.  WAL that is not valid, or not there at a
 * second look, is a gap: what was queued before is still published; then the
 * worker stands still and says so.  Everything else may be over in a moment,
 * and must never end in a gap that somebody accepts: it is tried again.  The
 * reader has stayed at the record, and the assembler has not seen it.  What
 * fails before the first record says nothing about WAL, so that is never a gap.
 */
static void
cannot_read(EvpubQueue *queue, const ErrorData *error)
{
	bool		missing = error->sqlerrcode == ERRCODE_UNDEFINED_FILE;
	char	   *text;

	if (queue->reading && evpub_walreader_no_wal(error->sqlerrcode) &&
		(!missing || queue->missed))
	{
		forget_unread(queue);
		queue->broken = MemoryContextStrdup(queue->context, error->message);
		queue->broken_at = queue->reader->position;
		return;
	}
	queue->read_again_at = evpub_clock_now() +
		Min(AGAIN_FIRST << Min(queue->unread_times, 10), AGAIN_LONGEST);
	queue->missed = missing && queue->reading;
	if (queue->missed)
		return;
	queue->unread_times++;
	text = MemoryContextStrdup(queue->context, evpub_reason_of_error(error));
	if (queue->unread)
		pfree(queue->unread);
	queue->unread = text;
}

/* Queue a transaction that was just read. */
static void
push(EvpubQueue *queue, EvpubTransaction *transaction)
{
	transaction->commit.publisher_id =
		evpub_position_publisher_at(queue->position,
									queue->reader->xlog->ReadRecPtr);
	if (transaction->commit.lsn == queue->refused_lsn && !transaction->problem)
		transaction->problem = MemoryContextStrdup(queue->context,
												   queue->refused_reason);
	dlist_push_tail(&queue->transactions, &transaction->node);
	queue->length++;
	queue->transactions_read++;
}

static void
read_records(EvpubQueue *queue, XLogRecPtr confirmed_lsn)
{
	XLogRecPtr	stop = queue->reader->position + READ_BYTES;

	while (queue->length < QUEUE_LENGTH &&
		   queue->reader->position < stop &&
		   evpub_walreader_next(queue->reader))
	{
		EvpubRecordKind kind;
		EvpubTransaction *transaction;

		queue->feeding = true;
		transaction = evpub_assembler_feed(queue->assembler, queue->reader, &kind);
		if (kind == EVPUB_RECORD_HOUSEKEEPING)
			evpub_follow_growth(queue->position, queue->reader);

		/*
		 * Confirmed before.  Its first chunks may lie before the place where
		 * reading started, so it need not be complete.
		 */
		if (transaction && transaction->commit.lsn <= confirmed_lsn)
			evpub_assembler_release(queue->assembler, transaction);
		else if (transaction)
			push(queue, transaction);

		/* until here an error would lose it: the assembler has let go of it */
		queue->feeding = false;
	}
}

/*
 * An error has ended reading.  If it came while a record was taken in, half of
 * that may be in the assembler: the error goes on to the caller, who rewinds.
 * Only a record of a newer version is refused before anything of it is taken in,
 * so the reader goes back to it, and it can be read again.  "caller": the memory
 * context to go back to, since the current one is the error's.
 */
static void
reading_failed(EvpubQueue *queue, MemoryContext caller)
{
	ErrorData  *error;

	if (queue->feeding)
	{
		queue->feeding = false;
		if (geterrcode() != ERRCODE_FEATURE_NOT_SUPPORTED)
			PG_RE_THROW();
		evpub_walreader_seek(queue->reader, queue->reader->xlog->ReadRecPtr);
	}
	MemoryContextSwitchTo(caller);
	error = CopyErrorData();
	FlushErrorState();
	if (!queue->reading)
		evpub_queue_restart(queue);
	cannot_read(queue, error);
	FreeErrorData(error);
}

bool
evpub_queue_read(EvpubQueue *queue, XLogRecPtr confirmed_lsn)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile XLogRecPtr before = queue->position->restart_lsn;

	if (queue->broken)
		return false;
	if (queue->reading)
		before = queue->reader->position;
	queue->limit = evpub_walreader_end(&queue->timeline);
	queue->behind = !queue->reading || before < queue->limit;
	if (!queue->behind || evpub_queue_full(queue))
		return false;
	if (queue->read_again_at != 0 && evpub_clock_left(queue->read_again_at) > 0)
	{
		queue->behind = false; /* what is left cannot be read now */
		return false;
	}

	PG_TRY();
	{
		if (!queue->reading)
			start_reading(queue);
		before = queue->reader->position;
		evpub_walreader_set_limit(queue->reader, queue->limit, queue->timeline);
		read_records(queue, confirmed_lsn);
	}
	PG_CATCH();
	{
		queue->behind = false;
		reading_failed(queue, caller);
		return false;
	}
	PG_END_TRY();

	if (queue->read_again_at != 0)
		forget_unread(queue);
	queue->behind = queue->reader->position < queue->limit;
	if (!queue->behind)
		queue->caught_up = true;
	return queue->reader->yielded ||
		(queue->behind && queue->reader->position > before &&
		 queue->length < QUEUE_LENGTH);
}

bool
evpub_queue_full(const EvpubQueue *queue)
{
	return queue->length >= QUEUE_LENGTH || queue->broken != NULL;
}

void
evpub_queue_refuse(EvpubQueue *queue, XLogRecPtr lsn, const char *reason)
{
	queue->refused_lsn = lsn;
	queue->refused_reason = MemoryContextStrdup(queue->context, reason);
}

XLogRecPtr
evpub_queue_restart_lsn(EvpubQueue *queue)
{
	XLogRecPtr	restart;
	XLogRecPtr	oldest;
	dlist_iter	iter;

	if (!queue->reading)
		return queue->position->restart_lsn;
	oldest = evpub_assembler_oldest(queue->assembler);

	/* where reading broke, the reader may have passed a record that nobody took in */
	restart = queue->broken ? queue->position->restart_lsn : queue->reader->position;
	if (oldest != InvalidXLogRecPtr)
		restart = Min(restart, oldest);
	dlist_foreach(iter, &queue->transactions)
		restart = Min(restart, dlist_container(EvpubTransaction, node, iter.cur)->first_lsn);
	return restart;
}
