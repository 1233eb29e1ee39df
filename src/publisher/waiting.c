/*
 * waiting.c
 *		How the worker waits: one wait event set for the life of a relay's
 *		socket.  At thousands of commits a second a new one for each wait would
 *		cost more than the work.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"

#include "compat.h"
#include "publisher/waiting.h"

/* In ms. */
#define WAIT_IDLE 1000			/* what sets no latch: COMMIT PREPARED, flushes */
#define WAIT_PREPARED 100		/* prepared transactions hold events */
#define WAIT_REQUESTS 100		/* a transaction that is waited for may end */
#define WAIT_HEAD 10			/* the next transaction is not visible yet */
#define WAIT_RELAY 10			/* the old relay is not gone yet */

/*
 * Each cycle of worker, relay and broker costs about as much for one small
 * transaction as for a hundred, and takes it from the writers where cores are
 * few.  At a high rate of transactions, collect them: for 2 ms at 1,000 a
 * second, up to 40 ms at 20,000 and more.  Only while we keep up: a read takes
 * a limited number of transactions, so a pause behind each would limit how
 * fast a backlog is published, and there is nothing to collect.
 */
#define PACE_WINDOW 100			/* ms over which the rate is taken */
#define PACE_RATE 1000			/* transactions a second */
#define PACE_PER_MS 500			/* of rate, for each ms between reads */
#define PACE_LONGEST 40			/* ms between reads */

/* Tries of WAIT_RELAY each. */
#define OLD_RELAY_TRIES 500

/* Say so when a relay that was killed is still there, after so many ms. */
#define REAP_PATIENCE 5000

void
evpub_waiting_begin(EvpubWorker *worker)
{
	worker->wakes_seen = pg_atomic_read_u64(&EvpubShmem->wakes);
}

bool
evpub_waiting_may_read(EvpubWorker *worker)
{
	EvpubMsec	now = evpub_clock_now();
	EvpubMsec	elapsed;

	if (worker->stream.queue.behind)
	{
		/* the rate of a backlog says nothing of what comes after it */
		worker->pace = 0;
		worker->window_transactions = worker->stream.queue.transactions_read;
		worker->window_start = now;
		return true;
	}
	if (worker->pace > 0 && now < worker->read_after)
		return false;
	elapsed = now - worker->window_start;
	if (elapsed >= PACE_WINDOW)
	{
		uint64		transactions = worker->stream.queue.transactions_read;
		uint64		rate = (transactions - worker->window_transactions) * 1000 / elapsed;

		worker->pace = rate < PACE_RATE ? 0 : (int) Min(rate / PACE_PER_MS, PACE_LONGEST);
		worker->window_transactions = transactions;
		worker->window_start = now;
	}
	worker->read_after = now + worker->pace;
	return true;
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
		time = Min(time, WAIT_HEAD);
	return time;
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
		worker->wait_set = EvpubCreateWaitEventSet(3);
		AddWaitEventToSet(worker->wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(worker->wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
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

void
evpub_waiting_wait(EvpubWorker *worker, long timeout)
{
	static uint32 wait_event = 0;
	uint32		socket_events = WL_SOCKET_READABLE;
	WaitEvent	occurred[3];
	bool		wake;

	if (wait_event == 0)
		wait_event = evpub_wait_event("EvpubMain");
	if (worker->relay.socket != PGINVALID_SOCKET &&
		worker->relay.sent < worker->relay.out.len)
		socket_events |= WL_SOCKET_WRITEABLE;
	prepare_set(worker, socket_events);
	if (worker->pace > 0 && timeout > worker->pace)
		timeout = worker->pace;

	/* with a full queue there is nothing to do for a new commit */
	wake = worker->pace == 0 &&
		!(worker->streaming && evpub_queue_full(&worker->stream.queue));
	if (wake && timeout != 0)
	{
		pg_atomic_write_u32(&EvpubShmem->wake_wanted, 1);
		pg_memory_barrier();
		if (pg_atomic_read_u64(&EvpubShmem->wakes) != worker->wakes_seen)
			timeout = 0;
	}
	(void) WaitEventSetWait(worker->wait_set, timeout, occurred,
							lengthof(occurred), wait_event);

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
