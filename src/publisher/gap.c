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
#include "publisher/count.h"
#include "publisher/gap.h"
#include "publisher/licence.h"
#include "publisher/persist.h"
#include "publisher/slot.h"
#include "reader/walfind.h"

/* Between two looks at WAL that could not be read, in ms. */
#define LOOK_AGAIN_INTERVAL 10000

/* For counting what is given up while the disk runs full, in ms. */
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

bool
evpub_gap_cuts_transactions(const EvpubOpenGap *gap)
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
	if (evpub_gap_cuts_transactions(gap))
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

/* As restart_before(), but behind WAL that cannot be read, which would be a gap again. */
static XLogRecPtr
readable_restart_before(XLogRecPtr end, XLogRecPtr needed)
{
	XLogRecPtr	start = restart_before(end, needed);

	return evpub_walfind_readable(start, end) ? start : end;
}

/* What is committed up to "to" and not published, with the gap "known", if there is one. */
static EvpubLost
count_up_to(const EvpubWorker *worker, const EvpubOpenGap *known, XLogRecPtr to,
			EvpubMsec budget)
{
	EvpubCountRange range;
	EvpubLost	lost;

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
	range.to = to;
	range.budget = budget;
	lost = evpub_count(&range);
	return known->reason ? evpub_lost_add(known->lost, lost) : lost;
}

EvpubLost
evpub_gap_unpublished(EvpubWorker *worker, bool disk_full)
{
	EvpubLost	lost = {EVPUB_LOST_UNKNOWN};

	if (worker->streaming)
		evpub_persist_take(worker);
	if (worker->position.role != EVPUB_ROLE_NONE)
		lost = count_up_to(worker, &worker->position.gap, evpub_walreader_flushed_end(),
						   disk_full ? COUNT_BUDGET_FULL_DISK : EVPUB_COUNT_BUDGET);
	return lost;
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
	EvpubPosition counted;

	gap->lost = count_up_to(worker, known, gap->to_lsn, budget);

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
									  COUNT_BUDGET_FULL_DISK : EVPUB_COUNT_BUDGET))
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
