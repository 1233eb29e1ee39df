/*
 * refuse.c
 *		Statements on captured tables that are refused before their end.
 *
 * Most DDL is judged by what it leaves (ddl.c).  That comes too late here: some
 * statements commit on their way, some would fail by themselves without saying
 * why, and some change nothing that a capture trigger holds but only what the
 * text of its filter says.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "admin/refuse.h"
#include "capture/captures.h"
#include "capture/catalog.h"
#include "names.h"

void
evpub_refuse_change(const char *table, const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot change table \"%s\" because its capture depends on what is changed",
					table),
			 errdetail_internal("%s", reason),
			 errhint("First release the table, or capture it with other options; in one transaction with the change, nothing is missed.")));
}

/* ---- ATTACH PARTITION ---- */

/*
 * The table if it is captured, or else a captured partition of it or table that
 * inherits from it; InvalidOid if there is none.  Nothing is locked here: ATTACH
 * will lock them all.  When one is captured in between, ATTACH fails with
 * PostgreSQL's own error.
 */
static Oid
captured_within(RangeVar *name, Oid function)
{
	Oid			relid = RangeVarGetRelid(name, NoLock, true);
	ListCell   *cell;

	if (!OidIsValid(relid))
		return InvalidOid;
	foreach(cell, find_all_inheritors(relid, NoLock, NULL))
	{
		if (evpub_catalog_captured(function, lfirst_oid(cell)))
			return lfirst_oid(cell);
	}
	return InvalidOid;
}

static void
check_partition(RangeVar *root, RangeVar *partition)
{
	Oid			function = evpub_capture_function();
	Oid			relid = OidIsValid(function) ? RangeVarGetRelid(root, NoLock, true) : InvalidOid;
	Oid			captured;
	char	   *name;

	if (!OidIsValid(relid) || !evpub_catalog_captured(function, relid))
		return;
	captured = captured_within(partition, function);
	if (!OidIsValid(captured))
		return;
	name = get_rel_name(captured);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot attach table \"%s\", which is captured itself, to captured table \"%s\"",
					name, root->relname),
			 errdetail("Its changes would be published twice."),
			 errhint("Use evpub.release_table() for \"%s\" in the same transaction; attached, it is captured as a part of \"%s\".",
					 name, root->relname)));
}

/*
 * Attaching a captured table to one.  PostgreSQL would fail because of triggers
 * of the same name, and not say what to do.
 */
void
evpub_refuse_attach(Node *statement)
{
	AlterTableStmt *alter = (AlterTableStmt *) statement;
	ListCell   *cell;

	if (!IsA(statement, AlterTableStmt) || alter->objtype != OBJECT_TABLE)
		return;
	foreach(cell, alter->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

		if (command->subtype == AT_AttachPartition)
			check_partition(alter->relation, ((PartitionCmd *) command->def)->name);
	}
}

/* ---- DROP INDEX CONCURRENTLY ---- */

static void
check_index(Relation rel, Oid index, Oid function)
{
	/* the relation's own may be built anew meanwhile */
	TriggerDesc *triggers = CopyTriggerDesc(rel->trigdesc);

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];
		const EvpubCapture *capture;

		if (trigger->tgfoid != function || trigger->tgenabled == TRIGGER_DISABLED)
			continue;
		capture = evpub_captures_get(trigger, rel);
		if (capture->has_filter && capture->key_index == index)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot drop index \"%s\" concurrently because the capture of table \"%s\" depends on it",
							get_rel_name(index), RelationGetRelationName(rel)),
					 errdetail("With a filter, rows are looked up by their key."),
					 errhint("Drop it without CONCURRENTLY, if another unique index is on the same columns.")));
	}
}

/*
 * DROP INDEX CONCURRENTLY commits before the index is gone.  Afterwards it would
 * be too late to refuse it, and nobody could write the table.
 */
void
evpub_refuse_drop_index(Node *statement)
{
	DropStmt   *drop = (DropStmt *) statement;
	Oid			function;
	ListCell   *cell;

	if (!IsA(statement, DropStmt) || drop->removeType != OBJECT_INDEX || !drop->concurrent)
		return;
	function = evpub_capture_function();
	if (!OidIsValid(function))
		return;
	foreach(cell, drop->objects)
	{
		Oid			index = RangeVarGetRelid(makeRangeVarFromNameList(lfirst_node(List, cell)),
											 NoLock, true);
		Oid			relid = OidIsValid(index) ? IndexGetRelation(index, true) : InvalidOid;
		Relation	rel;

		if (!OidIsValid(relid) || !evpub_catalog_captured(function, relid))
			continue;
		rel = try_relation_open(relid, AccessShareLock);
		if (rel == NULL)
			continue;
		check_index(rel, index, function);
		relation_close(rel, AccessShareLock);
	}
}

/* ---- new names ---- */

/*
 * Functions of the extension find each other by the names of its two schemas, and
 * some of them run as a superuser.  If one of these had another name, they would
 * find the functions of whoever makes a schema of the old name.
 */
void
evpub_refuse_rename_own_schema(Node *statement)
{
	RenameStmt *rename = (RenameStmt *) statement;

	if (!IsA(statement, RenameStmt) || rename->renameType != OBJECT_SCHEMA ||
		(strcmp(rename->subname, EVPUB_NAME) != 0 &&
		 strcmp(rename->subname, EVPUB_INTERNAL_SCHEMA) != 0) ||
		!OidIsValid(get_extension_oid(EVPUB_NAME, true)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("schema \"%s\" cannot have another name", rename->subname),
			 errdetail("Functions of extension \"%s\" find each other by it.", EVPUB_NAME),
			 errhint("Drop the extension first.")));
}

/* The filter among the arguments of a trigger; NULL if there is none. */
static char *
filter_of(Relation catalog, HeapTuple tuple)
{
	bool		is_null;
	Datum		datum = heap_getattr(tuple, Anum_pg_trigger_tgargs,
									 RelationGetDescr(catalog), &is_null);
	char	   *argument;

	if (is_null)
		return NULL;
	argument = VARDATA_ANY(DatumGetByteaPP(datum));
	for (int i = 0; i < ((Form_pg_trigger) GETSTRUCT(tuple))->tgnargs; i++)
	{
		if (strncmp(argument, "filter=", 7) == 0)
			return pstrdup(argument + 7);
		argument += strlen(argument) + 1;
	}
	return NULL;
}

/* A partition's trigger is left to that of its root. */
static void
check_trigger(Oid oid, Oid function, const ObjectAddress *renamed)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	HeapTuple	tuple = get_catalog_object_by_oid(catalog, Anum_pg_trigger_oid, oid);

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
		bool		is_own_table = renamed->classId == RelationRelationId &&
			renamed->objectId == trigger->tgrelid && renamed->objectSubId == 0;
		char	   *filter = trigger->tgfoid == function && !OidIsValid(trigger->tgparentid) &&
			!is_own_table ? filter_of(catalog, tuple) : NULL;

		if (filter != NULL)
			evpub_refuse_change(get_rel_name(trigger->tgrelid),
								psprintf("The filter \"%s\" depends on %s.", filter,
										 getObjectDescription(renamed, false)));
	}
	table_close(catalog, AccessShareLock);
}

/* Triggers whose conditions, and so the filters in them, need an object. */
static void
check_dependents(Oid function, Oid classid, Oid objid, int subid,
				 const ObjectAddress *renamed)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(classid));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(objid));
	ScanKeyInit(&keys[2], Anum_pg_depend_refobjsubid, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(subid));
	scan = systable_beginscan(catalog, DependReferenceIndexId, true, NULL, 3, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		if (depend->classid == TriggerRelationId)
			check_trigger(depend->objid, function, renamed);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

static bool
renames(Node *statement)
{
	return IsA(statement, RenameStmt) || IsA(statement, AlterObjectSchemaStmt) ||
		(IsA(statement, AlterEnumStmt) && ((AlterEnumStmt *) statement)->oldVal != NULL);
}

/* What a trigger depends on in a schema; false if there is nothing. */
static bool
needs_schema(Oid trigger, Oid schema, ObjectAddress *needed)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	bool		found = false;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(TriggerRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(catalog, DependDependerIndexId, true, NULL, 2, keys);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		/* names of tables do not stand in a filter */
		if (depend->refclassid == RelationRelationId)
			continue;
		ObjectAddressSubSet(*needed, depend->refclassid, depend->refobjid,
							depend->refobjsubid);
		found = get_object_namespace(needed) == schema;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

static bool
is_of_word(char c)
{
	return isalnum((unsigned char) c) || c == '_' || c == '$' || IS_HIGHBIT_SET(c);
}

/* Does a name stand in a text, as a word of it? */
static bool
has_word(const char *text, const char *name)
{
	size_t		length = strlen(name);

	for (const char *p = text; *p; p++)
	{
		/* as it is written: without quotes, case does not count */
		if (pg_strncasecmp(p, name, length) == 0 &&
			(p == text || !is_of_word(p[-1])) && !is_of_word(p[length]))
			return true;
	}
	return false;
}

/*
 * A new name of a schema changes none of its objects.  Those that the filter names
 * without it are found as before, by search_path or by the type of a column.
 */
static void
check_schema(Oid schema, const char *old_name, Oid function)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	ObjectAddress needed;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
		char	   *filter = trigger->tgfoid == function && !OidIsValid(trigger->tgparentid) ?
			filter_of(catalog, tuple) : NULL;

		if (filter != NULL && has_word(filter, old_name) &&
			needs_schema(trigger->oid, schema, &needed))
			check_trigger(trigger->oid, function, &needed);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

/*
 * By the name of this trigger check_condition() in captures.c knows whose condition
 * it has to check.  With another name an update could be missed.
 */
static void
check_trigger_name(const RenameStmt *rename, Oid function)
{
	Oid			relid;

	if (rename->renameType != OBJECT_TRIGGER ||
		strcmp(rename->subname, EVPUB_UPDATE_TRIGGER) != 0)
		return;
	relid = RangeVarGetRelid(rename->relation, NoLock, true);
	if (!OidIsValid(relid) || !evpub_catalog_captured(function, relid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("trigger \"%s\" of captured table \"%s\" cannot have another name",
					rename->subname, get_rel_name(relid)),
			 errdetail("evpub finds the trigger by its name, and checks that its condition looks at all columns whose changes are published."),
			 errhint("Give other triggers other names.")));
}

/*
 * The condition that a filter was made into follows new names of columns,
 * functions, types and their values; the text of the filter, from which the
 * capture is shown and made again, does not.
 */
void
evpub_refuse_rename(Node *statement, Oid classid, Oid objid, int subid)
{
	ObjectAddress renamed;
	Oid			function;
	Oid			array;

	if (!renames(statement))
		return;
	function = evpub_capture_function();
	if (!OidIsValid(function) || (classid == ProcedureRelationId && objid == function))
		return;
	if (classid == NamespaceRelationId && IsA(statement, RenameStmt))
		check_schema(objid, ((RenameStmt *) statement)->subname, function);
	else if (classid == TriggerRelationId && IsA(statement, RenameStmt))
		check_trigger_name((RenameStmt *) statement, function);
	ObjectAddressSubSet(renamed, classid, objid, subid);
	check_dependents(function, classid, objid, subid, &renamed);
	array = classid == TypeRelationId ? get_array_type(objid) : InvalidOid;
	if (OidIsValid(array))
		check_dependents(function, classid, array, 0, &renamed);
}
