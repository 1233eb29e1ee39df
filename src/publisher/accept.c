/*
 * accept.c
 *		What a person gives up: evpub.accept_gap() and evpub.discard().
 *
 * Both confirm a range of WAL without publishing what was committed in it, and
 * remember it as a gap until it is announced to consumers.  That is durable before
 * the person gets an answer; if it cannot be made so, nothing has changed.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "utils/timestamp.h"

#include "position/statefile.h"
#include "publisher/accept.h"
#include "publisher/answer.h"
#include "publisher/count.h"
#include "publisher/gap.h"
#include "publisher/licence.h"
#include "publisher/persist.h"
#include "publisher/slot.h"
#include "reader/walend.h"
#include "reason.h"

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
	 * The transaction of which a part is published may have all its messages in a
	 * gap that cuts transactions, and then nothing is found of it any more.  Its
	 * number would be taken for that of the next one, whose first events would be
	 * lost.  If it is whole, the part is published again, with the same ids.
	 */
	if (gap->horizon != 0)
		worker->position.next_event = 0;

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
evpub_accept_open_gap(EvpubWorker *worker, XLogRecPtr lsn, EvpubAnswer *answer)
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
							evpub_reason_only(worker->verdict_reason), NULL);
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
	if (evpub_gap_cuts_transactions(&open))
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
	range.budget = EVPUB_COUNT_BUDGET;
	return evpub_count(&range);
}

void
evpub_accept_discard(EvpubWorker *worker, XLogRecPtr up_to, EvpubAnswer *answer)
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
	evpub_figures_gap(gap.from_lsn);
	answer_lost(answer, &gap.lost);
	ereport(LOG,
			(errmsg("evpub: what was committed between %X/%X and %X/%X and not published was discarded by user request",
					LSN_FORMAT_ARGS(gap.from_lsn), LSN_FORMAT_ARGS(gap.to_lsn)),
			 errdetail("This gives up %s.", evpub_lost_text(&gap.lost))));
	evpub_state_end_streaming(worker);
	evpub_state_set_verdict(worker, EVPUB_PUBLISH, NULL);
}
