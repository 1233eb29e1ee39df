/*
 * shmem.h
 *		What the publisher and the backends share, and the calls by which
 *		backends reach the publisher.
 *
 * "lock" guards requests, everything that goes with registration, and
 * steering; "mutex" guards status.  The order is lock before mutex.  Atomics
 * stand alone, and figures.h, tablefigures.h and progress.h have locks of their own.
 * Only the worker writes status; only backends add requests and ask, only the worker
 * ends and answers them.
 */
#ifndef EVPUB_SHMEM_H
#define EVPUB_SHMEM_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#include "lost.h"
#include "names.h"

/* Names of these, for users: evpub_state_name. */
typedef enum EvpubState
{
	EVPUB_UNCONFIGURED,			/* no database registered, or no brokers set */
	EVPUB_STARTING,
	EVPUB_STREAMING,
	EVPUB_PAUSED,
	EVPUB_BLOCKED,				/* hindered by Kafka or the relay, and tries again */
	EVPUB_GAP,					/* WAL is missing or damaged: a person decides */
	EVPUB_FENCED,				/* may be a copy of a publisher: a person decides */
	EVPUB_STANDBY				/* in recovery */
} EvpubState;

typedef enum EvpubRequestState
{
	EVPUB_REQUEST_FREE,
	EVPUB_REQUEST_PENDING,
	EVPUB_REQUEST_GRANTED,		/* the slot is there; kept until xid has ended */
	EVPUB_REQUEST_FAILED		/* until the asker has read the error */
} EvpubRequestState;

/* What a person asks of the worker. */
typedef enum EvpubAsk
{
	EVPUB_ASK_PAUSE,
	EVPUB_ASK_RESUME,
	EVPUB_ASK_TAKE_OVER,
	EVPUB_ASK_ACCEPT_GAP,
	EVPUB_ASK_DISCARD,
	EVPUB_ASK_FORGET_TOPIC,
	EVPUB_ASK_SKIP_EVENT
} EvpubAsk;

#define EVPUB_MAX_REQUESTS 64
#define EVPUB_TEXT_LENGTH 512

/* A transaction that registers a database, and so needs the slot. */
typedef struct EvpubRequest
{
	EvpubRequestState state;
	TransactionId xid;			/* its top-level xid */
	uint64		publisher_id;	/* that the label will name; 0: the current one */
	char		error[EVPUB_TEXT_LENGTH];
	char		hint[EVPUB_TEXT_LENGTH];
} EvpubRequest;

/* What the worker did about it. */
typedef struct EvpubAnswer
{
	uint64		number;			/* of the question */
	int			sqlerrcode;		/* 0: done */
	bool		nothing_to_do;
	uint64		publisher_id;	/* the new one, or 0 */
	bool		gave_up;		/* "lost" says what */
	EvpubLost	lost;
	char		error[EVPUB_TEXT_LENGTH];
	char		detail[EVPUB_TEXT_LENGTH];
	char		hint[EVPUB_TEXT_LENGTH];
} EvpubAnswer;

/* Answers that stay readable, for those who are slow to read theirs. */
#define EVPUB_ANSWERS 8

/*
 * One question at a time: the next may be put when the last one is answered.
 * A question whose asker has given up is not acted upon, unless that has begun:
 * one who thinks that take_over() has failed may have another server take over.
 */
typedef struct EvpubSteering
{
	uint64		asked;			/* number of the last question */
	uint64		answered;
	uint64		withdrawn;		/* by its asker; no effect once it is begun */
	EvpubAsk	what;
	XLogRecPtr	lsn;
	char		subject[EVPUB_TOPIC_LENGTH];	/* topic to forget, event to skip */
	char		role[NAMEDATALEN];	/* of who asks */
	EvpubAnswer answers[EVPUB_ANSWERS]; /* by number, modulo */
} EvpubSteering;

/* A transaction that has logged events, and has not ended: it holds back WAL. */
typedef struct EvpubHolder
{
	TransactionId xid;			/* of one that is not prepared: may be a
								 * sub-transaction's */
	XLogRecPtr	lsn;			/* of its first chunk */
	bool		prepared;
} EvpubHolder;

#define EVPUB_MAX_HOLDERS 8

typedef struct EvpubStatus
{
	EvpubState	state;
	char		reason[EVPUB_TEXT_LENGTH];
	char		hint[EVPUB_TEXT_LENGTH];	/* what to do about it; "" none */
	TimestampTz since;
	uint64		publisher_id;	/* 0: none */
	TimeLineID	timeline;
	XLogRecPtr	restart_lsn;
	uint32		next_event;
	XLogRecPtr	confirmed_lsn;
	XLogRecPtr	read_lsn;
	XLogRecPtr	slot_lsn;		/* of the slot, what WAL is kept from */
	TimestampTz oldest_unconfirmed; /* commit time, 0: nothing unconfirmed */
	uint64		events_published;
	uint64		transactions_published;
	uint64		events_in_flight;
	uint64		forged_dropped;
	uint64		duplicates_dropped; /* found in Kafka by read-back */
	uint64		events_skipped; /* given up by skip_event() */
	uint64		dead_lettered;	/* acknowledged by the dead-letter topic */
	pid_t		relay_pid;		/* 0: none */
	uint64		relay_restarts;
	char		last_error[EVPUB_TEXT_LENGTH];
	TimestampTz last_error_at;
	char		librdkafka_version[32];
	bool		paused;
	int			nholders;
	EvpubHolder holders[EVPUB_MAX_HOLDERS]; /* the oldest first */
	char		small_topics[EVPUB_TEXT_LENGTH];	/* see smalltopics.h */
	bool		failed;			/* the worker has ended with an error */
} EvpubStatus;

typedef struct EvpubShared
{
	/* position in WAL that a committed transaction with events reaches */
	pg_atomic_uint64 wanted_lsn;

	/*
	 * Counts calls of evpub_wake_publisher().  The worker looks at it again
	 * after it has said that it wants to be woken, so it cannot miss one.
	 */
	pg_atomic_uint64 wakes;
	pg_atomic_uint32 wake_wanted;

	/* rises whenever the set of registered databases may have changed */
	pg_atomic_uint64 registry_generation;

	/*
	 * Transactions that may change that set, from their first change until
	 * they have ended and raised the generation.
	 */
	pg_atomic_uint32 registry_changers;

	/*
	 * Started to recover from an archive, from a base backup, or as a standby;
	 * set by the postmaster before anything else runs.
	 */
	bool		recovered;
	bool		standby;		/* as a standby without a recovery target */

	LWLock	   *lock;
	EvpubRequest requests[EVPUB_MAX_REQUESTS];
	EvpubSteering steering;

	slock_t		mutex;
	pid_t		worker_pid;		/* 0: not running */
	Latch	   *worker_latch;
	EvpubStatus status;

	/* broadcast when requests, state or the confirmed position change */
	ConditionVariable changed;
} EvpubShared;

/* NULL when not preloaded. */
extern EvpubShared *EvpubShmem;

extern const char *const evpub_state_names[];

/*
 * Register the hooks that reserve and set up shared memory.  What the publisher
 * knows of this start goes in by "fill_in", in the postmaster, whenever that is done.
 */
extern void evpub_shmem_init(void (*fill_in) (EvpubShared *));

/* True when loaded by shared_preload_libraries: shared memory exists. */
extern bool evpub_preloaded(void);

/* ERROR, with what to do, if it is not. */
extern void evpub_require_preloaded(void);

/*
 * Inform the publisher that a transaction with events has committed and is
 * visible.  lsn is the end of its commit record; the publisher flushes up to
 * it if the committer did not wait for the flush.  Does not throw; without
 * preloading it does nothing.
 */
extern void evpub_wake_publisher(XLogRecPtr lsn);

/* A consistent copy of the status. */
extern void evpub_shmem_status(EvpubStatus *status);

/* Set the worker's latch, if it runs. */
extern void evpub_shmem_wake(void);

#endif							/* EVPUB_SHMEM_H */
