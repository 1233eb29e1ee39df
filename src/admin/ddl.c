/*
 * ddl.c
 *		Refuses DDL that a captured table's settings do not survive.
 *
 * The settings name columns, and need a key.  Without this, a table whose
 * tenant column was dropped would be found unusable by the next writer, long
 * after the migration that did it.  So after each DDL statement the settings of
 * the captured tables that it changed are compiled, as a writer would do it,
 * and the statement fails if they do not fit any more.
 *
 * Relcache invalidation says which tables these are.  Whatever makes a trigger
 * compile its settings anew (captures.c) comes by here as well, through
 * inheritance, through DROP TYPE ... CASCADE, or in a function.  An event trigger
 * would not see all of that, and does not fire under
 * session_replication_role = replica.
 *
 * A statement that touches no captured table must not notice this, and one that
 * takes a bad trigger away must never be refused.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "admin/ddl.h"
#include "admin/refuse.h"
#include "admin/unpublished.h"
#include "capture/capture.h"
#include "capture/captures.h"
#include "capture/catalog.h"
#include "compat.h"
#include "settings.h"

/* What a statement did to a table, what matters most last. */
typedef enum ChangeKind
{
	CHANGE_ANY,					/* something that its relcache entry holds */
	CHANGE_LOST_INDEX,			/* a unique index was dropped */
	CHANGE_LOST_KEY,			/* its primary key was dropped */
	CHANGE_LOST_CAPTURE			/* a capture trigger was dropped */
} ChangeKind;

typedef struct Change
{
	Oid			relation;
	ChangeKind	kind;
} Change;

/* A statement that is watched. */
typedef struct Statement
{
	Node	   *tree;
	int			first_change;	/* its own ones begin here */
	EvpubUnpublished unpublished;
} Statement;

/*
 * Changes seen in the statement that runs, those of an outer one first.  They
 * come from invalidation callbacks, where nothing may fail, so there is a fixed
 * number; beyond it all captured tables are looked at.
 */
#define MAX_CHANGES 256

static Change changes[MAX_CHANGES];
static int	change_count = 0;
static bool too_many = false;
static int	depth = 0;			/* statements that are watched */
static Statement *current = NULL;	/* the innermost of them */

static ProcessUtility_hook_type next_process_utility = NULL;
static object_access_hook_type next_object_access_hook = NULL;

/* ---- what a statement changes ---- */

/*
 * When there is no room, a kind that matters more takes the place of one that
 * matters less: "too many" makes up for CHANGE_ANY, but not for what was lost.
 */
static void
add_change(Oid relation, ChangeKind kind)
{
	int			place = change_count;

	for (int i = 0; i < change_count; i++)
	{
		if (changes[i].relation == relation && changes[i].kind == kind)
			return;
		if (change_count == MAX_CHANGES && changes[i].kind < kind)
			place = i;
	}
	too_many |= change_count == MAX_CHANGES;
	if (place == MAX_CHANGES)
		return;
	changes[place].relation = relation;
	changes[place].kind = kind;
	change_count = Max(change_count, place + 1);
}

static bool
has_change(const Statement *statement, Oid relation, ChangeKind kind)
{
	for (int i = statement->first_change; i < change_count; i++)
	{
		if (changes[i].relation == relation && changes[i].kind == kind)
			return true;
	}
	return false;
}

static void
relation_changed(Datum arg, Oid relation)
{
	(void) arg;

	if (depth > 0 && OidIsValid(relation))
		add_change(relation, CHANGE_ANY);
}

/* A trigger is being dropped: remember its table if it captured that. */
static void
drop_trigger(Oid oid)
{
	Oid			function = evpub_capture_function();
	Relation	catalog;
	HeapTuple	tuple;

	if (!OidIsValid(function))
		return;
	catalog = table_open(TriggerRelationId, AccessShareLock);
	tuple = get_catalog_object_by_oid(catalog, Anum_pg_trigger_oid, oid);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		/* a partition loses its triggers when its table does, or when it is detached */
		if (trigger->tgfoid == function && !OidIsValid(trigger->tgparentid))
			add_change(trigger->tgrelid, CHANGE_LOST_CAPTURE);
	}
	table_close(catalog, AccessShareLock);
}

static void
drop_constraint(Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(oid));

	if (!HeapTupleIsValid(tuple))
		return;
	if (((Form_pg_constraint) GETSTRUCT(tuple))->contype == CONSTRAINT_PRIMARY)
		add_change(((Form_pg_constraint) GETSTRUCT(tuple))->conrelid, CHANGE_LOST_KEY);
	ReleaseSysCache(tuple);
}

static void
drop_relation(Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(oid));
	Oid			function;

	if (!HeapTupleIsValid(tuple))
	{
		function = evpub_capture_function();
		if (OidIsValid(function))
			evpub_unpublished_drop(&current->unpublished, oid, function);
		return;
	}
	if (((Form_pg_index) GETSTRUCT(tuple))->indisunique)
		add_change(((Form_pg_index) GETSTRUCT(tuple))->indrelid, CHANGE_LOST_INDEX);
	ReleaseSysCache(tuple);
}

static void
access_object(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg)
{
	if (next_object_access_hook != NULL)
		next_object_access_hook(access, classid, objid, subid, arg);
	if (depth == 0)
		return;
	if ((access == OAT_POST_ALTER || access == OAT_POST_CREATE) &&
		classid == RelationRelationId && subid > 0)
		evpub_unpublished_column(&current->unpublished, objid, subid, access == OAT_POST_CREATE);
	if (access == OAT_POST_ALTER)
		evpub_refuse_rename(current->tree, classid, objid, subid);
	else if (access != OAT_DROP)
		return;
	else if (classid == TriggerRelationId)
		drop_trigger(objid);
	else if (classid == ConstraintRelationId)
		drop_constraint(objid);
	else if (classid == RelationRelationId && subid == 0)
		drop_relation(objid);
}

/* ---- does a captured table's capture survive? ---- */

/* Has the statement lost something of a table, or may it have? */
static bool
has_lost(const Statement *statement, Relation rel, ChangeKind kind)
{
	return !IsA(statement->tree, CreateTrigStmt) &&
		(too_many || has_change(statement, RelationGetRelid(rel), kind));
}

/*
 * Compile the settings of a trigger.  An error has a hint for the person who
 * captures a table.  For another statement it becomes the reason why that is
 * refused.
 */
static void
check_settings(const Statement *statement, Relation rel, const Trigger *trigger)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		/* an index that this statement has not taken may still come, in a restore */
		evpub_captures_check(trigger, rel, has_lost(statement, rel, CHANGE_LOST_INDEX));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		if (IsA(statement->tree, CreateTrigStmt) ||
			error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTERNAL_ERROR)
			ReThrowError(error);
		evpub_refuse_change(RelationGetRelationName(rel),
							psprintf("Afterwards: %s.%s%s", error->message,
									 error->detail ? " " : "",
									 error->detail ? error->detail : ""));
	}
	PG_END_TRY();
}

static bool
has_primary_key(Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	bool		found = false;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for index %u", lfirst_oid(cell));
		found |= ((Form_pg_index) GETSTRUCT(tuple))->indisprimary;
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	return found;
}

/*
 * May the table have its key only later?  A parallel restore of a dump may make
 * the trigger first.  Then the settings need not fit yet.
 */
static bool
waits_for_key(const Statement *statement, Relation rel, const Trigger *trigger)
{
	for (int i = 0; i < trigger->tgnargs; i++)
		if (strncmp(trigger->tgargs[i], "key_columns=", 12) == 0)
			return false;
	return !has_primary_key(rel) && !has_lost(statement, rel, CHANGE_LOST_KEY);
}

/*
 * Check the triggers of a table: its own, or those that it has as a partition.
 * Partitions come second, so that an error names the table to release.
 */
static void
check_captured(const Statement *statement, Relation rel, Oid function,
			   bool as_partition)
{
	/* the relation's own may be built anew meanwhile */
	TriggerDesc *triggers = CopyTriggerDesc(rel->trigdesc);
	bool		own = false;
	bool		of_root = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgfoid != function || trigger->tgenabled == TRIGGER_DISABLED)
			continue;
		own |= !trigger->tgisclone;
		of_root |= trigger->tgisclone;
		if (trigger->tgisclone != as_partition)
			continue;
		evpub_capture_check_trigger(trigger);
		if (!waits_for_key(statement, rel, trigger))
			check_settings(statement, rel, trigger);
	}
	if (own && of_root)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is captured itself and as a partition",
						RelationGetRelationName(rel)),
				 errdetail("Its changes would be published twice."),
				 errhint("Capture either the partitioned table or the partition.")));
}

/*
 * Check a table that the statement may have changed.  What another session
 * changed meanwhile comes by as well; what is ours, we have locked, and need not
 * lock again: that could wait for, or fail because of, others who wait for us.
 */
static void
check_changed(const Statement *statement, Oid relid, Oid function,
			  bool as_partition)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		has_triggers;
	Relation	rel;

	if (!HeapTupleIsValid(tuple))
		return;
	has_triggers = ((Form_pg_class) GETSTRUCT(tuple))->relhastriggers;
	ReleaseSysCache(tuple);
	if (!has_triggers || !evpub_is_locked(relid, ShareUpdateExclusiveLock))
		return;
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
		return;
	check_captured(statement, rel, function, as_partition);
	relation_close(rel, NoLock);
}

/* DROP ... CASCADE of what a filter needs takes triggers away. */
static void
check_lost(Oid relid)
{
	Relation	rel;

	rel = try_relation_open(relid, AccessShareLock);
	if (rel != NULL)
		evpub_refuse_change(RelationGetRelationName(rel),
							"Triggers that capture it would be dropped.");
}

/* Another name of a schema invalidates none of its tables, but templates may hold it. */
static void
check_schema(const Statement *statement, Oid schema, Oid function)
{
	ListCell   *cell;

	foreach(cell, evpub_catalog_captured_tables(function, schema))
	{
		Relation	rel = try_relation_open(lfirst_oid(cell), AccessShareLock);

		if (rel == NULL)
			continue;
		check_captured(statement, rel, function, false);
		relation_close(rel, NoLock);
	}
}

static void
check_changes(const Statement *statement, Oid function, bool as_partition)
{
	ListCell   *cell;

	/* looking at tables must not add to them */
	for (int i = statement->first_change, end = change_count; i < end; i++)
	{
		if (changes[i].kind == CHANGE_ANY)
			check_changed(statement, changes[i].relation, function, as_partition);
		else if (changes[i].kind == CHANGE_LOST_CAPTURE)
			check_lost(changes[i].relation);
	}
	if (!too_many)
		return;
	foreach(cell, evpub_catalog_captured_tables(function, InvalidOid))
		check_changed(statement, lfirst_oid(cell), function, as_partition);
}

static void
check_renamed_schema(const Statement *statement, const RenameStmt *rename, Oid function)
{
	if (rename->renameType == OBJECT_SCHEMA)
		check_schema(statement, get_namespace_oid(rename->newname, false), function);
}

static void
check_statement(const Statement *statement)
{
	bool		renames = IsA(statement->tree, RenameStmt);
	bool		drops_trigger = IsA(statement->tree, DropStmt) &&
		((DropStmt *) statement->tree)->removeType == OBJECT_TRIGGER;
	Oid			function;

	/* so that the invalidations of its last change have come */
	CommandCounterIncrement();
	if (drops_trigger ||
		(change_count == statement->first_change && !too_many && !renames &&
		 !IsA(statement->tree, AlterEnumStmt)))
		return;
	function = evpub_capture_function();
	if (!OidIsValid(function))
		return;

	check_changes(statement, function, false);
	check_changes(statement, function, true);
	if (renames)
		check_renamed_schema(statement, (RenameStmt *) statement->tree, function);
	evpub_notice_unpublished(statement->tree, &statement->unpublished, function);
}

/* ---- the hook ---- */

/* A subcommand is checked with its whole statement. */
static bool
is_watched(Node *tree, ProcessUtilityContext context)
{
	return context != PROCESS_UTILITY_SUBCOMMAND && evpub_capture_enabled &&
		!IsBinaryUpgrade && GetCommandLogLevel(tree) == LOGSTMT_DDL;
}

static void
process_utility(PlannedStmt *planned, const char *query, bool read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *destination,
				QueryCompletion *completion)
{
	Statement	statement = {.tree = planned->utilityStmt, .first_change = change_count};
	Statement  *outer;

	if (!is_watched(statement.tree, context))
	{
		next_process_utility(planned, query, read_only, context, params, environment,
							 destination, completion);
		return;
	}

	/* the statement may free or change its tree */
	statement.tree = copyObject(statement.tree);
	evpub_refuse_attach(statement.tree);
	evpub_refuse_drop_index(statement.tree);
	evpub_refuse_rename_own_schema(statement.tree);
	evpub_unpublished_begin(&statement.unpublished);
	outer = current;
	current = &statement;
	depth++;
	PG_TRY();
	{
		next_process_utility(planned, query, read_only, context, params, environment,
							 destination, completion);
		if (IsTransactionState())
			check_statement(&statement);
	}
	PG_FINALLY();
	{
		current = outer;
		change_count = statement.first_change;
		if (--depth == 0)
			too_many = false;
	}
	PG_END_TRY();
}

void
evpub_ddl_init(void)
{
	next_process_utility = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = process_utility;
	next_object_access_hook = object_access_hook;
	object_access_hook = access_object;
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}
