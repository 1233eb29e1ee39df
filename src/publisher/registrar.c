/*
 * registrar.c
 *		The worker's part in registration: it gives those who register their
 *		slot, and drops it when nobody is registered any more.
 *
 * Only the worker makes and drops the slot, so neither can happen while it
 * does the other.  Why no event is lost with the slot is explained at the head of
 * registry.c, which has the steps that look at labels and requests.  Here they are
 * taken one after the other, each in a cycle of its own, so that publishing goes
 * on meanwhile.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "figures.h"
#include "publisher/failures.h"
#include "publisher/gap.h"
#include "publisher/licence.h"
#include "publisher/persist.h"
#include "publisher/registrar.h"
#include "publisher/registry.h"
#include "publisher/rescue.h"
#include "publisher/show.h"
#include "publisher/state.h"
#include "shmem.h"

/* Between two tries, when the state file cannot be written, in ms. */
#define RETIRE_INTERVAL 1000

/*
 * Make a new publisher.  An error is the asker's, not ours; the transaction
 * around it releases what was held when it was raised.
 */
static void
create_publisher(EvpubWorker *worker, uint64 foreign_id)
{
	MemoryContext caller = CurrentMemoryContext;

	StartTransactionCommand();
	PG_TRY();
	{
		EvpubVerdict verdict;
		char	   *reason = NULL;

		MemoryContextSwitchTo(TopMemoryContext);
		verdict = evpub_licence_create(&worker->position, foreign_id, &reason);
		CommitTransactionCommand();
		evpub_state_set_verdict(worker, verdict, reason);
		evpub_show(worker, EVPUB_STARTING, NULL);
		evpub_registry_answer(NULL, NULL);
	}
	PG_CATCH();
	{
		ErrorData  *error = evpub_rescue_and_abort(caller);

		evpub_registry_answer(error->message, error->hint);
		evpub_state_error(worker, evpub_reason_of_error(error));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
}

void
evpub_registrar_answer(EvpubWorker *worker)
{
	uint64		foreign_id;

	if (!evpub_registry_pending(&worker->gate, &foreign_id))
		return;
	worker->requests_open = true;
	if (worker->verdict == EVPUB_NOTHING)
		create_publisher(worker, foreign_id);
	else
	{
		/* slot and file are there, in whichever state they are */
		evpub_registry_answer(NULL, NULL);
	}
}

/*
 * Is nobody registered, and is it time for a try?  The answer is good until this process
 * answers a request: nobody is registered without that.
 */
static bool
may_retire(EvpubWorker *worker)
{
	return worker->retirement != EVPUB_RETIRE_NOT &&
		evpub_registry_unused(&worker->gate, worker->generation) &&
		evpub_clock_passed(worker->retire_tried_at, RETIRE_INTERVAL);
}

/* False if the state file cannot be written; it is tried again. */
static bool
retire(EvpubWorker *worker)
{
	EvpubPosition before = worker->position;

	worker->retire_tried_at = evpub_clock_now();
	worker->position.role = EVPUB_ROLE_RETIRED;
	if (!evpub_persist_store(worker, &before, InvalidXLogRecPtr, false))
		return false;
	worker->retirement = EVPUB_RETIRE_NOT;
	evpub_state_end_streaming(worker);
	evpub_licence_finish_retired(&worker->position);
	ereport(LOG,
			(errmsg("evpub: no database is registered any more, dropped the replication slot")));
	evpub_state_set_verdict(worker, EVPUB_NOTHING, EVPUB_NOBODY_REGISTERED);
	return true;
}

/* Has the last database been deregistered?  Steps 1 to 3. */
static void
look_at_registry(EvpubWorker *worker)
{
	worker->retirement = EVPUB_RETIRE_NOT;
	if (!evpub_registry_abandoned(&worker->generation, &worker->retire_xid))
		return;
	worker->retirement = EVPUB_RETIRE_TRANSACTIONS;
	if (worker->verdict == EVPUB_STAND_GAP)
		ereport(WARNING,
				(errmsg("evpub: no database is registered any more, but the gap is not accepted: the replication slot stays"),
				 errhint("CREATE EXTENSION evpub in any database, and call evpub.accept_gap() there.")));
}

/* Step 4. */
static void
wait_for_transactions(EvpubWorker *worker)
{
	evpub_gate_refresh(&worker->gate);
	if (FullTransactionIdPrecedes(worker->gate.oldest, worker->retire_xid))
		return;
	worker->retire_at = evpub_walreader_insert_end();
	worker->retirement = EVPUB_RETIRE_CONFIRMED;

	/* what committed asynchronously may not be flushed yet */
	evpub_wake_publisher(worker->retire_at);
}

/* Step 5: what is committed is published, or will not be from here. */
static bool
nothing_left(const EvpubWorker *worker)
{
	switch (worker->verdict)
	{
		case EVPUB_STAND_FENCED:
			return true;
		case EVPUB_STAND_GAP:
			/* what is behind the gap may yet be published */
			return false;
		case EVPUB_PUBLISH:
			/* drained: consumers know of what was discarded, too */
			return worker->retirement == EVPUB_RETIRE_CONFIRMED &&
				worker->stream.flight.confirmed_lsn >= worker->retire_at &&
				evpub_stream_drained(&worker->stream);
		case EVPUB_NOTHING:
			break;
	}
	return false;
}

void
evpub_registrar_consider(EvpubWorker *worker)
{
	if (worker->requests_open)
		worker->requests_open = evpub_registry_open_requests(&worker->gate);
	if (worker->verdict == EVPUB_NOTHING)
		return;

	/* also when nobody was left before: somebody may have come and gone */
	if (pg_atomic_read_u64(&EvpubShmem->registry_generation) != worker->generation)
		look_at_registry(worker);
	if (worker->retirement == EVPUB_RETIRE_TRANSACTIONS)
		wait_for_transactions(worker);
	if (worker->retirement == EVPUB_RETIRE_NOT || worker->requests_open)
		return;
	if (nothing_left(worker) && may_retire(worker))
		(void) retire(worker);
}

/*
 * Nobody is left who could accept a gap, so there is none in the state file.  That
 * something is lost is in the log, in evpub.failures and in evpub.stat.
 */
bool
evpub_registrar_give_up(EvpubWorker *worker, const char *reason, bool disk_full)
{
	EvpubLost	lost;
	XLogRecPtr	from;
	const char *text;

	if (!may_retire(worker))
		return false;
	lost = evpub_gap_unpublished(worker, disk_full);
	from = worker->position.confirmed_lsn;

	/* counting may take a second, in which somebody may have come */
	if (!may_retire(worker) || !retire(worker))
		return false;
	if (lost.known == EVPUB_LOST_ALL && lost.transactions == 0)
		return true;
	text = psprintf("what was not published is given up, since no database is registered any more: %s", reason);
	ereport(WARNING,
			(errmsg("evpub: %s", text),
			 errdetail("This gives up %s. No evpub.gap event tells consumers.",
					   evpub_lost_text(&lost))));
	evpub_figures_gap(from);
	evpub_failures_note(evpub_failures_of(EVPUB_FAILED_GAP, EVPUB_DONE_GIVEN_UP), text);
	return true;
}
