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
#include <sys/prctl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
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
#include "names.h"
#include "position/follow.h"
#include "position/statefile.h"
#include "publisher/failures.h"
#include "publisher/figurekeep.h"
#include "publisher/gap.h"
#include "publisher/licence.h"
#include "publisher/limits.h"
#include "publisher/persist.h"
#include "publisher/recovery.h"
#include "publisher/registrar.h"
#include "publisher/rescue.h"
#include "publisher/show.h"
#include "publisher/slot.h"
#include "publisher/state.h"
#include "publisher/steering.h"
#include "publisher/supervise.h"
#include "publisher/waiting.h"
#include "publisher/walaside.h"
#include "publisher/walkeep.h"
#include "publisher/worker.h"
#include "settings.h"

/* Between two flushes for asynchronous commits, in ms. */
#define FLUSH_INTERVAL 5

/* Between two looks at WAL in recovery, in ms: while it moves, and else. */
#define FOLLOW_INTERVAL 100
#define FOLLOW_IDLE 1000

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
	EvpubWorker *worker = (EvpubWorker *) DatumGetPointer(argument);

	(void) code;

	evpub_relay_stop(&worker->relay);
	evpub_waiting_reap(worker);
	SpinLockAcquire(&EvpubShmem->mutex);
	EvpubShmem->worker_pid = 0;
	EvpubShmem->worker_latch = NULL;
	SpinLockRelease(&EvpubShmem->mutex);

	/*
	 * Last, since a checkpoint may ask for the slot while the relay ends; and
	 * before the slot is released for good, as that was registered before this.
	 */
	evpub_walkeep_leave();
}

static void
attach(EvpubWorker *worker)
{
	before_shmem_exit(detach, PointerGetDatum(worker));
	SpinLockAcquire(&EvpubShmem->mutex);
	EvpubShmem->worker_pid = MyProcPid;
	EvpubShmem->worker_latch = MyLatch;
	SpinLockRelease(&EvpubShmem->mutex);
}

/* ---- licence, and limits ---- */

static void
examine(EvpubWorker *worker)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	char	   *reason;
	EvpubVerdict verdict;

	verdict = evpub_licence_examine(&worker->position, &reason);
	if (verdict == EVPUB_STAND_GAP && reason == NULL)
		reason = evpub_gap_text(&worker->position.gap);
	MemoryContextSwitchTo(old);
	evpub_state_set_verdict(worker, verdict, reason);
}

/* A limit is reached: let the database win over the backlog. */
static void
keep_limits(EvpubWorker *worker)
{
	bool		disk_full;
	char	   *reason = evpub_limits_reached(worker, &disk_full);

	if (reason && !evpub_registrar_give_up(worker, reason, disk_full))
		evpub_gap_give_up(worker, reason, disk_full);
}

/* ---- publishing ---- */

/*
 * Asynchronous commits are flushed by us, at most every few milliseconds.  Returns
 * after how many there is something to flush; 0: there is nothing.
 */
static long
flush_wanted(EvpubWorker *worker)
{
	XLogRecPtr	wanted = pg_atomic_read_u64(&EvpubShmem->wanted_lsn);

	if (wanted <= evpub_walreader_end(NULL))
		return 0;
	if (!evpub_clock_passed(worker->flushed_at, FLUSH_INTERVAL))
		return Max(evpub_clock_left(worker->flushed_at + FLUSH_INTERVAL), 1);
	worker->flushed_at = evpub_clock_now();
	XLogFlush(wanted);
	return 0;
}

/*
 * Publishing failed in a way that has nothing to do with the relay: out of
 * memory, say, or WAL that went away after it was read.  Everything is read
 * again from the confirmed position, which finds what is missing.  If the same
 * transaction fails again and its bytes are to blame, it is a gap.
 */
static void
publishing_failed(EvpubWorker *worker, const ErrorData *error)
{
	XLogRecPtr	head = evpub_stream_head_lsn(&worker->stream);

	if (error->sqlerrcode == ERRCODE_DATA_CORRUPTED &&
		head != InvalidXLogRecPtr && ++worker->refusals > 1)
	{
		/* what is before it is published first */
		worker->refusals = 0;
		evpub_queue_refuse(&worker->stream.queue, head, error->message);
	}
	if (worker->relay.socket != PGINVALID_SOCKET)
	{
		worker->start_cause = EVPUB_START_SERVER;
		evpub_state_end_relay(worker);
	}
	else
		evpub_stream_rewind(&worker->stream);
	evpub_state_hinder(worker, EVPUB_HINDRANCE_RETRY, evpub_reason_of_error(error));
}

/* Read some WAL.  True if there is more to read at once. */
static bool
read_wal(EvpubWorker *worker)
{
	EvpubStream *stream = &worker->stream;
	int			times = stream->queue.unread_times;
	uint64		transactions = stream->queue.transactions_read;
	bool		more = evpub_stream_read(stream);

	evpub_waiting_have_read(worker, transactions);

	/* where the next error would free what is done from here on */
	Assert(CurrentMemoryContext != ErrorContext);
	if (stream->queue.unread_times > times)
		evpub_state_error(worker, stream->queue.unread);
	return more;
}

/* One round of work.  True if there is more to read, or to send, at once. */
static bool
publish(EvpubWorker *worker)
{
	MemoryContext caller = CurrentMemoryContext;
	EvpubStream *stream = &worker->stream;
	volatile bool more = false;

	PG_TRY();
	{
		/* when all is acknowledged, what has come meanwhile is read and sent */
		if (evpub_waiting_collects(worker))
			evpub_supervise_listen(worker);
		if (worker->verdict == EVPUB_PUBLISH && evpub_waiting_may_read(worker))
			more = read_wal(worker);
		if (worker->verdict == EVPUB_PUBLISH && evpub_supervise(worker))
			more = true;
		evpub_stream_idle(stream);

		/* what could be read before the break has been published */
		if (evpub_stream_at_break(stream))
			evpub_gap_unreadable(worker);
		else if (evpub_stream_at_stuck(stream))
			evpub_gap_unpublishable(worker, evpub_stream_head_lsn(stream), stream->batch.stuck);
	}
	PG_CATCH();
	{
		ErrorData  *error = evpub_rescue_and_abort(caller);

		/* a long look at WAL was broken off, and the next round leaves */
		if (error->sqlerrcode != ERRCODE_ADMIN_SHUTDOWN)
			publishing_failed(worker, error);
		return false;
	}
	PG_END_TRY();
	return more;
}

/* A round without publishing. */
static void
stand_still(EvpubWorker *worker)
{
	int			status;

	if (worker->relay.socket == PGINVALID_SOCKET)
		(void) evpub_relay_gone(&worker->relay, &status);
}

/* ---- life ---- */

static void
take_interrupts(EvpubWorker *worker)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		evpub_supervise_settings_changed(worker);
		if (worker->streaming && worker->stream.queue.reading)
			evpub_assembler_set_memory(worker->stream.queue.assembler,
									   (Size) evpub_decode_memory * 1024);
	}
}

/*
 * Leave: give what is in flight a moment to be acknowledged, so that a
 * restart repeats nothing, then write down where we are.
 */
static void
shut_down(EvpubWorker *worker)
{
	worker->shutting_down = true;
	if (worker->verdict == EVPUB_PUBLISH)
		evpub_supervise_leave(worker);

	/* ends with the relay, which is ended when its time is over */
	while (worker->relay.socket != PGINVALID_SOCKET && worker->relay.leaving)
	{
		(void) evpub_supervise(worker);
		if (worker->relay.socket != PGINVALID_SOCKET)
			evpub_waiting_wait(worker, 10);
	}
	if (worker->verdict == EVPUB_PUBLISH)
		(void) evpub_persist(worker, true);

	/* the next worker counts on from what is shown */
	evpub_show_current(worker);
	evpub_failures_save(true);
	evpub_figurekeep_save(true);
	proc_exit(1);
}

/*
 * What the original says in WAL of how far it came goes into the file of its
 * copy, once a segment and at the end: what was said in WAL that the server has
 * removed meanwhile is not lost for who takes over.  Then the WAL of before is not
 * needed here any more.
 */
static void
follow(EvpubFollower *follower, XLogRecPtr *written, bool last)
{
	MemoryContext context;
	MemoryContext old;
	EvpubPosition position;
	XLogRecPtr	end = evpub_walreader_end(NULL);
	char	   *problem;

	(void) evpub_follow_read(follower);
	if (!last && !ShutdownRequestPending &&
		end / wal_segment_size == *written / wal_segment_size)
		return;
	context = AllocSetContextCreate(TopMemoryContext, "evpub follow",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	if (evpub_statefile_read(&position, &problem) == EVPUB_STATEFILE_FOUND &&
		position.role == EVPUB_ROLE_FENCED)
	{
		if (evpub_follow_take(follower, &position))
			evpub_statefile_write(&position);
		evpub_walaside_forget(position.restart_lsn);
		evpub_slot_follow(position.restart_lsn);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	*written = end;
}

/* Follow the publisher of which this server is a copy; NULL: its file names none. */
static EvpubFollower *
begin_to_follow(void)
{
	EvpubFollower *follower = NULL;
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "evpub follow",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EvpubPosition position;
	char	   *problem;

	if (evpub_statefile_read(&position, &problem) == EVPUB_STATEFILE_FOUND &&
		position.role == EVPUB_ROLE_FENCED && position.nlineage > 0)
		follower = evpub_follow_begin(&position);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return follower;
}

/* In recovery there is nothing to publish; promotion ends the wait. */
static void
wait_for_recovery(EvpubWorker *worker)
{
	EvpubFollower *follower;
	XLogRecPtr	written = InvalidXLogRecPtr;
	XLogRecPtr	seen = InvalidXLogRecPtr;
	XLogRecPtr	replayed;

	if (!RecoveryInProgress())
		return;

	/* whatever this server becomes, it is not the one that the file is about */
	evpub_recovery_fence();
	follower = begin_to_follow();
	while (RecoveryInProgress())
	{
		evpub_show(worker, EVPUB_STANDBY, "the server is in recovery");
		if (follower)
			follow(follower, &written, false);

		/*
		 * The checkpoint of a promotion removes WAL soon, so what is replayed
		 * is read soon, and the end of recovery seen soon where there is WAL
		 * that is needed; a standby at which nothing happens is left alone.
		 */
		replayed = evpub_walreader_end(NULL);
		evpub_waiting_wait(worker, follower &&
						   (replayed != seen || evpub_follow_needs_wal(follower)) ?
						   FOLLOW_INTERVAL : FOLLOW_IDLE);
		seen = replayed;
		take_interrupts(worker);
		if (ShutdownRequestPending)
		{
			if (follower)
				follow(follower, &written, true);
			proc_exit(1);
		}
	}
	if (follower)
	{
		follow(follower, &written, true);
		evpub_follow_end(follower);
	}
}

/* Put back the WAL that a worker had set aside when a crash ended it. */
static void
put_back_wal(EvpubWorker *worker)
{
	if (!evpub_walaside_has())
		return;
	evpub_show(worker, EVPUB_STARTING,
			   "WAL that was set aside from a checkpoint is put back");
	evpub_walkeep_put_back();
}

static void
set_up(EvpubWorker *worker)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	evpub_walkeep_install();
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	/* so that a program that the relay ran never becomes the postmaster's child */
	(void) prctl(PR_SET_CHILD_SUBREAPER, 1);

	memset(worker, 0, sizeof(*worker));
	evpub_shmem_status(&worker->before);
	evpub_gate_init(&worker->gate);
	evpub_relay_init(&worker->relay);
	evpub_waiting_old_relay(worker->before.relay_pid);
	evpub_failures_load();
	evpub_figurekeep_load();
	attach(worker);
	wait_for_recovery(worker);
	put_back_wal(worker);
	examine(worker);

	/* there may be requests of before the worker was restarted */
	worker->requests_open = true;
}

/*
 * An error that nothing else takes ends the worker, and it starts anew.  What
 * it was must be seen meanwhile, and however often that repeats.
 */
static void
show_failure(const ErrorData *error)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&EvpubShmem->mutex);
	EvpubShmem->status.failed = true;
	EvpubShmem->status.state = EVPUB_BLOCKED;
	EvpubShmem->status.since = now;
	strlcpy(EvpubShmem->status.reason, error->message,
			sizeof(EvpubShmem->status.reason));
	strlcpy(EvpubShmem->status.hint, error->hint ? error->hint : "",
			sizeof(EvpubShmem->status.hint));
	strlcpy(EvpubShmem->status.last_error, error->message,
			sizeof(EvpubShmem->status.last_error));
	EvpubShmem->status.last_error_at = now;
	SpinLockRelease(&EvpubShmem->mutex);
}

static void
live(EvpubWorker *worker)
{
	MemoryContext cycle;

	MemoryContextSwitchTo(TopMemoryContext);
	set_up(worker);
	cycle = AllocSetContextCreate(TopMemoryContext, "evpub cycle", ALLOCSET_DEFAULT_SIZES);

	/* requests are answered with what is shown, the publisher id above all */
	evpub_show_current(worker);

	for (;;)
	{
		bool		more = false;
		long		flush_in = 0;

		MemoryContextReset(cycle);
		MemoryContextSwitchTo(cycle);
		evpub_waiting_begin(worker);
		take_interrupts(worker);
		if (ShutdownRequestPending)
			shut_down(worker);

		evpub_registrar_answer(worker);
		evpub_steering_serve(worker);
		evpub_gap_look_again(worker);
		if (worker->verdict == EVPUB_PUBLISH)
		{
			flush_in = flush_wanted(worker);
			more = publish(worker);
			if (worker->verdict == EVPUB_PUBLISH)
				(void) evpub_persist(worker, false);
		}
		else
			stand_still(worker);
		evpub_registrar_consider(worker);
		keep_limits(worker);
		evpub_show_current(worker);
		evpub_failures_save(false);
		evpub_figurekeep_save(false);
		evpub_waiting_wait(worker, more ? 0 :
						   flush_in > 0 ? Min(flush_in, evpub_waiting_time(worker)) :
						   evpub_waiting_time(worker));
	}
}

void
evpub_worker_main(Datum argument)
{
	/* not on the stack: what ends the process still looks at it */
	static EvpubWorker worker;

	(void) argument;
	PG_TRY();
	{
		live(&worker);
	}
	PG_CATCH();
	{
		/* no lock stays held while the file is written, and another error may come */
		ErrorData  *error = evpub_rescue_and_abort(TopMemoryContext);

		show_failure(error);
		if (evpub_persist_acknowledged(&worker))
			evpub_show_published(&worker);
		evpub_failures_note(evpub_failures_of(EVPUB_FAILED_SERVER, EVPUB_DONE_WORKER_RESTARTED),
							error->message);
		evpub_failures_save(true);
		evpub_figurekeep_save(true);
		ReThrowError(error);
	}
	PG_END_TRY();
}
