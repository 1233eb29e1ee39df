/*
 * resync.h
 *		What evpub.resync() was asked for, and a table while it is at work on it.
 */
#ifndef EVPUB_ADMIN_RESYNC_H
#define EVPUB_ADMIN_RESYNC_H

#include "postgres.h"

#include "executor/spi.h"
#include "nodes/pg_list.h"
#include "utils/portal.h"
#include "utils/rel.h"

#include "capture/captured.h"
#include "capture/options.h"
#include "progress.h"

/* How rows are named in the filter: it replaces {row}. */
#define EVPUB_RESYNC_ROW "_evpub_row"

/* Rows taken from a query at a time. */
#define EVPUB_RESYNC_FETCH 100

/* What was asked for; lives through all transactions of the call. */
typedef struct EvpubResync
{
	MemoryContext context;
	const char *tenant;			/* NULL: all */
	const char *filter;			/* NULL: all rows */
	const char *topic;			/* NULL: that of each table */
	int			batch;
	const char *run;			/* id that all marks of the call carry */
} EvpubResync;

/* Key of the row where a batch ended; NULL before the first. */
typedef Datum *EvpubResyncKey;

/* Of a column of the key, what must be the same for keys to be compared. */
typedef struct EvpubResyncKeyColumn
{
	AttrNumber	number;
	Oid			type;
	int32		typmod;
	Oid			collation;
} EvpubResyncKeyColumn;

/* A captured table in one transaction, open and locked. */
typedef struct EvpubResyncTable
{
	const EvpubResync *resync;
	Relation	rel;
	Oid			trigger;		/* its settings are used */
	EvpubOptions options;		/* of that trigger, but for the topic */
	EvpubCapture *capture;
	Node	   *condition;		/* of that trigger, on OLD and NEW; or NULL */

	/* the tenant that was asked for, as the table has it */
	bool		no_such_tenant; /* no row of the table can be its */
	bool		tenant_by_value;	/* the column must be equal to this */
	Datum		tenant_value;
	EvpubSlice	tenant;			/* as events name it */
} EvpubResyncTable;

/* Who was at work before the table's owner is. */
typedef struct EvpubResyncAs
{
	Oid			user;
	int			context;
	int			nest;
} EvpubResyncAs;

/* ---- the table (resync_table.c) ---- */

/*
 * The table's condition, the checks of its domains and its casts to json are the
 * code of its owner, and run with his rights, not with those of whoever calls
 * resync; settings that it changes are as before at the end.  After an error the
 * end of the (sub)transaction does that.
 */
extern void evpub_resync_as_owner(const EvpubResyncTable *table, EvpubResyncAs *as);
extern void evpub_resync_as_caller(const EvpubResyncAs *as);

/*
 * Open a captured table, which the caller owns, and compile its settings into
 * memory of the current context; ERROR if its rows cannot be published.
 */
extern void evpub_resync_open(EvpubResyncTable *table, const EvpubResync *resync,
							  Oid relid);
extern void evpub_resync_close(EvpubResyncTable *table);

/*
 * The settings by which a mark is made: those of rows, with type
 * "<table>.<event>", and a key that has no row in it.  NULL if the envelope
 * gives consumers no way to know it from a row.
 */
extern EvpubCapture *evpub_resync_mark(const EvpubResyncTable *table,
									   const char *event);

/* ---- queries (resync_query.c) ---- */

/* A query and its parameters, for SPI. */
typedef struct EvpubResyncQuery
{
	StringInfoData text;
	int			nargs;
	Oid		   *types;
	Datum	   *values;
} EvpubResyncQuery;

/*
 * A query that runs.  All of it runs with the rights of the caller, but for the
 * functions of the table's owner, which run with his (guard.h).
 */
typedef struct EvpubResyncCursor
{
	Portal		portal;
	Oid			owner;
	List	   *functions;		/* those that the query names */
} EvpubResyncCursor;

extern void evpub_resync_open_query(EvpubResyncCursor *cursor,
									const EvpubResyncTable *table,
									const EvpubResyncQuery *query);

/* The next rows, at most "count".  For SPI_freetuptable(). */
extern SPITupleTable *evpub_resync_fetch(const EvpubResyncCursor *cursor, int count);
extern void evpub_resync_close_query(const EvpubResyncCursor *cursor);

/* ERROR if rows cannot be read in the order of their keys. */
extern void evpub_resync_check_key(const EvpubResyncTable *table);

/* Tenants of all rows asked for, as values of the tenant's column. */
extern void evpub_resync_query_tenants(EvpubResyncQuery *query,
									   const EvpubResyncTable *table);

/* The greatest key. */
extern void evpub_resync_query_last(EvpubResyncQuery *query,
									const EvpubResyncTable *table);

/* The last key of the "size" rows that follow "after", up to "last". */
extern void evpub_resync_query_end(EvpubResyncQuery *query,
								   const EvpubResyncTable *table,
								   EvpubResyncKey after, EvpubResyncKey last,
								   int size);

/*
 * The rows that follow "after" up to "end", locked.  "columns" gets the
 * attribute numbers of the result, zero-terminated.  Without "wait", ERROR
 * (lock_not_available) if somebody has one of them locked.
 */
extern void evpub_resync_query_rows(EvpubResyncQuery *query,
									const EvpubResyncTable *table,
									EvpubResyncKey after, EvpubResyncKey end,
									bool wait, AttrNumber **columns);

/* ---- rows (resync_rows.c) ---- */

/*
 * Lock each row after "after" up to "end", and publish it; returns how many.
 */
extern uint64 evpub_resync_publish(EvpubResyncTable *table, EvpubResyncKey after,
								EvpubResyncKey end, bool wait);

/* ---- tenants and marks (resync_marks.c) ---- */

/*
 * The tenants of the rows that are there, as a list of EvpubSlice * in the
 * order of their bytes, in a context; or the one that was asked for.
 */
extern List *evpub_resync_tenants(EvpubResyncTable *table, MemoryContext context);
extern void evpub_resync_put_marks(EvpubResyncTable *table, List *tenants,
								   const char *event);

/* ---- progress (resync_progress.c) ---- */

/* The call begins with this table. */
extern void evpub_resync_show_table(const EvpubResyncTable *table);

/* It is in this phase; so many rows of the table are published and committed. */
extern void evpub_resync_show(const char *name, EvpubResyncPhase phase, uint64 rows);

/* The call has ended, maybe by an error. */
extern void evpub_resync_show_end(void);

#endif							/* EVPUB_ADMIN_RESYNC_H */
