/*
 * gap.c
 *		What is committed, but cannot or may not be published.
 *
 * A gap opens when WAL is missing or damaged, when a transaction is not whole,
 * or when a limit gives the backlog up.  Then the publisher stands still, and
 * says from where to where.  A gap ends when the WAL is there again, or when a
 * person accepts it; what was accepted is announced to consumers.  The state file
 * has the gap before the slot lets anything go, so a crash in between finds it.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/twophase.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "postmaster/bgwriter.h"
#include "storage/proc.h"
#include "utils/memutils.h"

#include "compat.h"
#include "position/statefile.h"
#include "publisher/answer.h"
#include "publisher/count.h"
#include "publisher/gap.h"
#include "publisher/licence.h"
#include "publisher/persist.h"
#include "publisher/slot.h"
#include "reader/walfind.h"

/* Between two looks at WAL that could not be read, in ms. */
#define LOOK_AGAIN_INTERVAL 10000

/*
 * For counting what is given up, in ms.  Nothing is published meanwhile, and a
 * fast shutdown waits for the end of a round; a disk that runs full leaves less.
 */
#define COUNT_BUDGET 1000
#define COUNT_BUDGET_FULL_DISK 250

/* What evpub.status says of an open gap. */
char *
evpub_gap_text(const EvpubOpenGap *gap)
{
	/* the call stands before the numbers: a long text is cut at its end */
	return psprintf("%s; gap from %X/%X to %X/%X, SELECT evpub.accept_gap('%X/%X') goes on behind it and gives up %s",
					gap->reason, LSN_FORMAT_ARGS(gap->from_lsn),
					LSN_FORMAT_ARGS(gap->to_lsn), LSN_FORMAT_ARGS(gap->to_lsn),
					evpub_lost_text(&gap->lost));
}

/* Does reading begin behind something that is not known? */
static bool
cuts_transactions(const EvpubOpenGap *gap)
{
	return gap->given_up || gap->restart_lsn == gap->to_lsn;
}

static void
add_cut(EvpubOpenGap *gap, TransactionId xid)
{
	for (int i = 0; i < gap->ncut; i++)
		if (gap->cut[i] == xid)
			return;
	if (gap->ncut < EVPUB_CUT_NAMED)
		gap->cut[gap->ncut++] = xid;
}

/*
 * Transactions that are prepared when the gap opens, or grows: what they
 * captured is before its end, so that their commit brings nothing, be it
 * before the gap is accepted or after.  Prepared transactions have process
 * entries without a process behind those that ProcGlobal counts, which keep
 * their xid when they have ended.
 */
static void
add_prepared(EvpubWorker *worker, EvpubOpenGap *gap)
{
	PGPROC	   *prepared = &ProcGlobal->allProcs[ProcGlobal->allProcCount];
	const EvpubOpenGap *known = &worker->position.gap;

	gap->cut = palloc(sizeof(TransactionId) * EVPUB_CUT_NAMED);
	for (int i = 0; i < known->ncut; i++)
		add_cut(gap, known->cut[i]);
	evpub_gate_refresh(&worker->gate);
	LWLockAcquire(ProcArrayLock, LW_SHARED);
	for (int i = 0; i < max_prepared_xacts; i++)
		if (TransactionIdIsValid(prepared[i].xid) &&
			!evpub_gate_passed(&worker->gate, prepared[i].xid))
			add_cut(gap, prepared[i].xid);
	LWLockRelease(ProcArrayLock);
}

/*
 * Stand still before a gap.  What is confirmed stays; *gap says the rest.
 * False if that cannot be made durable; then nothing has changed.
 */
static bool
open_gap(EvpubWorker *worker, EvpubOpenGap *gap)
{
	EvpubPosition before = worker->position;
	EvpubOpenGap opened;
	XLogRecPtr	slot = InvalidXLogRecPtr;

	evpub_persist_take(worker);
	if (before.role == EVPUB_ROLE_GAP)
		gap->from_lsn = before.gap.from_lsn;
	else
		gap->from_lsn = worker->position.confirmed_lsn;

	/*
	 * WAL before the confirmed position is needed for transactions that are
	 * open, prepared ones above all: only of these something is missing.
	 */
	if (gap->from_lsn > gap->to_lsn)
		gap->from_lsn = worker->position.restart_lsn;
	if (cuts_transactions(gap))
		add_prepared(worker, gap);
	worker->position.role = EVPUB_ROLE_GAP;
	evpub_position_set_open_gap(&worker->position, gap);
	opened = worker->position.gap;

	/*
	 * The slot keeps what may be needed when the missing part comes back.  If
	 * WAL has gone from its beginning, it keeps what follows: a slot behind
	 * that would be invalidated with each checkpoint.
	 */
	if (gap->given_up || !evpub_walfind_segment(evpub_slot_position()))
		slot = gap->restart_lsn;
	if (!evpub_persist_store(worker, &before, slot, false))
	{
		/* a limit tries again every second */
		pfree(opened.reason);
		if (opened.ncut > 0)
			pfree(opened.cut);
		return false;
	}
	evpub_state_end_streaming(worker);
	evpub_state_set_verdict(worker, EVPUB_STAND_GAP,
							evpub_gap_text(&worker->position.gap));
	return true;
}

/*
 * Reading broke, and all that was read before is published.  The gap ends where
 * WAL can be read again, so of what committed in it nothing can be counted.
 */
void
evpub_gap_unreadable(EvpubWorker *worker)
{
	EvpubOpenGap gap;

	memset(&gap, 0, sizeof(gap));
	worker->gap_begins_at = worker->stream.queue.broken_at;
	gap.reason = pstrdup(worker->stream.queue.broken);
	gap.to_lsn = evpub_walfind_record(worker->stream.queue.broken_at);
	if (gap.to_lsn == InvalidXLogRecPtr)
		gap.to_lsn = evpub_walreader_flushed_end();
	gap.restart_lsn = gap.to_lsn;
	(void) open_gap(worker, &gap);
}

/*
 * A transaction can never be published.  Others that are open now are not
 * concerned, so reading would begin where it began.
 */
void
evpub_gap_unpublishable(EvpubWorker *worker, XLogRecPtr commit_lsn,
						const char *reason)
{
	EvpubOpenGap gap;

	memset(&gap, 0, sizeof(gap));
	worker->gap_begins_at = InvalidXLogRecPtr;
	gap.reason = pstrdup(reason);
	gap.to_lsn = commit_lsn;
	gap.lost = evpub_stream_head_lost(&worker->stream);
	gap.restart_lsn = evpub_stream_restart_lsn(&worker->stream);
	(void) open_gap(worker, &gap);
}

/*
 * Reading goes on a little before the end of the gap, so that transactions
 * that are about to commit are whole: their chunks are logged just before the
 * commit record.  Those that have spilled chunks before, and prepared ones,
 * are cut.
 */
static XLogRecPtr
restart_before(XLogRecPtr end, XLogRecPtr needed)
{
	XLogRecPtr	start = end - XLogSegmentOffset(end, wal_segment_size);
	XLogRecPtr	found;

	if (start <= (XLogRecPtr) wal_segment_size || start - wal_segment_size <= needed)
		return Min(needed, end);
	found = evpub_walfind_record(start - wal_segment_size);
	return found == InvalidXLogRecPtr ? end : Min(found, end);
}

/* The same, but not before WAL that cannot be read: that would be a gap again. */
static XLogRecPtr
readable_restart_before(XLogRecPtr end, XLogRecPtr needed)
{
	XLogRecPtr	start = restart_before(end, needed);

	return evpub_walfind_readable(start, end) ? start : end;
}

/*
 * How much the open gap gives up, which was made by a limit or has grown by it
 * from "known".  The file has the gap already, and the slot has moved: an error,
 * a crash, or a disk on which the numbers cannot be written change nothing of
 * that, and the checkpoint that removes this WAL is requested afterwards.
 */
static void
count_backlog(EvpubWorker *worker, const EvpubOpenGap *known, EvpubMsec budget)
{
	EvpubOpenGap *gap = &worker->position.gap;
	EvpubCountRange range;
	EvpubPosition counted;

	memset(&range, 0, sizeof(range));
	range.start = worker->position.restart_lsn;
	range.from = worker->position.confirmed_lsn;
	range.next_event = worker->position.next_event;
	if (known->reason)
	{
		/* what is before that end is counted, and its WAL may be gone */
		range.start = known->restart_lsn;
		range.from = known->to_lsn;
		range.next_event = 0;
		range.cut = known->ncut > 0;
	}
	range.to = gap->to_lsn;
	range.budget = budget;
	gap->lost = evpub_count(&range);
	if (known->reason)
		gap->lost = evpub_lost_add(known->lost, gap->lost);

	/* if it cannot be written, it is known until the worker ends */
	counted = worker->position;
	(void) evpub_persist_store(worker, &counted, InvalidXLogRecPtr, false);
	evpub_state_set_verdict(worker, EVPUB_STAND_GAP, evpub_gap_text(gap));
}

/* A limit is reached: let WAL go.  True if that was done. */
static bool
give_up_backlog(EvpubWorker *worker, const char *reason, EvpubMsec budget)
{
	EvpubOpenGap known = worker->position.gap;
	EvpubOpenGap gap;

	memset(&gap, 0, sizeof(gap));
	gap.reason = pstrdup(reason);
	gap.given_up = true;
	gap.to_lsn = evpub_walreader_flushed_end();
	gap.restart_lsn = readable_restart_before(gap.to_lsn, evpub_slot_position());
	worker->gap_begins_at = InvalidXLogRecPtr;
	if (!open_gap(worker, &gap))
		return false;
	count_backlog(worker, &known, budget);
	return true;
}

void
evpub_gap_give_up(EvpubWorker *worker, const char *reason, bool disk_full)
{
	EvpubLost	lost = {EVPUB_LOST_UNKNOWN};

	switch (worker->verdict)
	{
		case EVPUB_NOTHING:
			return;
		case EVPUB_STAND_FENCED:
			/* take_over() will find that WAL is missing */
			evpub_slot_move(evpub_walreader_insert_end());
			break;
		case EVPUB_PUBLISH:
		case EVPUB_STAND_GAP:
			if (worker->position.role == EVPUB_ROLE_NONE)
			{
				/* the reason names the position that can be accepted */
				evpub_slot_move(evpub_walreader_flushed_end());
				evpub_state_set_verdict(worker, EVPUB_STAND_GAP,
										evpub_licence_lost_file(psprintf("the state file is lost, and %s", reason)));
			}
			else if (!give_up_backlog(worker, reason, disk_full ?
									  COUNT_BUDGET_FULL_DISK : COUNT_BUDGET))
				return;
			else
				lost = worker->position.gap.lost;
			break;
	}
	ereport(WARNING,
			(errmsg("evpub gives up WAL that it kept for publishing: %s", reason),
			 errdetail("This gives up %s.", evpub_lost_text(&lost))));

	/* WAL is removed by checkpoints only; this one does not wait for it */
	RequestCheckpoint(CHECKPOINT_IMMEDIATE | CHECKPOINT_FORCE);
}

/* Read again from where the state file says. */
void
evpub_gap_close(EvpubWorker *worker)
{
	EvpubOpenGap none;

	memset(&none, 0, sizeof(none));
	worker->position.role = EVPUB_ROLE_ACTIVE;
	evpub_position_set_open_gap(&worker->position, &none);
	evpub_state_set_verdict(worker, EVPUB_PUBLISH, NULL);

	/* last: if it cannot be written, all else is done */
	evpub_slot_keep(worker->position.restart_lsn);
}

/* Whatever hinders reading now, the gap stays as it is until the next look. */
static bool
is_readable_again(EvpubWorker *worker)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool readable = false;

	PG_TRY();
	{
		readable = evpub_walfind_readable(worker->gap_begins_at,
										 worker->position.gap.to_lsn);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		FlushErrorState();
	}
	PG_END_TRY();
	return readable;
}

/* Somebody may have put the WAL back whose lack made the gap. */
void
evpub_gap_look_again(EvpubWorker *worker)
{
	if (worker->verdict != EVPUB_STAND_GAP ||
		worker->position.role != EVPUB_ROLE_GAP ||
		worker->position.gap.given_up ||
		worker->gap_begins_at == InvalidXLogRecPtr ||
		!evpub_clock_passed(worker->verdict_at, LOOK_AGAIN_INTERVAL))
		return;
	worker->verdict_at = evpub_clock_now();
	if (is_readable_again(worker))
		evpub_gap_close(worker);
}

/* ---- decisions of a person ---- */

/*
 * Confirm up to gap->to_lsn, and remember the gap until it is announced.
 * Confirmed never moves back: what is published is not published again, and the
 * ids of the events that announce the gap are beyond those that were sent.
 */
static bool
confirm_without_publishing(EvpubWorker *worker, EvpubGap *gap,
						   const EvpubPosition *before, EvpubAnswer *answer)
{
	gap->accepted_at = GetCurrentTimestamp();
	if (gap->to_lsn > worker->position.confirmed_lsn)
	{
		worker->position.confirmed_lsn = gap->to_lsn;
		worker->position.next_event = 0;
	}
	else
		gap->to_lsn = worker->position.confirmed_lsn;

	/*
	 * A gap that cuts no transactions takes over the horizon of the gap before
	 * it.  Only the newest gaps are remembered, and when that one is forgotten, a
	 * transaction that it has cut must still be known as cut.
	 */
	if (gap->horizon == 0 && worker->position.ngaps > 0)
		gap->horizon = worker->position.gaps[worker->position.ngaps - 1].horizon;
	evpub_position_add_gap(&worker->position, gap);
	if (evpub_persist_store(worker, before, InvalidXLogRecPtr, true))
		return true;
	evpub_answer_refuse(answer, ERRCODE_IO_ERROR, worker->persist_problem, NULL,
						"Try again when the state file can be written.");
	return false;
}

static void
log_cut(const EvpubGap *gap)
{
	StringInfoData text;

	if (gap->ncut == 0)
		return;
	initStringInfo(&text);
	for (int i = 0; i < gap->ncut; i++)
		appendStringInfo(&text, "%s%u", i > 0 ? ", " : "", gap->cut[i]);
	ereport(WARNING,
			(errmsg("evpub: what prepared transactions have captured before the gap is not published"),
			 errdetail("Transactions: %s.", text.data)));
}

/*
 * There is no state file that could say what was published.  Publish again
 * what the slot has kept, under a new id: nothing is lost, some comes twice.
 */
static void
accept_lost_file(EvpubWorker *worker, EvpubAnswer *answer)
{
	EvpubPosition before = worker->position;
	EvpubPosition *position = &worker->position;
	XLogRecPtr	from;
	EvpubGap	gap;

	/* none was free when the loss was found */
	if (evpub_slot_find() == EVPUB_SLOT_ABSENT)
		evpub_slot_make();
	from = evpub_slot_position();
	evpub_licence_start_anew(position, from);
	memset(&gap, 0, sizeof(gap));
	gap.from_lsn = from;
	gap.to_lsn = from;
	gap.lost.known = EVPUB_LOST_ALL;	/* of nothing */
	gap.horizon = U64FromFullTransactionId(ReadNextFullTransactionId());
	gap.announced = true;			/* no topic is known that could get the events */
	gap.reason = "the state file was lost";
	gap.accepted_at = GetCurrentTimestamp();
	evpub_position_add_gap(position, &gap);
	PG_TRY();
	{
		evpub_statefile_write(position);
	}
	PG_CATCH();
	{
		/* so that it can be accepted again */
		worker->position = before;
		PG_RE_THROW();
	}
	PG_END_TRY();
	answer->publisher_id = evpub_position_publisher(position);
	ereport(LOG,
			(errmsg("evpub: publishing goes on without its state file, from %X/%X, as publisher %016llx",
					LSN_FORMAT_ARGS(from),
					(unsigned long long) answer->publisher_id)));
	evpub_state_set_verdict(worker, EVPUB_PUBLISH, NULL);
}

/* Nobody can have seen what is not written; refuses. */
static bool
beyond_wal(XLogRecPtr lsn, EvpubAnswer *answer)
{
	XLogRecPtr	end = evpub_walreader_end(NULL);

	if (lsn <= end)
		return false;
	evpub_answer_refuse(answer, ERRCODE_INVALID_PARAMETER_VALUE,
						psprintf("%X/%X is not written yet", LSN_FORMAT_ARGS(lsn)),
						psprintf("WAL is flushed up to %X/%X.", LSN_FORMAT_ARGS(end)),
						NULL);
	return true;
}

static void
answer_lost(EvpubAnswer *answer, const EvpubLost *lost)
{
	answer->gave_up = true;
	answer->lost = *lost;
}

void
evpub_gap_accept(EvpubWorker *worker, XLogRecPtr lsn, EvpubAnswer *answer)
{
	EvpubPosition before = worker->position;
	EvpubOpenGap open = worker->position.gap;
	EvpubOpenGap none;
	EvpubGap	gap;
	XLogRecPtr	to = open.to_lsn;
	bool		lost_file = worker->position.role == EVPUB_ROLE_NONE;

	if (worker->verdict != EVPUB_STAND_GAP ||
		(!lost_file && worker->position.role != EVPUB_ROLE_GAP))
	{
		evpub_answer_refuse(answer, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							"there is no gap to accept",
							psprintf("State is \"%s\"%s%s.", evpub_state_name(worker),
									 worker->verdict_reason ? ": " : "",
									 worker->verdict_reason ? evpub_reason_only(worker->verdict_reason) : ""),
							NULL);
		return;
	}
	if (lost_file && evpub_slot_find() == EVPUB_SLOT_FOREIGN)
	{
		evpub_answer_refuse(answer, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							"there is no replication slot to publish from",
							worker->verdict_reason, NULL);
		return;
	}
	if (lost_file)
		to = evpub_slot_position();
	if (lsn < to)
	{
		evpub_answer_refuse(answer, ERRCODE_INVALID_PARAMETER_VALUE,
							psprintf("the gap reaches beyond %X/%X", LSN_FORMAT_ARGS(lsn)),
							psprintf("It ends at %X/%X now.", LSN_FORMAT_ARGS(to)),
							"Look at evpub.status again before you accept it.");
		return;
	}
	if (beyond_wal(evpub_walreader_before_header(lsn), answer))
		return;
	if (lost_file)
	{
		accept_lost_file(worker, answer);
		return;
	}

	memset(&none, 0, sizeof(none));
	memset(&gap, 0, sizeof(gap));
	gap.from_lsn = open.from_lsn;
	gap.to_lsn = open.to_lsn;
	gap.reason = open.reason;
	gap.lost = open.lost;
	gap.ncut = open.ncut;
	gap.cut = open.cut;
	if (cuts_transactions(&open))
		gap.horizon = U64FromFullTransactionId(ReadNextFullTransactionId());
	worker->position.restart_lsn = open.restart_lsn;
	worker->position.role = EVPUB_ROLE_ACTIVE;
	evpub_position_set_open_gap(&worker->position, &none);
	if (!confirm_without_publishing(worker, &gap, &before, answer))
		return;
	answer_lost(answer, &gap.lost);
	ereport(LOG,
			(errmsg("evpub: the gap from %X/%X to %X/%X was accepted by user request",
					LSN_FORMAT_ARGS(gap.from_lsn), LSN_FORMAT_ARGS(gap.to_lsn)),
			 errdetail("%s; this gives up %s", gap.reason,
					   evpub_lost_text(&gap.lost))));
	log_cut(&gap);
	evpub_gap_close(worker);
}

/*
 * Before it is given up: the events that consumers get have the numbers.  Those
 * on their way to Kafka count, since only confirmed ones are known to be there.
 */
static EvpubLost
count_discarded(const EvpubPosition *position, XLogRecPtr up_to)
{
	EvpubCountRange range;

	memset(&range, 0, sizeof(range));
	range.start = position->restart_lsn;
	range.from = position->confirmed_lsn;
	range.to = up_to;
	range.next_event = position->next_event;
	range.budget = COUNT_BUDGET;
	return evpub_count(&range);
}

void
evpub_gap_discard(EvpubWorker *worker, XLogRecPtr up_to, EvpubAnswer *answer)
{
	EvpubPosition before = worker->position;
	EvpubGap	gap;

	if (worker->verdict != EVPUB_PUBLISH)
	{
		evpub_answer_refuse(answer, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							"there is nothing to discard",
							psprintf("State is \"%s\".", evpub_state_name(worker)),
							worker->verdict == EVPUB_STAND_GAP ?
							"A gap is ended by evpub.accept_gap()." : NULL);
		return;
	}
	/* what pg_current_wal_insert_lsn() gives may lie behind a page header */
	up_to = evpub_walreader_before_header(up_to);
	if (beyond_wal(up_to, answer))
		return;
	if (up_to <= worker->stream.flight.confirmed_lsn)
	{
		answer->nothing_to_do = true;
		return;
	}

	evpub_persist_take(worker);
	memset(&gap, 0, sizeof(gap));
	gap.from_lsn = worker->position.confirmed_lsn;
	gap.to_lsn = up_to;
	gap.reason = "discarded by evpub.discard()";
	gap.lost = count_discarded(&worker->position, up_to);
	if (!confirm_without_publishing(worker, &gap, &before, answer))
		return;
	answer_lost(answer, &gap.lost);
	ereport(LOG,
			(errmsg("evpub: what was committed between %X/%X and %X/%X and not published was discarded by user request",
					LSN_FORMAT_ARGS(gap.from_lsn), LSN_FORMAT_ARGS(gap.to_lsn)),
			 errdetail("This gives up %s.", evpub_lost_text(&gap.lost))));
	evpub_state_end_streaming(worker);
	evpub_state_set_verdict(worker, EVPUB_PUBLISH, NULL);
}
