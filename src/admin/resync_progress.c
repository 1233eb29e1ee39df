/*
 * resync_progress.c
 *		How far a call of evpub.resync() is, for others to see: view
 *		evpub.stat_progress_resync, and pg_stat_activity.query.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "nodes/pg_list.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "admin/resync.h"

/* -1 if neither VACUUM nor ANALYZE has counted. */
static double
tuples_of(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	double		tuples = -1;

	/* a partition may be dropped meanwhile */
	if (HeapTupleIsValid(tuple))
	{
		tuples = ((Form_pg_class) GETSTRUCT(tuple))->reltuples;
		ReleaseSysCache(tuple);
	}
	return tuples;
}

/*
 * About how many rows there are to publish; -1: not known.  Of a tenant, or of what a
 * filter of the call or of the capture lets through, the catalogs do not know it.  A
 * partitioned table has its rows in its leaves, which autovacuum counts, and not the
 * table itself.  No lock is taken on them: an estimate is not worth a wait.
 */
static int64
estimate(const EvpubResyncTable *table)
{
	List	   *leaves;
	double		sum = 0;
	ListCell   *cell;

	if (table->resync->tenant != NULL || table->resync->filter != NULL ||
		table->condition != NULL)
		return -1;
	if (table->rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return (int64) tuples_of(RelationGetRelid(table->rel));
	leaves = find_all_inheritors(RelationGetRelid(table->rel), NoLock, NULL);
	foreach(cell, leaves)
	{
		double		tuples;

		if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_PARTITIONED_TABLE)
			continue;
		tuples = tuples_of(lfirst_oid(cell));
		if (tuples < 0)
			return -1;
		sum += tuples;
	}
	return (int64) sum;
}

void
evpub_resync_show_table(const EvpubResyncTable *table)
{
	evpub_progress_resync_table(RelationGetRelid(table->rel), estimate(table));
}

static const char *
statement(void)
{
	return debug_query_string ? debug_query_string : "CALL evpub.resync";
}

/*
 * In front of the statement, since pg_stat_activity cuts off its end: of a long one
 * nothing would be seen behind it.
 */
void
evpub_resync_show(const char *name, EvpubResyncPhase phase, uint64 rows)
{
	char	   *text;

	evpub_progress_resync_phase(phase, rows);
	text = psprintf("/* table %s: " UINT64_FORMAT " rows */ %s", name, rows, statement());
	pgstat_report_activity(STATE_RUNNING, text);
	pfree(text);
}

/*
 * The statement may be a block that goes on when the call has ended, or has failed.
 * To be called where an error may be on its way, too: nothing here raises one.
 */
void
evpub_resync_show_end(void)
{
	evpub_progress_resync_end();
	pgstat_report_activity(STATE_RUNNING, statement());
}
