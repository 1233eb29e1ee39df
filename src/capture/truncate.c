/*
 * truncate.c
 *		Events of TRUNCATE.
 *
 * TRUNCATE calls no trigger for the rows that it takes away.  So the table is read
 * before, and each tenant that has rows in it gets one event.  It is read directly,
 * with the newest snapshot: SQL would not see rows that row security hides, nor
 * under REPEATABLE READ what others have committed meanwhile, and TRUNCATE
 * takes those, too.  The table is locked exclusively by then.
 *
 * A statement trigger stands only on the table that was captured.  A single
 * partition that is truncated is seen by the object access hook, which is
 * called for every table that TRUNCATE takes.  The tenants of a partition may have
 * rows in other partitions, and consumers would drop those, too, if they got
 * "truncated".  So each row of the partition is published as deleted.
 *
 * PostgreSQL calls that hook for a table that the statement names before it waits
 * for the lock, and looks the name up again afterwards: the table may have been
 * renamed, dropped, or become a partition meanwhile.  So the names are looked up
 * and locked here first, in the same way and order, before the statement runs.
 * When the hook is called, the tables are locked, and are those that go.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "capture/captures.h"
#include "capture/catalog.h"
#include "capture/row.h"
#include "capture/tenants.h"
#include "capture/truncate.h"
#include "compat.h"
#include "registration.h"
#include "settings.h"

static object_access_hook_type next_object_access_hook = NULL;

/*
 * The table whose TRUNCATE was published last, with all partitions below it, and
 * which command that was.  Transactions of one query string have the same start
 * time, so the session's own number of the transaction is kept.  The
 * subtransaction is kept for a TRUNCATE that failed in a block with an exception:
 * its events are gone, and the next TRUNCATE may be the same command.  Otherwise a
 * later statement is the same command only if nothing was written in between; then
 * the partition has no rows any more.
 */
static Oid	published_table = InvalidOid;
static LocalTransactionId published_in_transaction = InvalidLocalTransactionId;
static SubTransactionId published_within = InvalidSubTransactionId;
static CommandId published_by = 0;

/* A TRUNCATE runs whose tables are locked. */
static bool tables_are_locked = false;
static ProcessUtility_hook_type next_process_utility = NULL;

/* ---- reading what goes away ---- */

typedef void (*RowCallback) (EvpubCapture *capture, Relation rel,
							 TupleTableSlot *slot, EvpubTenants *seen);

/* In a context that is emptied with each row, but for what "seen" keeps. */
static void
each_row(EvpubCapture *capture, Relation rel, RowCallback callback,
		 EvpubTenants *seen)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext per_row = AllocSetContextCreate(caller, "evpub truncate",
												  ALLOCSET_DEFAULT_SIZES);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(per_row);
		MemoryContextSwitchTo(per_row);
		callback(capture, rel, slot, seen);
		MemoryContextSwitchTo(caller);
		if (seen != NULL && !capture->has_tenant_column &&
			evpub_tenants_count(seen) > 0)
			break;				/* there are no others */
	}
	MemoryContextDelete(per_row);
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
}

/* Put the row's tenant into the set, and an event for a new one. */
static void
publish_tenant(EvpubCapture *capture, Relation rel, TupleTableSlot *slot,
			EvpubTenants *seen)
{
	EvpubRow	row;
	const EvpubSlice *tenant;

	(void) rel;
	evpub_row_tenant(&row, capture, slot);
	if (!row.has_tenant)
		return;
	tenant = evpub_tenants_add(seen, row.tenant);
	if (tenant != NULL)
		evpub_tenant_event(capture, EVPUB_CHANGE_TRUNCATE, *tenant, (EvpubSlice) {NULL, 0});
}

static void
publish_deleted(EvpubCapture *capture, Relation rel, TupleTableSlot *slot,
			 EvpubTenants *seen)
{
	EvpubRow	row;

	(void) seen;
	(void) rel;
	evpub_row_render_unchecked(&row, capture, slot);

	/* a row without a tenant cannot have been published */
	if (row.has_tenant)
		evpub_row_event(capture, EVPUB_CHANGE_DELETE, &row);
}

static void
refuse_truncate(const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot truncate captured table \"%s\"", table),
			 errdetail("With these settings there is no event for what TRUNCATE takes away."),
			 errhint("Use DELETE, or capture the table with another on_truncate.")));
}

/* The table itself, or the partitions that have its rows. */
static void
publish_truncate(const Trigger *trigger, Relation rel, RowCallback callback,
			  EvpubTenants *seen)
{
	EvpubCapture *capture = evpub_captures_get(trigger, rel);
	ListCell   *cell;

	if (capture->on_truncate == EVPUB_TRUNCATE_IGNORE)
		return;
	if (capture->on_truncate == EVPUB_TRUNCATE_ERROR)
		refuse_truncate(RelationGetRelationName(rel));

	foreach(cell, find_all_inheritors(RelationGetRelid(rel), NoLock, NULL))
	{
		EvpubCapture *of_leaf = capture;
		Relation	leaf;

		/*
		 * A table that inherits has its own capture, and with ONLY it is not
		 * even locked.  Nor can it become a partition: it inherits already.
		 */
		if (lfirst_oid(cell) != RelationGetRelid(rel) &&
			!get_rel_relispartition(lfirst_oid(cell)))
			continue;
		leaf = table_open(lfirst_oid(cell), AccessExclusiveLock);
		if (lfirst_oid(cell) != RelationGetRelid(rel))
			of_leaf = evpub_captures_of_partition(trigger, leaf, capture->root);
		if (RELKIND_HAS_TABLE_AM(leaf->rd_rel->relkind))
			each_row(of_leaf, leaf, callback, seen);
		table_close(leaf, NoLock);
	}
}

void
evpub_truncate_capture(const Trigger *trigger, Relation rel)
{
	publish_truncate(trigger, rel, publish_tenant, evpub_tenants_create());
}

/* ---- single partitions ---- */

/* As TriggerEnabled() does, which looks only at triggers that are called. */
static bool
fires(char enabled)
{
	return enabled == TRIGGER_FIRES_ALWAYS ||
		enabled == (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA ?
					TRIGGER_FIRES_ON_REPLICA : TRIGGER_FIRES_ON_ORIGIN);
}

/*
 * Is there a capture trigger that fires?  *root gets the captured table, or
 * InvalidOid for a partition.  Looks into the catalog, because the relation may
 * not be locked yet.
 */
static bool
find_capture(Oid relid, Oid capture, Oid *root)
{
	List	   *triggers = evpub_catalog_triggers(relid);
	bool		found = false;
	ListCell   *cell;

	foreach(cell, triggers)
	{
		Form_pg_trigger trigger = lfirst(cell);

		if (found || trigger->tgfoid != capture || !fires(trigger->tgenabled))
			continue;
		found = true;
		*root = OidIsValid(trigger->tgparentid) ? InvalidOid : relid;
	}
	list_free_deep(triggers);
	return found;
}

static void
remember_published(Oid relid)
{
	published_table = relid;
	published_in_transaction = evpub_local_transaction();
	published_within = GetCurrentSubTransactionId();
	published_by = GetCurrentCommandId(false);
}

/*
 * Has the same statement published this partition already, since it named it twice
 * in a row, or a table above it just before?  If it did so earlier, the rows are
 * published as deleted once more, which changes nothing.
 */
static bool
is_published(Oid relid)
{
	ListCell   *cell;

	if (!OidIsValid(published_table) || published_by != GetCurrentCommandId(false) ||
		published_within != GetCurrentSubTransactionId() ||
		published_in_transaction != evpub_local_transaction())
		return false;
	if (relid == published_table)
		return true;
	foreach(cell, get_partition_ancestors(relid))
	{
		if (lfirst_oid(cell) == published_table)
			return true;
	}
	return false;
}

/*
 * Once for each capture: those with a filter have several triggers, and somebody
 * may have made two by hand.
 */
static void
truncate_partition(Oid relid, Oid function)
{
	Relation	rel;
	TriggerDesc *triggers;
	List	   *done = NIL;		/* uint64 * */

	/*
	 * TRUNCATE has locked it so, or will, if it did not come through our hook;
	 * then it has not checked this yet, and finds the table gone as we do.
	 */
	if (!evpub_is_locked(relid, AccessExclusiveLock) &&
		pg_class_aclcheck(relid, GetUserId(), ACL_TRUNCATE) != ACLCHECK_OK)
		return;
	rel = try_table_open(relid, AccessExclusiveLock);
	if (rel == NULL)
		return;
	/* the relation's own may be built anew meanwhile */
	triggers = CopyTriggerDesc(rel->trigdesc);
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];
		EvpubCapture *capture;
		bool		known = false;
		ListCell   *cell;

		if (trigger->tgfoid != function || !fires(trigger->tgenabled))
			continue;
		capture = evpub_captures_get(trigger, rel);
		foreach(cell, done)
		{
			if (*(uint64 *) lfirst(cell) == capture->identity)
				known = true;
		}
		if (known)
			continue;
		done = lappend(done, memcpy(palloc(sizeof(uint64)), &capture->identity,
									sizeof(uint64)));
		publish_truncate(trigger, rel, publish_deleted, NULL);
	}
	table_close(rel, NoLock);
}

/*
 * The name now means another table than the one that was locked under it.  That
 * takes a schema that was renamed, or a new table in a schema that comes earlier in
 * search_path.  Rows of the first table may be published as deleted by now.
 */
static void
refuse_other_table(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("table \"%s\" came under the name of another one while TRUNCATE waited for it",
					get_rel_name(relid)),
			 errhint("Try again.")));
}

static void
check_truncate(Oid relid)
{
	Oid			capture;
	Oid			root = InvalidOid;

	if (!evpub_capture_enabled)
		return;
	if (tables_are_locked && !evpub_is_locked(relid, AccessExclusiveLock))
		refuse_other_table(relid);
	capture = evpub_capture_function();
	if (!OidIsValid(capture) || !find_capture(relid, capture, &root))
		return;
	if (OidIsValid(root))
		remember_published(root);	/* by its own statement trigger */
	else if (!is_published(relid) && evpub_database_registered())
	{
		truncate_partition(relid, capture);
		remember_published(relid);
	}
}

static void
access_object(ObjectAccessType access, Oid classid, Oid objid, int subid,
			  void *arg)
{
	if (next_object_access_hook != NULL)
		next_object_access_hook(access, classid, objid, subid, arg);
	if (access == OAT_TRUNCATE && classid == RelationRelationId)
		check_truncate(objid);
}

/* ---- the lock before ---- */

/* What ExecuteTruncate() asks of a table before it waits for it, and no more. */
static void
check_named(const RangeVar *name, Oid relid, Oid before, void *arg)
{
	AclResult	result;
	char		kind;

	(void) before;
	(void) arg;
	if (!OidIsValid(relid))
		return;					/* the caller throws */
	kind = get_rel_relkind(relid);
	if (kind == '\0')
		return;					/* dropped meanwhile; the name is looked up again */
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE &&
		kind != RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", name->relname)));
	/* do not wait for everybody only to be refused then */
	if (!allowSystemTableMods && IsCatalogRelationOid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied: \"%s\" is a system catalog", name->relname)));
	result = pg_class_aclcheck(relid, GetUserId(), ACL_TRUNCATE);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, get_relkind_objtype(kind), name->relname);
}

/*
 * Also tables that are not captured: one may become a partition of a captured
 * table while we wait.  PostgreSQL would lock them a moment later in any case.
 */
static void
lock_named(const TruncateStmt *truncate)
{
	ListCell   *cell;

	foreach(cell, truncate->relations)
		(void) RangeVarGetRelidExtended(lfirst_node(RangeVar, cell),
										AccessExclusiveLock, 0, check_named, NULL);
}

static void
process_utility(PlannedStmt *planned, const char *query, bool read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *destination,
				QueryCompletion *completion)
{
	bool		outer = tables_are_locked;
	bool		truncates = IsA(planned->utilityStmt, TruncateStmt) &&
		evpub_capture_enabled && !XactReadOnly && !RecoveryInProgress() &&
		OidIsValid(evpub_capture_function());

	/* where it is refused, PostgreSQL says so */
	if (truncates)
		lock_named((TruncateStmt *) planned->utilityStmt);
	if (!truncates && !outer)
	{
		next_process_utility(planned, query, read_only, context, params, environment,
							 destination, completion);
		return;
	}

	/* a trigger of the outer TRUNCATE may run statements of its own */
	tables_are_locked = truncates;
	PG_TRY();
	{
		next_process_utility(planned, query, read_only, context, params, environment,
							 destination, completion);
	}
	PG_FINALLY();
	{
		tables_are_locked = outer;
	}
	PG_END_TRY();
}

void
evpub_truncate_init(void)
{
	next_process_utility = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = process_utility;
	next_object_access_hook = object_access_hook;
	object_access_hook = access_object;
}
