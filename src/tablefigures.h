/*
 * tablefigures.h
 *		How many events were captured, by table and operation: view evpub.stat_tables.
 *
 * The figures are in a hash table in shared memory with a lock of its own.  A backend
 * that has committed events adds them once: it takes the lock in shared mode and adds
 * atomically, and only for a table that has no place yet in exclusive mode.  Nobody who
 * holds the lock takes another one, waits, or reads or writes a file.
 */
#ifndef EVPUB_TABLEFIGURES_H
#define EVPUB_TABLEFIGURES_H

#include "postgres.h"

#include "storage/lwlock.h"

/* So many tables have figures of their own; all others have theirs together. */
#define EVPUB_FIGURE_TABLES 8192

/* Operations by number, as capture/captured.h has them. */
#define EVPUB_TABLE_OPS 5

/* Events of one table and operation. */
typedef struct EvpubTableCount
{
	Oid			table;			/* where it was captured */
	uint32		op;
	uint64		events;
} EvpubTableCount;

/* What is known of one table; database and table are 0: of all without a place. */
typedef struct EvpubTableFigures
{
	Oid			database;
	Oid			table;
	uint64		events[EVPUB_TABLE_OPS];
} EvpubTableFigures;

/* For shmem.c: how much room; and to make it or to find it, in each process. */
extern Size evpub_tablefigures_size(void);
extern void evpub_tablefigures_attach(LWLock *lock);

/*
 * A transaction of this database has committed these.  Does not throw; without
 * preloading it does nothing.
 */
extern void evpub_tablefigures_add(const EvpubTableCount *counts, int ncounts);

/*
 * All figures, of all databases, and how many they are; palloc'd.  They are not of one
 * moment: a transaction may be in those of one table, and not yet in those of another.
 */
extern EvpubTableFigures *evpub_tablefigures_copy(int *count);

/* Counts changes, to see whether there were any. */
extern uint64 evpub_tablefigures_changes(void);

/*
 * What was kept over a restart: it is added to what there is, once, and not after a
 * reset, since then nobody wants it any more.
 */
extern void evpub_tablefigures_load(const EvpubTableFigures *figures, int count);

/* These tables or databases are no more: give their places back. */
extern void evpub_tablefigures_forget(const EvpubTableFigures *figures, int count);

/* Count anew from now on. */
extern void evpub_tablefigures_reset(void);

#endif							/* EVPUB_TABLEFIGURES_H */
