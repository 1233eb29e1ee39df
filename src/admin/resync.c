/*
 * resync.c
 *		evpub.resync(): an event for each row that there is.
 *
 * For consumers that begin, or that are to be brought up to date.  Rows are
 * read in pages by key, and each page is committed with its events.  So nobody
 * waits long for a row, and what a cancelled call has published stays published.
 *
 * Two promises are kept beside live writes.  "resynced" of a row never comes
 * after the "deleted" that ended it, nor with values older than those of an
 * event before it: rows are locked until their events are committed (see
 * resync_query.c).  And each row whose events are all before "resync_started" is
 * published before "resync_finished": rows are read only after all is visible that
 * was committed before "resync_started" (settle.c).  So consumers may forget rows
 * that were not published in between.  Reading ends at the greatest key that is
 * there then.  Rows that come later have events of their own; to read those as well
 * might never end if writers are fast.
 *
 * In C and not in PL/pgSQL, because of rights: EXECUTE on the procedure is all
 * that a caller needs.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "admin/arguments.h"
#include "admin/filtertext.h"
#include "admin/resync.h"
#include "admin/settle.h"
#include "admin/triggers.h"
#include "capture/row.h"
#include "compat.h"
#include "registration.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(evpub_resync);

/* Attempts at one row that end with a serialization failure. */
#define MAX_FAILURES 100

/* A table, through all of its transactions. */
typedef struct Progress
{
	const EvpubResync *resync;
	Oid			relid;
	MemoryContext context;		/* as long as this */
	MemoryContext transaction;	/* reset with each transaction */
	Oid			trigger;		/* must not change meanwhile */
	int			key_columns;
	EvpubResyncKeyColumn *key;	/* nor may this: keys are kept as values of it */
	List	   *tenants;		/* EvpubSlice * */
	char	   *name;

	EvpubResyncKey after;		/* the last page ended here */
	MemoryContext after_context;
	EvpubResyncKey last;		/* the last page will end here */
	MemoryContext last_context;
	int			size;			/* of the next page */
	bool		wait;			/* for locks of others */
	long		waited;			/* ms, for the row that is next */
	int			failures;
	uint64		rows;
} Progress;

/* ---- what is asked for ---- */

static void
check_call(FunctionCallInfo fcinfo)
{
	Oid			capture;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("evpub.resync() cannot run inside a transaction block"),
				 errdetail("It commits after each batch."),
				 errhint("CALL it by itself, not between BEGIN and COMMIT, and not from a function.")));
	PreventCommandDuringRecovery("evpub.resync()");
	PreventCommandIfReadOnly("evpub.resync()");

	capture = LookupFuncName(list_make2(makeString("evpub"), makeString("capture")),
							 0, NULL, false);
	if (!evpub_may_execute(capture, GetUserId()))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, "capture");
	if (!evpub_capture_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no events are made while evpub.capture is off"),
				 errhint("SET evpub.capture = on.")));
}

/* In each transaction that makes events. */
static void
check_registered(void)
{
	if (!evpub_database_registered())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is not registered to publish"),
				 errhint("SELECT evpub.register_database(), if it is to publish.")));
}

static const char *
text_argument(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

static const char *
make_run(void)
{
	uint64		number;

	if (!pg_strong_random(&number, sizeof(number)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random number"),
				 errhint("Try again.")));
	return psprintf("%08x%08x", (uint32) (number >> 32), (uint32) number);
}

/* Arguments: rels, tenant, filter, batch, topic. */
static void
read_arguments(FunctionCallInfo fcinfo, EvpubResync *resync, Oid **rels, int *nrels)
{
	Datum	   *elements;
	bool	   *nulls;

	if (PG_ARGISNULL(0))
		evpub_refuse_null("rels");
	if (PG_ARGISNULL(3))
		evpub_refuse_null("batch");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), REGCLASSOID, sizeof(Oid), true,
					  TYPALIGN_INT, &elements, &nulls, nrels);
	*rels = palloc(Max(*nrels, 1) * sizeof(Oid));
	for (int i = 0; i < *nrels; i++)
	{
		if (nulls[i])
			evpub_refuse_null("a table in rels");
		(*rels)[i] = DatumGetObjectId(elements[i]);
	}
	resync->context = CurrentMemoryContext;
	resync->tenant = text_argument(fcinfo, 1);
	resync->filter = text_argument(fcinfo, 2);
	resync->batch = PG_GETARG_INT32(3);
	resync->topic = text_argument(fcinfo, 4);
	resync->run = make_run();
	if (resync->batch < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch must be at least 1"),
				 errhint("It is the number of rows that are committed together.")));
	if (resync->filter != NULL)
		(void) evpub_filtertext_parse(resync->filter, EVPUB_RESYNC_ROW);
}

/* ---- transactions ---- */

/*
 * Commit, and begin the next one.  READ COMMITTED whatever the default is: who
 * waited for a lock must see what the other has committed.
 */
static void
next_transaction(Progress *progress)
{
	SPI_commit();
	(void) set_config_option("transaction_isolation", "read committed",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
							 true, 0, false);
	if (progress != NULL)
		MemoryContextReset(progress->transaction);
}

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

static void
refuse_change(const EvpubResyncTable *table, bool of_key)
{
	const char *name = RelationGetRelationName(table->rel);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 of_key ? errmsg("key of table \"%s\" was changed meanwhile", name) :
			 errmsg("table \"%s\" was captured anew meanwhile", name),
			 errhint("Call evpub.resync() again.")));
}

/* What the key of a table is, in the current context. */
static EvpubResyncKeyColumn *
describe_key(const EvpubResyncTable *table)
{
	EvpubCapture *capture = table->capture;
	EvpubResyncKeyColumn *key = palloc0(capture->key_columns * sizeof(EvpubResyncKeyColumn));

	for (int i = 0; i < capture->key_columns; i++)
	{
		Form_pg_attribute attribute =
			TupleDescAttr(RelationGetDescr(table->rel),
						  capture->key_column[i].number - 1);

		key[i].number = attribute->attnum;
		key[i].type = attribute->atttypid;
		key[i].typmod = attribute->atttypmod;
		key[i].collation = attribute->attcollation;
	}
	return key;
}

static bool
same_key(const Progress *progress, const EvpubResyncTable *table)
{
	EvpubResyncKeyColumn *key = describe_key(table);

	if (progress->key_columns != table->capture->key_columns)
		return false;
	for (int i = 0; i < progress->key_columns; i++)
	{
		if (key[i].number != progress->key[i].number ||
			key[i].type != progress->key[i].type ||
			key[i].typmod != progress->key[i].typmod ||
			key[i].collation != progress->key[i].collation)
			return false;
	}
	return true;
}

/*
 * Open the table in a new transaction; its queries run next.  A policy that
 * hides rows is an error, since consumers would forget those rows.
 *
 * Between two transactions the table may be altered.  With another key, or with
 * another order of the same one, the key at which the last page ended would mean
 * something else, or not even be a value of its type.
 */
static void
begin_table(Progress *progress, EvpubResyncTable *table)
{
	EnsurePortalSnapshotExists();
	set_local("row_security", "off");
	MemoryContextSwitchTo(progress->transaction);
	evpub_resync_open(table, progress->resync, progress->relid);
	if (!OidIsValid(progress->trigger))
	{
		MemoryContextSwitchTo(progress->context);
		progress->trigger = table->trigger;
		progress->key_columns = table->capture->key_columns;
		progress->key = describe_key(table);
		MemoryContextSwitchTo(progress->transaction);
	}
	else if (progress->trigger != table->trigger)
		refuse_change(table, false);
	else if (!same_key(progress, table))
		refuse_change(table, true);
}

static void
end_table(Progress *progress, EvpubResyncTable *table)
{
	evpub_resync_close(table);
	MemoryContextSwitchTo(progress->context);
	next_transaction(progress);
}

/* All that can be wrong with a table, before anything is published. */
static void
check_table(const EvpubResync *resync, Oid relid)
{
	EvpubResyncTable table;
	EvpubResyncQuery query;
	EvpubResyncCursor cursor;
	AttrNumber *columns;

	set_local("row_security", "off");
	evpub_resync_open(&table, resync, relid);
	evpub_resync_check_key(&table);
	evpub_resync_query_rows(&query, &table, NULL, NULL, false, &columns);
	/* rights and policies are checked when it begins */
	evpub_resync_open_query(&cursor, &table, &query);
	evpub_resync_close_query(&cursor);
	(void) evpub_resync_mark(&table, "resync_started");
	evpub_resync_close(&table);
}

/* ---- rows ---- */

/*
 * How long to wait for a row, in ms.  Meanwhile we have the table locked, and
 * other rows of this key if it is not unique, so we may be part of a deadlock.
 * Whoever finds a deadlock fails, and that would be a writer.  So we let go after
 * half of deadlock_timeout, before anybody looks for one.
 */
static int
patience(void)
{
	int			most = Max(DeadlockTimeout / 2, 1);

	return LockTimeout > 0 ? Min(LockTimeout, most) : most;
}

/*
 * Somebody has a row of the page locked, or has moved it to another partition.
 * While we wait we must not hold locks on rows that others may want.  So pages get
 * smaller, down to a single row, and for that one we wait: again and again, each
 * time in a transaction of its own, until the caller's lock_timeout.
 */
static void
after_failure(Progress *progress, ErrorData *error, int waited)
{
	bool		locked = error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	bool		moved = error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE;

	progress->waited += waited;
	if (!locked && !moved)
		ReThrowError(error);
	if (locked && progress->wait && LockTimeout > 0 && progress->waited >= LockTimeout)
		ReThrowError(error);
	if (progress->size > 1)
		progress->size = Max(progress->size / 8, 1);
	else if (locked)
		progress->wait = true;
	else if (++progress->failures > MAX_FAILURES)
		ReThrowError(error);
	FreeErrorData(error);
}

/* Publish a page.  False if it has to be tried again. */
static bool
try_page(Progress *progress, EvpubResyncTable *table, EvpubResyncKey end)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile uint64 published = 0;
	ErrorData *volatile error = NULL;
	volatile int wait = progress->wait ? patience() : 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		if (wait > 0)
			set_local("lock_timeout", psprintf("%d", wait));
		published = evpub_resync_publish(table, progress->after, end, progress->wait);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;

	if (error != NULL)
	{
		after_failure(progress, error, wait);
		return false;
	}
	progress->rows += published;
	progress->size = (int) Min((int64) progress->size * 2, progress->resync->batch);
	progress->wait = false;
	progress->waited = 0;
	progress->failures = 0;
	return true;
}

/* The key that a query gives, in the current context; NULL if there is none. */
static EvpubResyncKey
read_key(const EvpubResyncTable *table, const EvpubResyncQuery *query)
{
	MemoryContext caller = CurrentMemoryContext;
	EvpubResyncCursor cursor;
	SPITupleTable *rows;
	EvpubResyncKey end = NULL;

	evpub_resync_open_query(&cursor, table, query);
	rows = evpub_resync_fetch(&cursor, 1);
	MemoryContextSwitchTo(caller);
	if (rows->numvals > 0)
	{
		TupleDesc	desc = rows->tupdesc;

		end = palloc(desc->natts * sizeof(Datum));
		for (int i = 0; i < desc->natts; i++)
		{
			Form_pg_attribute attribute = TupleDescAttr(desc, i);
			bool		isnull;
			Datum		value = SPI_getbinval(rows->vals[0], desc, i + 1, &isnull);

			/* key columns are NOT NULL, or the settings do not compile */
			if (isnull)
				elog(ERROR, "key column is null");
			if (attribute->attlen == -1)
				end[i] = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
			else
				end[i] = datumCopy(value, attribute->attbyval, attribute->attlen);
		}
	}
	SPI_freetuptable(rows);
	evpub_resync_close_query(&cursor);
	return end;
}

/* Keep a key beyond the transaction, in place of what the context has. */
static EvpubResyncKey
keep_key(const EvpubResyncTable *table, EvpubResyncKey key, MemoryContext context)
{
	MemoryContext caller;
	EvpubCapture *capture = table->capture;
	EvpubResyncKey kept;

	MemoryContextReset(context);
	caller = MemoryContextSwitchTo(context);
	kept = palloc(capture->key_columns * sizeof(Datum));
	for (int i = 0; i < capture->key_columns; i++)
	{
		Form_pg_attribute attribute =
			TupleDescAttr(RelationGetDescr(table->rel),
						  capture->key_column[i].number - 1);

		kept[i] = datumCopy(key[i], attribute->attbyval, attribute->attlen);
	}
	MemoryContextSwitchTo(caller);
	return kept;
}

/* The key at which the next page ends, in the current context; NULL: no more. */
static EvpubResyncKey
find_end(Progress *progress, EvpubResyncTable *table)
{
	EvpubResyncQuery query;
	EvpubResyncKey last;

	if (table->no_such_tenant)
		return NULL;
	if (progress->last == NULL)
	{
		evpub_resync_query_last(&query, table);
		last = read_key(table, &query);
		if (last == NULL)
			return NULL;
		progress->last = keep_key(table, last, progress->last_context);
	}
	evpub_resync_query_end(&query, table, progress->after, progress->last,
						   progress->size);
	return read_key(table, &query);
}

/* One transaction.  False if there are no rows any more. */
static bool
publish_next_page(Progress *progress)
{
	EvpubResyncTable table;
	EvpubResyncKey end;
	bool		more;

	begin_table(progress, &table);
	check_registered();
	/* pages are small, however many rows the planner believes in */
	set_local("enable_seqscan", "off");
	end = find_end(progress, &table);
	more = (end != NULL);
	if (more && try_page(progress, &table, end))
		progress->after = keep_key(&table, end, progress->after_context);
	end_table(progress, &table);
	return more;
}

/* ---- a table ---- */

static void
begin_progress(Progress *progress, const EvpubResync *resync, Oid relid)
{
	memset(progress, 0, sizeof(Progress));
	progress->resync = resync;
	progress->relid = relid;
	progress->size = resync->batch;
	progress->context = AllocSetContextCreate(resync->context, "evpub resync",
											  ALLOCSET_DEFAULT_SIZES);
	progress->transaction = AllocSetContextCreate(progress->context,
												  "evpub resync transaction",
												  ALLOCSET_DEFAULT_SIZES);
	progress->after_context = AllocSetContextCreate(progress->context,
													"evpub resync key",
													ALLOCSET_SMALL_SIZES);
	progress->last_context = AllocSetContextCreate(progress->context,
												   "evpub resync last key",
												   ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(progress->context);
}

static void
show_progress(const Progress *progress, EvpubResyncPhase phase)
{
	evpub_resync_show(progress->name, phase, progress->rows);
}

static void
resync_table(const EvpubResync *resync, Oid relid)
{
	EvpubResyncTable table;
	Progress	progress;

	begin_progress(&progress, resync, relid);
	begin_table(&progress, &table);
	progress.name = MemoryContextStrdup(progress.context,
										RelationGetRelationName(table.rel));
	evpub_resync_show_table(&table);
	show_progress(&progress, EVPUB_RESYNC_STARTING);
	progress.tenants = evpub_resync_tenants(&table, progress.context);
	check_registered();
	evpub_resync_put_marks(&table, progress.tenants, "resync_started");
	end_table(&progress, &table);

	show_progress(&progress, EVPUB_RESYNC_SETTLING);
	evpub_settle();
	show_progress(&progress, EVPUB_RESYNC_PUBLISHING);
	while (publish_next_page(&progress))
		show_progress(&progress, progress.wait ? EVPUB_RESYNC_LOCKED :
					  EVPUB_RESYNC_PUBLISHING);

	show_progress(&progress, EVPUB_RESYNC_FINISHING);
	begin_table(&progress, &table);
	check_registered();
	evpub_resync_put_marks(&table, progress.tenants, "resync_finished");
	end_table(&progress, &table);
	evpub_progress_resync_table_done();

	ereport(NOTICE,
			(errmsg("table \"%s\" resynced (rows: " UINT64_FORMAT ", tenants: %d)",
					progress.name, progress.rows,
					list_length(progress.tenants))));
	MemoryContextSwitchTo(resync->context);
	MemoryContextDelete(progress.context);
}

Datum
evpub_resync(PG_FUNCTION_ARGS)
{
	EvpubResync resync;
	Oid		   *rels;
	int			nrels;

	check_call(fcinfo);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	EnsurePortalSnapshotExists();
	read_arguments(fcinfo, &resync, &rels, &nrels);
	check_registered();
	evpub_progress_resync_begin(nrels);
	PG_TRY();
	{
		for (int i = 0; i < nrels; i++)
			check_table(&resync, rels[i]);

		next_transaction(NULL);
		for (int i = 0; i < nrels; i++)
			resync_table(&resync, rels[i]);
	}
	PG_FINALLY();
	{
		evpub_resync_show_end();
	}
	PG_END_TRY();
	SPI_finish();
	PG_RETURN_VOID();
}
