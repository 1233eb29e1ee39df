/*
 * stat.c
 *		What evpub.stat, stat_topics and stat_tables show, and evpub.stat_reset().
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "admin/result.h"
#include "figures.h"
#include "shmem.h"
#include "tablefigures.h"

PG_FUNCTION_INFO_V1(evpub_stat);
PG_FUNCTION_INFO_V1(evpub_stat_topics);
PG_FUNCTION_INFO_V1(evpub_stat_tables);
PG_FUNCTION_INFO_V1(evpub_stat_reset);

/* As 100 kB or more, not on the stack. */
static EvpubFigures *
copy_figures(void)
{
	EvpubFigures *copy = palloc(sizeof(EvpubFigures));

	evpub_figures_copy(copy);
	return copy;
}

static void
set_json(EvpubResult *row, const char *column, const char *text)
{
	evpub_result_set(row, column, JSONBOID,
					 DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

static void
set_refusals(EvpubResult *row, const EvpubFigureTotals *totals)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (int i = 0; i < totals->ncodes; i++)
		appendStringInfo(&text, "%s\"%d\": %llu", i > 0 ? ", " : "", totals->codes[i],
						 (unsigned long long) totals->refusals[i]);
	if (totals->other_refusals > 0)
		appendStringInfo(&text, ", \"others\": %llu",
						 (unsigned long long) totals->other_refusals);
	appendStringInfoChar(&text, '}');
	set_json(row, "refusals", text.data);
}

/* All causes, also those that have not come yet: a counter begins at zero. */
static void
set_relay_starts(EvpubResult *row, const EvpubFigureTotals *totals)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (int i = 0; i < EVPUB_START_CAUSES; i++)
		appendStringInfo(&text, "%s\"%s\": %llu", i > 0 ? ", " : "",
						 evpub_start_causes[i], (unsigned long long) totals->starts[i]);
	appendStringInfoChar(&text, '}');
	set_json(row, "relay_starts", text.data);
}

static void
set_latency(EvpubResult *row, const EvpubLatency *latency)
{
	static const char *const columns[] = {"latency_p50", "latency_p95", "latency_p99"};
	static const double shares[] = {0.50, 0.95, 0.99};
	double		seconds[lengthof(columns)];
	bool		any = evpub_latency_quantiles(latency, evpub_clock_now(), shares,
											  lengthof(columns), seconds);

	for (int i = 0; i < (int) lengthof(columns); i++)
		if (any)
			evpub_result_set(row, columns[i], FLOAT8OID, Float8GetDatum(seconds[i]));
		else
			evpub_result_set_null(row, columns[i]);
}

/* The one row of evpub.stat. */
Datum
evpub_stat(PG_FUNCTION_ARGS)
{
	EvpubResult *row = evpub_result_row(fcinfo);
	const EvpubFigures *figures = copy_figures();
	const EvpubFigureTotals *totals = &figures->totals;

	evpub_result_set_count(row, "events", totals->all.events);
	evpub_result_set_count(row, "transactions", totals->transactions);
	evpub_result_set_count(row, "bytes", totals->all.bytes);
	set_refusals(row, totals);
	set_relay_starts(row, totals);
	evpub_result_set_count(row, "gaps", totals->gaps);
	evpub_result_set_count(row, "dead_letters", totals->dead_letters);
	evpub_result_set_count(row, "duplicates_dropped", totals->duplicates);
	evpub_result_set_time(row, "last_acknowledged_at", totals->all.acknowledged_at);
	set_latency(row, &figures->latency);
	evpub_result_set_time(row, "stats_reset", totals->reset_at);
	PG_RETURN_DATUM(evpub_result_datum(row));
}

static void
put_topic(EvpubResult *row, const char *name, const EvpubFigureCounts *counts)
{
	evpub_result_set_text(row, "topic", name);
	evpub_result_set_count(row, "events", counts->events);
	evpub_result_set_count(row, "bytes", counts->bytes);
	evpub_result_set_time(row, "last_acknowledged_at", counts->acknowledged_at);
	evpub_result_put(row);
}

Datum
evpub_stat_topics(PG_FUNCTION_ARGS)
{
	EvpubResult *row = evpub_result_rows(fcinfo);
	const EvpubFigures *figures = copy_figures();

	for (int i = 0; i < figures->ntopics; i++)
		put_topic(row, figures->topics[i].name, &figures->topics[i].counts);
	if (figures->totals.others.events > 0)
		put_topic(row, NULL, &figures->totals.others);
	return (Datum) 0;
}

static void
put_table(EvpubResult *row, const EvpubTableFigures *figures)
{
	static const char *const columns[EVPUB_TABLE_OPS] =
	{"created", "updated", "deleted", "truncated", "resynced"};

	if (OidIsValid(figures->table))
		evpub_result_set(row, "relation", OIDOID, ObjectIdGetDatum(figures->table));
	else
		evpub_result_set_null(row, "relation");
	for (int i = 0; i < EVPUB_TABLE_OPS; i++)
		evpub_result_set_count(row, columns[i], figures->events[i]);
	evpub_result_put(row);
}

/*
 * Has pg_class or pg_database no such row?  The syscache may know of none although it is
 * there now: a commit is visible, and its events are counted, before its invalidation
 * messages are sent.  So what the syscache has not is looked for in the catalog itself,
 * by a snapshot that is taken after the figures were.
 */
static bool
has_no_row(int cache, Oid catalog, Oid index, AttrNumber oid_column, Oid oid)
{
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;
	bool		found;

	if (SearchSysCacheExists1(cache, ObjectIdGetDatum(oid)))
		return false;
	rel = table_open(catalog, AccessShareLock);
	ScanKeyInit(&key, oid_column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, index, true, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return !found;
}

/* Is this table, or the database that it is in, gone? */
static bool
is_gone(const EvpubTableFigures *figures)
{
	if (!OidIsValid(figures->table))
		return false;
	if (figures->database == MyDatabaseId)
		return has_no_row(RELOID, RelationRelationId, ClassOidIndexId,
						  Anum_pg_class_oid, figures->table);
	return has_no_row(DATABASEOID, DatabaseRelationId, DatabaseOidIndexId,
					  Anum_pg_database_oid, figures->database);
}

/*
 * Of this database, and the row of all tables that have no place of their own.  What is
 * gone loses its place now: whoever counts has no access to the catalogs.
 */
Datum
evpub_stat_tables(PG_FUNCTION_ARGS)
{
	EvpubResult *row = evpub_result_rows(fcinfo);
	int			count;
	EvpubTableFigures *figures = evpub_tablefigures_copy(&count);
	int			gone = 0;

	/* whoever has counted by now is visible to a snapshot that is taken from now on */
	InvalidateCatalogSnapshot();
	for (int i = 0; i < count; i++)
	{
		if (is_gone(&figures[i]))
			figures[gone++] = figures[i];
		else if (!OidIsValid(figures[i].table) || figures[i].database == MyDatabaseId)
			put_table(row, &figures[i]);
	}
	/* a table that this transaction itself drops is back after a rollback */
	if (gone > 0 && !TransactionIdIsValid(GetTopTransactionIdIfAny()))
		evpub_tablefigures_forget(figures, gone);
	return (Datum) 0;
}

Datum
evpub_stat_reset(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	evpub_require_preloaded();
	evpub_tablefigures_reset();
	evpub_figures_reset();

	/* it writes them, so that a crash does not bring back those of before */
	evpub_shmem_wake();
	PG_RETURN_VOID();
}
