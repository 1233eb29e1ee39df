/*
 * workerstate.h
 *		What the parts of the worker share: worker.c (life), registrar.c
 *		(registration), supervise.c (the relay), persist.c (state file, slot,
 *		status) and holders.c (what holds back WAL).
 */
#ifndef EVPUB_WORKERSTATE_H
#define EVPUB_WORKERSTATE_H

#include "postgres.h"

#include "clock.h"
#include "publisher/kafkafiles.h"
#include "publisher/position.h"
#include "publisher/reason.h"
#include "publisher/relayclient.h"
#include "publisher/stream.h"
#include "publisher/verdict.h"
#include "reader/gate.h"
#include "shmem.h"

/* What stands between us and a relay that publishes. */
typedef enum EvpubHindrance
{
	EVPUB_HINDRANCE_NONE,
	EVPUB_HINDRANCE_RETRY,		/* start a new relay when retry_at has come */
	EVPUB_HINDRANCE_RESUME		/* only evpub.resume() goes on */
} EvpubHindrance;

/* On the way to drop the slot, since nobody is registered any more. */
typedef enum EvpubRetirement
{
	EVPUB_RETIRE_NOT,
	EVPUB_RETIRE_TRANSACTIONS,	/* until all below retire_xid have ended */
	EVPUB_RETIRE_CONFIRMED		/* until confirmed is past retire_at */
} EvpubRetirement;

typedef struct EvpubWorker
{
	EvpubVerdict verdict;
	char	   *verdict_reason; /* may be NULL; this and the texts below may
								 * carry a hint (reason.h) */
	EvpubMsec	verdict_at;
	XLogRecPtr	gap_begins_at;	/* WAL that could not be read; else invalid */
	int			refusals;		/* errors in a row that a transaction caused */
	EvpubMsec	limits_checked_at;
	EvpubMsec	hindered_since; /* 0: events flow; as limits.c has seen it */
	EvpubPosition position;
	bool		streaming;		/* "stream" is set up */
	EvpubStream stream;
	EvpubGate	gate;

	/* the relay */
	EvpubRelay	relay;
	bool		hello;			/* it has greeted */
	bool		shutting_down;	/* this worker ends: nothing is read again */
	bool		answered;		/* a broker has answered it */
	EvpubHindrance hindrance;
	char		hindrance_text[EVPUB_REASON_LENGTH];
	EvpubMsec	retry_at;
	int			failures;		/* in a row, for the backoff */
	uint64		relay_starts;
	uint64		relay_restarts;	/* of these, after a failure */
	EvpubKafkaFiles kafka_files;	/* that the relay has read */
	char		trouble[EVPUB_REASON_LENGTH]; /* as the relay tells; "" none */
	char		librdkafka_version[32];

	/* registry */
	uint64		generation;		/* that was last looked at */
	bool		requests_open;
	EvpubRetirement retirement;
	FullTransactionId retire_xid;
	XLogRecPtr	retire_at;
	EvpubMsec	retire_tried_at;

	/* persistence */
	EvpubMsec	persisted_at;
	uint64		persisted_events;
	XLogRecPtr	persisted_restart;
	bool		full_wanted;	/* the next position message is a full one */
	int			messages_since_full;
	EvpubMsec	full_at;		/* when the last full one was logged */
	EvpubMsec	flushed_at;
	char		persist_problem[EVPUB_REASON_LENGTH]; /* "" if the last write went well */

	char		last_error[EVPUB_TEXT_LENGTH];
	TimestampTz last_error_at;
	EvpubMsec	error_logged_at;
	EvpubStatus before;			/* of the worker before us: counters go on */

	/* waiting */
	WaitEventSet *wait_set;
	pgsocket	wait_socket;	/* that is in the set */
	uint64		wait_relay;		/* which relay's it is, by relay_starts */
	uint32		wait_events;	/* on it */
	int			wait_position;	/* its place in the set */

	uint64		wakes_seen;		/* of the shared count, when this cycle began */

	/* pace: how many transactions come in a window of time */
	EvpubMsec	window_start;
	uint64		window_transactions;	/* read when it began */
	int			pace;			/* ms between reads; 0: read whenever woken */
	EvpubMsec	read_after;		/* with a pace: do not read WAL before */

	/* who holds back WAL, as of holders_at (holders.c) */
	EvpubHolder holders[EVPUB_MAX_HOLDERS];
	int			nholders;
	EvpubMsec	holders_at;

	/* what the running relay was started with */
	char	   *relay_settings;
} EvpubWorker;

/* ---- worker.c ---- */

/* A new verdict; "reason" is copied.  The stream begins with EVPUB_PUBLISH. */
extern void evpub_worker_set_verdict(EvpubWorker *worker, EvpubVerdict verdict,
									 const char *reason);

/* End relay and stream. */
extern void evpub_worker_end_streaming(EvpubWorker *worker);

/* The state that evpub.status shows. */
extern const char *evpub_worker_state_name(const EvpubWorker *worker);

/* Show it now. */
extern void evpub_worker_show_current(EvpubWorker *worker);

/* ---- limits.c ---- */

/* Let the database win over the backlog; looks at most once a second. */
extern void evpub_worker_check_limits(EvpubWorker *worker);

/* ---- registrar.c ---- */

/* Give transactions that register databases their slot, or the error. */
extern void evpub_worker_answer_requests(EvpubWorker *worker);

/*
 * Drop slot and state file if nobody is registered any more and nothing is
 * left to be published.  To be called in each cycle.
 */
extern void evpub_worker_consider_retirement(EvpubWorker *worker);

/*
 * The same, though something may be left: a limit gives it up.  False if
 * somebody is registered, or it cannot be told right now.
 */
extern bool evpub_worker_retire_now(EvpubWorker *worker);

/* The reason for a gap, with what to do when nobody is registered. */
extern const char *evpub_worker_gap_reason(const EvpubWorker *worker);

/* ---- persist.c ---- */

/*
 * Write state file, slot and position message if it is time, or if "force".
 * False if it was tried and failed; the reason is in persist_problem.
 */
extern bool evpub_worker_persist(EvpubWorker *worker, bool force);

/* Make the partition counts durable that the relay waits for, if there are any. */
extern bool evpub_worker_persist_pins(EvpubWorker *worker);

/* Bring worker->position up to what the stream has confirmed. */
extern void evpub_worker_take_position(EvpubWorker *worker);

/*
 * Write worker->position to the state file, then move the slot forward to
 * "slot" (unless invalid), then "tell" standbys.  When it fails: false, and the
 * position is *before again; the reason is in persist_problem.
 */
extern bool evpub_worker_store(EvpubWorker *worker, const EvpubPosition *before,
							   XLogRecPtr slot, bool tell);

/*
 * Show where we are in shared memory; log a change of state.  "reason" may carry
 * a hint (reason.h), or be NULL.
 */
extern void evpub_worker_show(EvpubWorker *worker, EvpubState state, const char *reason);

/* Remember an error for evpub.status, and log it; "text" may carry a hint. */
extern void evpub_worker_error(EvpubWorker *worker, const char *text);

/* ---- holders.c ---- */

/* Tell everybody which open transactions hold back WAL. */
extern void evpub_holders_show(EvpubWorker *worker, EvpubStatus *status);

/*
 * The one that has held back more than a segment of WAL, as a reason for
 * evpub.status; NULL: none.  In memory of the current context.
 */
extern const char *evpub_holders_reason(EvpubWorker *worker);

/* ---- supervise.c ---- */

/* Start, feed, listen to and end the relay, as far as it can go right now. */
extern void evpub_worker_supervise(EvpubWorker *worker);

/* Something hinders publishing: start a new relay after a pause. */
extern void evpub_worker_hinder(EvpubWorker *worker, EvpubHindrance hindrance,
								const char *text);

/* End the relay; what is unconfirmed will be read again. */
extern void evpub_worker_end_relay(EvpubWorker *worker);

/*
 * End the relay because somebody wants that, and not because of a failure: what
 * is in flight gets a moment to be acknowledged, so that nothing is sent again.
 */
extern void evpub_worker_leave_relay(EvpubWorker *worker);

/* It gives no sign of life. */
extern bool evpub_worker_relay_silent(const EvpubWorker *worker);

/* After a reload: give changed settings to a new relay. */
extern void evpub_worker_settings_changed(EvpubWorker *worker);

/* A person, or changed settings, say that what hindered may be over. */
extern void evpub_worker_retry_now(EvpubWorker *worker);

#endif							/* EVPUB_WORKERSTATE_H */
