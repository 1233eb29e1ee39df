/*
 * progress.h
 *		How far long work is: views evpub.stat_progress_resync and
 *		evpub.stat_progress_catchup.
 *
 * PostgreSQL has such figures in each backend's entry, for a fixed set of its own
 * commands.  So evpub has them in shared memory of its own: a fixed number of places
 * for calls of evpub.resync(), and one for the publisher.  A place has one writer, and
 * a spinlock: whoever reads copies the whole, and sees no half of a change.
 *
 * Nobody who holds such a lock calls anything, so it may be taken whatever else is held.
 */
#ifndef EVPUB_PROGRESS_H
#define EVPUB_PROGRESS_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "clock.h"

/* ---- calls of evpub.resync() ---- */

/* So many calls have a row.  More of them run all the same. */
#define EVPUB_RESYNC_PLACES 16

/* Names of these, for users: evpub_resync_phases. */
typedef enum EvpubResyncPhase
{
	EVPUB_RESYNC_CHECKING,		/* all tables, before anything is published */
	EVPUB_RESYNC_STARTING,		/* the table's tenants, and "resync_started" */
	EVPUB_RESYNC_SETTLING,		/* for commits that are not visible to all yet */
	EVPUB_RESYNC_PUBLISHING,	/* rows */
	EVPUB_RESYNC_LOCKED,		/* somebody has the next row locked */
	EVPUB_RESYNC_FINISHING		/* "resync_finished" */
} EvpubResyncPhase;

extern const char *const evpub_resync_phases[];

typedef struct EvpubResyncProgress
{
	pid_t		pid;			/* 0: nobody has this place */
	Oid			role;			/* of the session */
	Oid			database;
	int			tables_done;
	int			tables_total;
	TimestampTz started_at;		/* of the call */

	/* the table that it is at */
	Oid			relid;			/* invalid: none yet */
	EvpubResyncPhase phase;
	uint64		rows_done;		/* published and committed */
	int64		rows_total;		/* about so many; -1: not known */
	EvpubMsec	rows_since;		/* rows are published since then; 0: not yet */
} EvpubResyncProgress;

/* This backend's call begins; the place is given back by "end", or with the backend. */
extern void evpub_progress_resync_begin(int tables);
extern void evpub_progress_resync_end(void);

/* It begins with a table, is so far with it, and is done with it. */
extern void evpub_progress_resync_table(Oid relid, int64 rows_total);
extern void evpub_progress_resync_phase(EvpubResyncPhase phase, uint64 rows_done);
extern void evpub_progress_resync_table_done(void);

/* Copies of all places that are taken; returns how many. */
extern int	evpub_progress_resyncs(EvpubResyncProgress copies[EVPUB_RESYNC_PLACES]);

/* ---- the publisher, while it catches up ---- */

/* Kept at a distance of a second or more, so that they cover ten seconds. */
#define EVPUB_CATCHUP_SAMPLES 12

typedef struct EvpubCatchupSample
{
	EvpubMsec	at;
	XLogRecPtr	confirmed_lsn;
	XLogRecPtr	end_lsn;		/* of flushed WAL */
} EvpubCatchupSample;

typedef struct EvpubCatchup
{
	bool		behind;			/* else nothing else here counts */
	TimestampTz behind_since;
	XLogRecPtr	from_lsn;		/* that was confirmed then */
	int			nsamples;
	EvpubCatchupSample samples[EVPUB_CATCHUP_SAMPLES];	/* the oldest first */
} EvpubCatchup;

/* Only the worker writes it.  It outlives the worker, as the backlog does. */
extern void evpub_progress_write_catchup(const EvpubCatchup *catchup);
extern void evpub_progress_read_catchup(EvpubCatchup *catchup);

/* ---- for shmem.c ---- */

extern Size evpub_progress_size(void);
extern void evpub_progress_attach(void *memory, bool found);

#endif							/* EVPUB_PROGRESS_H */
