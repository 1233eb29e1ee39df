/*
 * state.h
 *		The worker's state, which all its parts share, and what changes it.
 */
#ifndef EVPUB_STATE_H
#define EVPUB_STATE_H

#include "postgres.h"

#include "clock.h"
#include "figures.h"
#include "position/position.h"
#include "publisher/failures.h"
#include "publisher/holders.h"
#include "publisher/kafkafiles.h"
#include "publisher/verdict.h"
#include "reader/gate.h"
#include "reason.h"
#include "sender/relayclient.h"
#include "sender/stream.h"
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
	char		refused_id[EVPUB_ID_LENGTH + 1];	/* see refused.h; "" none */
	char		refused_reason[EVPUB_TEXT_LENGTH];
	EvpubFailure refused;		/* topic, partition, id and code */
	uint32		refused_topic;	/* its number */
	bool		letter_waits;	/* refused_id is a dead letter, not acknowledged */
	uint64		events_skipped;
	uint64		dead_lettered;
	int			failures;		/* in a row, for the backoff */
	uint64		relay_starts;
	uint64		relay_restarts;	/* of these, after a failure */
	EvpubStartCause start_cause;	/* of the next relay */
	EvpubKafkaFiles kafka_files;	/* that the relay has read */
	char		trouble[EVPUB_REASON_LENGTH]; /* as the relay reports it; "" none */
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
	bool		offsets_new;	/* the file lacks what the relay has reported */
	EvpubMsec	slot_moved_at;
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

	/* at a high rate, transactions are collected (waiting.c) */
	EvpubMsec	window_start;
	uint64		window_transactions;	/* read when it began */
	uint64		rate;			/* of transactions a second, in the last window */
	int			busy;			/* the processors were, then: see busy.h */
	int64		read_at;		/* last read of WAL, by the clock in microseconds */
	bool		collects;		/* that read has brought some */
	bool		unread;			/* this cycle has not read what came before it */

	EvpubHolders holders;		/* who holds back WAL */

	/* what the running relay was started with */
	char	   *relay_settings;
} EvpubWorker;

/* A new verdict; "reason" is copied.  The stream begins with EVPUB_PUBLISH. */
extern void evpub_state_set_verdict(EvpubWorker *worker, EvpubVerdict verdict,
									const char *reason);

/* End relay and stream. */
extern void evpub_state_end_streaming(EvpubWorker *worker);

/* Something hinders publishing: start a new relay after a pause. */
extern void evpub_state_hinder(EvpubWorker *worker, EvpubHindrance hindrance,
							   const char *text);

/* The same, with what evpub.failures says of it. */
extern void evpub_state_hinder_by(EvpubWorker *worker, EvpubHindrance hindrance,
								  EvpubFailure failure, const char *text);

/* End the relay; what is unconfirmed will be read again. */
extern void evpub_state_end_relay(EvpubWorker *worker);

/* A person, or changed settings, say that what hindered may be over. */
extern void evpub_state_retry_now(EvpubWorker *worker);

/*
 * Remember an error for evpub.status and evpub.failures, and log it; "text" may
 * carry a hint.  It is one of this server, which is tried again.
 */
extern void evpub_state_error(EvpubWorker *worker, const char *text);

/* The same, with what evpub.failures says of it. */
extern void evpub_state_error_by(EvpubWorker *worker, EvpubFailure failure,
								 const char *text);

/* The relay gives no sign of life. */
extern bool evpub_state_relay_silent(const EvpubWorker *worker);

/*
 * What evpub.status shows: the state, and the reason for it, which may carry a
 * hint (reason.h), or be NULL.  In memory of the current context or the worker's.
 */
extern EvpubState evpub_state_current(const EvpubWorker *worker, const char **reason);

/* The state's name. */
extern const char *evpub_state_name(const EvpubWorker *worker);

#endif							/* EVPUB_STATE_H */
