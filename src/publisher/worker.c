/*
 * worker.c
 *		The background worker that publishes what all databases of the cluster
 *		captured.
 *
 * One worker, connected to no database, so it never blocks DROP DATABASE.  It
 * reads WAL, hands visible transactions to its relay, and keeps the position.
 * Its loop waits on one set: its latch (commits, requests, reloads), the
 * relay's socket, the postmaster's death.  It never waits for Kafka in any
 * other way, so a fast shutdown finds it at once.
 *
 * It must never exit with code 0, which would unregister it for good; the
 * checkpointer terminates the holder of a slot that it invalidates, and
 * administrators terminate what they like.
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "evpub.h"
#include "publisher/registry.h"
#include "publisher/track.h"
#include "publisher/waiting.h"
#include "publisher/worker.h"
#include "publisher/workerstate.h"
#include "settings.h"

/* Between two flushes for asynchronous commits, in ms. */
#define FLUSH_INTERVAL 5

/* Between two looks at WAL that could not be read, in ms. */
#define LOOK_AGAIN_INTERVAL 10000

/* At shutdown, for what is in flight, in ms. */
#define DRAIN_TIME 500

/* Say that a commit waits for visibility after so long, in ms. */
#define HEAD_PATIENCE 1000

static EvpubWorker worker;

void
evpub_worker_register(void)
{
	BackgroundWorker entry;

	memset(&entry, 0, sizeof(entry));
	entry.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	entry.bgw_start_time = BgWorkerStart_ConsistentState;
	entry.bgw_restart_time = 1;
	snprintf(entry.bgw_library_name, sizeof(entry.bgw_library_name), EVPUB_NAME);
	snprintf(entry.bgw_function_name, BGW_MAXLEN, "evpub_worker_main");
	snprintf(entry.bgw_name, BGW_MAXLEN, "evpub publisher");
	snprintf(entry.bgw_type, BGW_MAXLEN, "evpub publisher");
	RegisterBackgroundWorker(&entry);
}

static void
detach(int code, Datum argument)
{
	(void) code;
	(void) argument;
	evpub_relay_stop(&worker.relay);
	evpub_waiting_reap(&worker);
	SpinLockAcquire(&EvpubShmem->mutex);
	EvpubShmem->worker_pid = 0;
	EvpubShmem->worker_latch = NULL;
	SpinLockRelease(&EvpubShmem->mutex);
}

static void
attach(void)
{
	before_shmem_exit(detach, (Datum) 0);
	SpinLockAcquire(&EvpubShmem->mutex);
	EvpubShmem->worker_pid = MyProcPid;
	EvpubShmem->worker_latch = MyLatch;
	SpinLockRelease(&EvpubShmem->mutex);
}

/* ---- licence and registry ---- */

static void
set_verdict(EvpubVerdict verdict, const char *reason)
{
	worker.verdict = verdict;
	worker.verdict_reason = reason ? MemoryContextStrdup(TopMemoryContext, reason) : NULL;
	worker.verdict_at = GetCurrentTimestamp();
	if (verdict == EVPUB_PUBLISH && !worker.streaming)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		evpub_stream_init(&worker.stream, &worker.position);
		MemoryContextSwitchTo(old);
		worker.streaming = true;
		worker.persisted_restart = worker.position.restart_lsn;
		worker.persisted_events = 0;
	}
}

static void
end_streaming(void)
{
	evpub_worker_end_relay(&worker);
	if (!worker.streaming)
		return;
	worker.streaming = false;
	evpub_assembler_free(worker.stream.assembler);
	evpub_walreader_free(worker.stream.reader);
	MemoryContextDelete(worker.stream.context);
	memset(&worker.stream, 0, sizeof(worker.stream));
}

static void
examine(void)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	char	   *reason;
	EvpubVerdict verdict;

	verdict = evpub_licence_examine(&worker.position, &reason);
	MemoryContextSwitchTo(old);
	set_verdict(verdict, reason);
}

/*
 * Make a new publisher.  An error is the asker's, not ours; the transaction
 * around it releases what was held when it was raised.
 */
static void
create_publisher(uint64 foreign_id)
{
	MemoryContext caller = CurrentMemoryContext;

	StartTransactionCommand();
	PG_TRY();
	{
		EvpubVerdict verdict;
		char	   *reason = NULL;

		MemoryContextSwitchTo(TopMemoryContext);
		verdict = evpub_licence_create(&worker.position, foreign_id, &reason);
		CommitTransactionCommand();
		set_verdict(verdict, reason);
		evpub_worker_show(&worker, EVPUB_STARTING, NULL);
		evpub_registry_answer(NULL, NULL);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(caller);
		evpub_registry_answer(error->message, error->hint);
		evpub_worker_error(&worker, error->message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
}

/* Give waiting transactions their slot. */
static void
answer_requests(void)
{
	uint64		foreign_id;

	if (!evpub_registry_pending(&foreign_id))
		return;
	worker.requests_open = true;
	if (worker.verdict == EVPUB_NOTHING)
		create_publisher(foreign_id);
	else
	{
		/* slot and file are there, in whichever state they are */
		evpub_registry_answer(NULL, NULL);
	}
}

static void
retire(void)
{
	end_streaming();
	evpub_licence_retire(&worker.position);
	ereport(LOG,
			(errmsg("evpub: no database is registered any more, dropped the replication slot")));
	set_verdict(EVPUB_NOTHING, EVPUB_NOBODY_REGISTERED);
}

/*
 * Has the last database been deregistered?  What it committed before is still
 * published: the slot goes when confirmed has passed the deregistration, and
 * only if by then nobody has come back.
 */
static void
consider_retirement(void)
{
	uint64		publisher_id;
	uint64		generation = pg_atomic_read_u64(&EvpubShmem->registry_generation);
	bool		ended = false;

	if (worker.requests_open)
		worker.requests_open = evpub_registry_open_requests(&worker.gate, &ended);
	if (worker.verdict == EVPUB_NOTHING)
		return;
	if (generation != worker.generation || ended)
	{
		worker.generation = generation;
		if (evpub_registry_count(&publisher_id) > 0)
			worker.retire_at = InvalidXLogRecPtr;
		else if (worker.retire_at == InvalidXLogRecPtr)
		{
			/* the deregistration is before this; have it flushed and read */
			worker.retire_at = evpub_walreader_insert_end();
			evpub_wake_publisher(worker.retire_at);
		}
	}
	if (worker.retire_at == InvalidXLogRecPtr || worker.requests_open)
		return;
	if (worker.streaming && worker.stream.confirmed_lsn < worker.retire_at)
		return;
	worker.retire_at = InvalidXLogRecPtr;
	if (evpub_registry_unused(&worker.gate))
		retire();
}

/* ---- publishing ---- */

/*
 * Asynchronous commits are flushed by us, at most every few milliseconds.
 * True if there is something to flush a little later.
 */
static bool
flush_wanted(void)
{
	XLogRecPtr	wanted = pg_atomic_read_u64(&EvpubShmem->wanted_lsn);
	TimestampTz now;

	if (wanted <= evpub_walreader_end(NULL))
		return false;
	now = GetCurrentTimestamp();
	if (!TimestampDifferenceExceeds(worker.flushed_at, now, FLUSH_INTERVAL))
		return true;
	worker.flushed_at = now;
	XLogFlush(wanted);
	return false;
}

static void
steer(void)
{
	uint32		request = pg_atomic_read_u32(&EvpubShmem->pause_request);

	if (request == EVPUB_REQUEST_NONE)
		return;
	if (worker.verdict != EVPUB_NOTHING)
	{
		worker.position.paused = request == EVPUB_REQUEST_PAUSE;
		if (worker.streaming)
		{
			/* not durable: the request stays, and whoever asked still waits */
			if (!evpub_worker_persist(&worker, true))
				return;
		}
		else if (worker.position.role != 0)
			evpub_position_write(&worker.position);
		if (request == EVPUB_REQUEST_RESUME &&
			worker.hindrance == EVPUB_HINDRANCE_RESUME)
		{
			evpub_track_accept_topics(&worker.position);
			evpub_worker_retry_now(&worker);
		}
	}

	/* durable; a newer request stays for the next round */
	(void) pg_atomic_compare_exchange_u32(&EvpubShmem->pause_request, &request,
										  EVPUB_REQUEST_NONE);
	ConditionVariableBroadcast(&EvpubShmem->changed);
}

static void
stand_in_gap(const char *reason)
{
	set_verdict(EVPUB_STAND_GAP, reason);
	evpub_worker_end_relay(&worker);
}

/*
 * One round of work.  True if there is more to read at once.  What throws in
 * here is WAL that cannot be read or published: the state "gap".
 */
static bool
publish(void)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool more = false;

	PG_TRY();
	{
		if (evpub_waiting_may_read(&worker))
			more = evpub_stream_read(&worker.stream);
		evpub_worker_supervise(&worker);
		evpub_stream_idle(&worker.stream);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		LWLockReleaseAll();
		MemoryContextSwitchTo(caller);
		stand_in_gap(error->message);
		return false;
	}
	PG_END_TRY();

	/* what could be read before the break has been published */
	if (worker.stream.broken && evpub_stream_drained(&worker.stream))
		stand_in_gap(worker.stream.broken);
	return more;
}

/* Somebody may have put the WAL back whose lack made the gap. */
static void
look_again(void)
{
	if (worker.verdict != EVPUB_STAND_GAP || !worker.streaming ||
		!TimestampDifferenceExceeds(worker.verdict_at, GetCurrentTimestamp(),
									LOOK_AGAIN_INTERVAL))
		return;
	evpub_stream_rewind(&worker.stream);
	set_verdict(EVPUB_PUBLISH, NULL);
}

/* A round without publishing. */
static void
stand_still(void)
{
	int			status;

	worker.pace = 0;
	if (worker.relay.socket == PGINVALID_SOCKET)
		(void) evpub_relay_gone(&worker.relay, &status);
}

static EvpubState
current_state(const char **reason)
{
	*reason = worker.verdict_reason;
	switch (worker.verdict)
	{
		case EVPUB_NOTHING:
			return EVPUB_UNCONFIGURED;
		case EVPUB_STAND_FENCED:
			return EVPUB_FENCED;
		case EVPUB_STAND_GAP:
			return EVPUB_GAP;
		case EVPUB_PUBLISH:
			break;
	}
	*reason = NULL;
	if (worker.position.paused)
		return EVPUB_PAUSED;
	if (!evpub_bootstrap_servers[0])
	{
		*reason = "evpub.bootstrap_servers is not set";
		return EVPUB_UNCONFIGURED;
	}
	if (worker.hindrance_text[0] || worker.trouble[0])
	{
		*reason = worker.trouble[0] ? worker.trouble : worker.hindrance_text;
		return EVPUB_BLOCKED;
	}
	if (worker.persist_problem[0])
	{
		*reason = worker.persist_problem;
		return EVPUB_BLOCKED;
	}
	if (worker.stream.waiting_xid != InvalidTransactionId &&
		TimestampDifferenceExceeds(worker.stream.waiting_since,
								   GetCurrentTimestamp(), HEAD_PATIENCE))
	{
		*reason = psprintf("transaction %u, committed at %X/%X, is not visible yet: it waits for synchronous replication",
						   worker.stream.waiting_xid,
						   LSN_FORMAT_ARGS(worker.stream.waiting_lsn));
		return EVPUB_BLOCKED;
	}
	return worker.hello ? EVPUB_STREAMING : EVPUB_STARTING;
}

/* ---- life ---- */

static void
take_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		evpub_worker_settings_changed(&worker);
		if (worker.streaming)
			evpub_assembler_set_memory(worker.stream.assembler,
									   (Size) evpub_decode_memory * 1024);
	}
}

/*
 * Leave: give what is in flight a moment to be acknowledged, so that a
 * restart repeats nothing, then write down where we are.
 */
static void
shut_down(void)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DRAIN_TIME);

	while (worker.verdict == EVPUB_PUBLISH &&
		   worker.relay.socket != PGINVALID_SOCKET &&
		   worker.stream.flight_count > 0 && !worker.trouble[0] &&
		   GetCurrentTimestamp() < end)
	{
		bool		paused = worker.position.paused;

		worker.position.paused = true;	/* send nothing new */
		evpub_worker_supervise(&worker);
		worker.position.paused = paused;
		evpub_waiting_wait(&worker, 10);
	}
	if (worker.verdict == EVPUB_PUBLISH)
		(void) evpub_worker_persist(&worker, true);
	proc_exit(1);
}

/* In recovery there is nothing to publish; promotion ends the wait. */
static void
wait_for_recovery(void)
{
	while (RecoveryInProgress())
	{
		evpub_worker_show(&worker, EVPUB_STANDBY, "the server is in recovery");
		evpub_waiting_wait(&worker, 1000);
		take_interrupts();
		if (ShutdownRequestPending)
			proc_exit(1);
	}
}

static void
set_up(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	memset(&worker, 0, sizeof(worker));
	evpub_shmem_status(&worker.before);
	evpub_gate_init(&worker.gate);
	evpub_relay_init(&worker.relay);
	evpub_waiting_old_relay(worker.before.relay_pid);
	attach();
	wait_for_recovery();
	examine();

	/* there may be requests of before the worker was restarted */
	worker.requests_open = true;
}

void
evpub_worker_main(Datum argument)
{
	MemoryContext cycle;
	const char *reason;
	EvpubState	state;

	(void) argument;
	MemoryContextSwitchTo(TopMemoryContext);
	set_up();
	cycle = AllocSetContextCreate(TopMemoryContext, "evpub cycle", ALLOCSET_DEFAULT_SIZES);

	/* requests are answered with what is shown, the publisher id above all */
	state = current_state(&reason);
	evpub_worker_show(&worker, state, reason);

	for (;;)
	{
		bool		more = false;
		bool		flush_pending = false;

		MemoryContextReset(cycle);
		MemoryContextSwitchTo(cycle);
		evpub_waiting_begin(&worker);
		take_interrupts();
		if (ShutdownRequestPending)
			shut_down();

		answer_requests();
		steer();
		look_again();
		if (worker.verdict == EVPUB_PUBLISH)
		{
			flush_pending = flush_wanted();
			more = publish();
			if (worker.verdict == EVPUB_PUBLISH)
				(void) evpub_worker_persist(&worker, false);
		}
		else
			stand_still();
		consider_retirement();
		state = current_state(&reason);
		evpub_worker_show(&worker, state, reason);
		evpub_waiting_wait(&worker, more ? 0 :
						   flush_pending ? FLUSH_INTERVAL :
						   evpub_waiting_time(&worker));
	}
}
