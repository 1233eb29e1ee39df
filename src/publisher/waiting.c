/*
 * waiting.c
 *		How the worker waits: one wait event set for the life of a relay's
 *		socket.  At thousands of commits a second a new one for each wait would
 *		cost more than the work.
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"

#include "compat.h"
#include "publisher/busy.h"
#include "publisher/waiting.h"
#include "settings.h"

/* In ms. */
#define WAIT_IDLE 1000			/* what sets no latch: COMMIT PREPARED, flushes */
#define WAIT_PREPARED 100		/* prepared transactions hold events */
#define WAIT_REQUESTS 100		/* a transaction that is waited for may end */
#define WAIT_HEAD 10			/* the next transaction is not visible yet */
#define WAIT_RELAY 10			/* the old relay is not gone yet */

/*
 * Each cycle of worker, relay and broker costs about as much for one small
 * transaction as for twenty, and takes it from the writers where cores are few.
 * So when transactions come fast, WAL is not read again at once (pace()).
 */
#define RATE_WINDOW 100			/* ms over which the rate is taken */
#define RATE_HIGH 1000			/* transactions a second, from which they are collected */
#define RATE_FULL 5000			/* from which they are for as long as worker->busy says */

/* A head that has just been read is visible within microseconds, mostly. */
#define HEAD_PATIENCE 5			/* ms for which it is looked at each ms */

/* Tries of WAIT_RELAY each. */
#define OLD_RELAY_TRIES 500

/* Say so when a relay that was killed is still there, after so many ms. */
#define REAP_PATIENCE 5000

void
evpub_waiting_begin(EvpubWorker *worker)
{
	worker->wakes_seen = pg_atomic_read_u64(&EvpubShmem->wakes);
	worker->unread = false;
}

/*
 * Transactions are collected only while they come fast, and while we keep up: the
 * rate of a backlog says nothing of what comes after it, and there is nothing to
 * collect.
 */
static void
measure_rate(EvpubWorker *worker)
{
	uint64		transactions = worker->stream.queue.transactions_read;
	EvpubMsec	now = evpub_clock_now();
	EvpubMsec	elapsed = now - worker->window_start;

	if (worker->stream.queue.behind || transactions < worker->window_transactions)
		worker->rate = 0;
	else if (elapsed < RATE_WINDOW)
		return;
	else
		worker->rate = (transactions - worker->window_transactions) * 1000 / elapsed;
	worker->window_transactions = transactions;
	worker->window_start = now;
	if (worker->rate >= RATE_HIGH)
		worker->busy = evpub_busy_measure(worker->rate);
}

/*
 * For how long after a read, in microseconds, transactions are collected; 0: not at
 * all.  A batch is worth its cost when it has some transactions in it, so at lower
 * rates, where it would have few, they rather go early.
 */
static int64
pace(const EvpubWorker *worker)
{
	int64		longest = (int64) evpub_linger * 1000;

	if (!worker->streaming || !worker->collects || worker->rate < RATE_HIGH)
		return 0;
	return longest * worker->busy / EVPUB_BUSY_MOST * Min(worker->rate, RATE_FULL) / RATE_FULL;
}

/* Milliseconds until so much time has passed since the last read; 0: it has. */
static long
left_of(const EvpubWorker *worker, int64 microseconds)
{
	int64		left = worker->read_at + microseconds - evpub_clock_now_us();

	/* a wait is for whole milliseconds, so the nearest one will do */
	return left < 500 ? 0 : (long) ((left + 500) / 1000);
}

/*
 * The same, while records are in flight: their way to the broker and back collects
 * as well.  evpub.linger bounds that, so that a broker that is far away does not
 * add its distance twice.
 */
static long
left_in_flight(const EvpubWorker *worker)
{
	if (pace(worker) == 0 || !evpub_flight_under_way(&worker->stream.flight))
		return 0;
	return left_of(worker, (int64) evpub_linger * 1000);
}

bool
evpub_waiting_collects(const EvpubWorker *worker)
{
	return pace(worker) > 0;
}

bool
evpub_waiting_may_read(EvpubWorker *worker)
{
	if (!worker->stream.queue.behind &&
		(left_of(worker, pace(worker)) > 0 || left_in_flight(worker) > 0))
	{
		worker->unread = true;
		return false;
	}
	worker->read_at = evpub_clock_now_us();
	return true;
}

/*
 * When nothing came, the next transaction is awaited, and begins to collect.  What has
 * committed asynchronously has come, too: it can be read when it is flushed, and then
 * that time is awaited.
 */
void
evpub_waiting_have_read(EvpubWorker *worker, uint64 before)
{
	const EvpubQueue *queue = &worker->stream.queue;

	/* now, when all that has come is counted, however long it was collected */
	measure_rate(worker);
	worker->collects = queue->transactions_read > before ||
		pg_atomic_read_u64(&EvpubShmem->wanted_lsn) > queue->limit;
}

/*
 * The committer of the head wakes us when it is visible, unless transactions are
 * being collected: then nobody is to pay for waking us, and we look again.
 */
static long
head_time(const EvpubWorker *worker)
{
	if (pace(worker) > 0 &&
		!evpub_clock_passed(worker->stream.batch.waiting_since, HEAD_PATIENCE))
		return 1;
	return WAIT_HEAD;
}

long
evpub_waiting_time(const EvpubWorker *worker)
{
	long		time = WAIT_IDLE;

	if (worker->requests_open || worker->retirement == EVPUB_RETIRE_TRANSACTIONS)
		time = WAIT_REQUESTS;
	if (worker->relay.pid != 0 && worker->relay.socket == PGINVALID_SOCKET)
		time = WAIT_RELAY;
	if (worker->relay.leaving)
		time = Min(time, Max(evpub_clock_left(worker->relay.leave_until), 1));
	if (worker->verdict != EVPUB_PUBLISH)
		return time;

	if (worker->stream.queue.reading &&
		evpub_assembler_prepared(worker->stream.queue.assembler) > 0)
		time = Min(time, WAIT_PREPARED);
	if (worker->hindrance == EVPUB_HINDRANCE_RETRY)
		time = Min(time, Max(evpub_clock_left(worker->retry_at), 1));
	if (worker->stream.batch.waiting_xid != InvalidTransactionId &&
		!worker->position.paused)
		time = Min(time, head_time(worker));
	return time;
}

/* The set for waits in which the relay has nothing to say: latch and postmaster. */
static WaitEventSet *
new_set(void)
{
	WaitEventSet *set = EvpubCreateWaitEventSet(3);

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	return set;
}

static void
prepare_set(EvpubWorker *worker, uint32 socket_events)
{
	/* a new relay may have got the old one's descriptor, which epoll has dropped */
	if (worker->wait_set && (worker->wait_socket != worker->relay.socket ||
							 worker->wait_relay != worker->relay_starts))
	{
		FreeWaitEventSet(worker->wait_set);
		worker->wait_set = NULL;
	}
	if (!worker->wait_set)
	{
		worker->wait_set = new_set();
		worker->wait_socket = worker->relay.socket;
		worker->wait_relay = worker->relay_starts;
		worker->wait_events = socket_events;
		if (worker->relay.socket != PGINVALID_SOCKET)
			worker->wait_position = AddWaitEventToSet(worker->wait_set, socket_events,
													  worker->relay.socket, NULL, NULL);
	}
	else if (worker->relay.socket != PGINVALID_SOCKET &&
			 worker->wait_events != socket_events)
	{
		ModifyWaitEvent(worker->wait_set, worker->wait_position, socket_events, NULL);
		worker->wait_events = socket_events;
	}
}

/*
 * From here on a committer sets the latch.  True if one has come since this cycle
 * began, and so did not: it counts, then looks at wake_wanted; we write that, then
 * look at the count; there is a full barrier between the two on either side, so at
 * least one sees the other.
 */
static bool
ask_to_be_woken(const EvpubWorker *worker)
{
	pg_atomic_write_u32(&EvpubShmem->wake_wanted, 1);
	pg_memory_barrier();
	return pg_atomic_read_u64(&EvpubShmem->wakes) != worker->wakes_seen;
}

/*
 * Until the next look at WAL while transactions are collected: no committer needs to
 * pay for waking us.  "relay": it may end the wait, else what it says is taken in when
 * the wait is over.  False if they are not collected now.
 */
static bool
collect(const EvpubWorker *worker, long *timeout, bool *relay)
{
	long		left = left_of(worker, pace(worker));

	/* what is queued may wait for an acknowledgement */
	*relay = left == 0 || worker->stream.queue.length > 0;
	if (left == 0)
		left = left_in_flight(worker);
	if (left == 0)
		return false;
	*timeout = Min(*timeout, left);
	return true;
}

/* What the worker waits for, as pg_stat_activity shows it (docs/operations.md). */
typedef enum Reason
{
	FOR_COMMITS,
	FOR_MORE_COMMITS,
	FOR_VISIBILITY,
	FOR_ACKNOWLEDGEMENT,
	FOR_RETRY
} Reason;

static const char *const reason_names[] = {
	[FOR_COMMITS] = "EvpubIdle",
	[FOR_MORE_COMMITS] = "EvpubCollect",
	[FOR_VISIBILITY] = "EvpubVisible",
	[FOR_ACKNOWLEDGEMENT] = "EvpubAcknowledgement",
	[FOR_RETRY] = "EvpubRetry",
};

static uint32
wait_event(const EvpubWorker *worker, bool collects)
{
	static uint32 events[lengthof(reason_names)];
	Reason		reason = FOR_COMMITS;

	if (collects)
		reason = FOR_MORE_COMMITS;
	else if (!worker->streaming)
		reason = FOR_COMMITS;
	else if (worker->relay.socket == PGINVALID_SOCKET &&
			 worker->hindrance == EVPUB_HINDRANCE_RETRY)
		reason = FOR_RETRY;
	else if (evpub_flight_under_way(&worker->stream.flight))
		reason = FOR_ACKNOWLEDGEMENT;
	else if (worker->stream.batch.waiting_xid != InvalidTransactionId)
		reason = FOR_VISIBILITY;

	/* the server keeps a table of the names, behind a lock */
	if (events[reason] == 0)
		events[reason] = evpub_wait_event(reason_names[reason]);
	return events[reason];
}

void
evpub_waiting_wait(EvpubWorker *worker, long timeout)
{
	static WaitEventSet *quiet_set = NULL;
	uint32		socket_events = WL_SOCKET_READABLE;
	WaitEvent	occurred[3];
	bool		relay = true;
	bool		collects;
	bool		asked = false;

	if (worker->relay.socket != PGINVALID_SOCKET &&
		worker->relay.sent < worker->relay.out.len)
		socket_events |= WL_SOCKET_WRITEABLE;

	collects = timeout > 0 && collect(worker, &timeout, &relay);

	/* with a full queue there is nothing to do for a new commit */
	if (timeout > 0 && !collects &&
		!(worker->streaming && evpub_queue_full(&worker->stream.queue)))
	{
		asked = true;

		/*
		 * Collecting may have ended since this cycle chose not to read, and whoever
		 * committed before the cycle began wakes us no more.
		 */
		if (ask_to_be_woken(worker) || worker->unread)
			timeout = 0;
	}
	if (relay || (socket_events & WL_SOCKET_WRITEABLE))
		prepare_set(worker, socket_events);
	else if (!quiet_set)
		quiet_set = new_set();
	(void) WaitEventSetWait(relay || (socket_events & WL_SOCKET_WRITEABLE) ?
							worker->wait_set : quiet_set,
							timeout, occurred, lengthof(occurred), wait_event(worker, collects));
	if (asked)
		pg_atomic_write_u32(&EvpubShmem->wake_wanted, 0);

	/* before anything is looked at: what comes later sets it again */
	ResetLatch(MyLatch);
}

void
evpub_waiting_old_relay(pid_t pid)
{
	for (int tries = OLD_RELAY_TRIES;
		 pid > 0 && kill(pid, 0) == 0 && tries > 0; tries--)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 WAIT_RELAY, evpub_wait_event("EvpubOldRelay"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
			proc_exit(1);
	}
}

/*
 * However long that takes: what we leave behind goes to process 1.  Where that
 * is the postmaster, as in containers, it takes a child that it does not know
 * and that was killed for a crashed backend, and restarts the server.  An
 * immediate shutdown ends the wait.
 */
void
evpub_waiting_reap(EvpubWorker *worker)
{
	EvpubMsec	began = evpub_clock_now();
	bool		said = false;
	int			status;

	while (!evpub_relay_gone(&worker->relay, &status))
	{
		if (WaitLatch(NULL, WL_TIMEOUT | WL_POSTMASTER_DEATH, WAIT_RELAY,
					  evpub_wait_event("EvpubOldRelay")) & WL_POSTMASTER_DEATH)
			return;
		if (said || !evpub_clock_passed(began, REAP_PATIENCE))
			continue;
		said = true;
		ereport(WARNING,
				(errmsg("evpub: the relay (PID %d) was killed, but it is still there",
						(int) worker->relay.pid)));
	}
}
