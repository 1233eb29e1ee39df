/*
 * workerstate.h
 *		What the parts of the worker share: worker.c (life, registry, waiting),
 *		supervise.c (the relay) and persist.c (state file, slot, status).
 */
#ifndef EVPUB_WORKERSTATE_H
#define EVPUB_WORKERSTATE_H

#include "postgres.h"

#include "publisher/gate.h"
#include "publisher/licence.h"
#include "publisher/position.h"
#include "publisher/relayclient.h"
#include "publisher/shmem.h"
#include "publisher/stream.h"

/* What stands between us and a relay that publishes. */
typedef enum EvpubHindrance
{
	EVPUB_HINDRANCE_NONE,
	EVPUB_HINDRANCE_RETRY,		/* start a new relay when retry_at has come */
	EVPUB_HINDRANCE_RESUME		/* only evpub.resume() goes on */
} EvpubHindrance;

typedef struct EvpubWorker
{
	EvpubVerdict verdict;
	char	   *verdict_reason;
	TimestampTz verdict_at;
	EvpubPosition position;
	bool		streaming;		/* "stream" is set up */
	EvpubStream stream;
	EvpubGate	gate;

	/* the relay */
	EvpubRelay	relay;
	bool		hello;			/* it has greeted */
	EvpubHindrance hindrance;
	char		hindrance_text[EVPUB_TEXT_LENGTH];
	TimestampTz retry_at;
	int			failures;		/* in a row, for the backoff */
	uint64		relay_starts;
	char		trouble[EVPUB_TEXT_LENGTH]; /* as the relay tells; "" none */
	char		librdkafka_version[32];

	/* registry */
	uint64		generation;		/* that was last looked at */
	bool		requests_open;
	XLogRecPtr	retire_at;		/* nobody is registered: drop the slot when
								 * confirmed is past this */

	/* persistence */
	TimestampTz persisted_at;
	uint64		persisted_events;
	XLogRecPtr	persisted_restart;
	TimestampTz flushed_at;
	char		persist_problem[EVPUB_TEXT_LENGTH]; /* "" if the last write went well */

	char		last_error[EVPUB_TEXT_LENGTH];
	TimestampTz last_error_at;
	EvpubStatus before;			/* of the worker before us: counters go on */

	/* waiting */
	WaitEventSet *wait_set;
	pgsocket	wait_socket;	/* that is in the set */
	uint64		wait_relay;		/* which relay's it is, by relay_starts */
	uint32		wait_events;	/* on it */
	int			wait_position;	/* its place in the set */

	uint64		wakes_seen;		/* of the shared count, when this cycle began */

	/* pace: how many transactions come in a window of time */
	TimestampTz window_start;
	uint64		window_transactions;	/* read when it began */
	int			pace;			/* ms between reads; 0: read whenever woken */
	TimestampTz read_after;		/* with a pace: do not read WAL before */

	/* what the running relay was started with */
	char	   *relay_settings;
} EvpubWorker;

/* ---- persist.c ---- */

/*
 * Write state file, slot and position message if it is time, or if "force".
 * False if it was tried and failed; the reason is in persist_problem.
 */
extern bool evpub_worker_persist(EvpubWorker *worker, bool force);

/* Show where we are in shared memory; log a change of state. */
extern void evpub_worker_show(EvpubWorker *worker, EvpubState state, const char *reason);

/* Remember an error for evpub.status, and log it. */
extern void evpub_worker_error(EvpubWorker *worker, const char *text);

/* ---- supervise.c ---- */

/* Start, feed, listen to and end the relay, as far as it can go right now. */
extern void evpub_worker_supervise(EvpubWorker *worker);

/* End the relay; what is unconfirmed will be read again. */
extern void evpub_worker_end_relay(EvpubWorker *worker);

/* After a reload: give changed settings to a new relay. */
extern void evpub_worker_settings_changed(EvpubWorker *worker);

/* A person, or changed settings, say that what hindered may be over. */
extern void evpub_worker_retry_now(EvpubWorker *worker);

#endif							/* EVPUB_WORKERSTATE_H */
