/*
 * untold.c
 *		DDL that changes what consumers have, without an event.
 *
 * ALTER TABLE writes rows anew without firing a trigger: with other values of a
 * column, with a new column.  Rows come and go with partitions.  A table that
 * takes the name of a captured one is not captured.  None of this is an error,
 * and most of it is meant; but whoever does it should know that consumers do not
 * know, and how they get to know.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "nodes/parsenodes.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_type.h"
#include "rewrite/prs2lock.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "admin/refuse.h"
#include "admin/untold.h"
#include "capture/route.h"
#include "compat.h"

static char *
name_of(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

static bool
has_rows(Oid relid)
{
	bool		found = false;
	ListCell   *cell;

	foreach(cell, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Relation	rel = try_relation_open(lfirst_oid(cell), NoLock);

		if (rel == NULL)
			continue;
		found |= RELKIND_HAS_STORAGE(rel->rd_rel->relkind) &&
			RelationGetNumberOfBlocks(rel) > 0;
		relation_close(rel, NoLock);
	}
	return found;
}

/* A parallel restore may make the trigger before the key: nothing fits yet. */
static bool
waits_for_key(Relation rel, const Trigger *trigger)
{
	for (int i = 0; i < trigger->tgnargs; i++)
		if (strncmp(trigger->tgargs[i], "key_columns=", 12) == 0)
			return false;
	list_free(RelationGetIndexList(rel));
	return !OidIsValid(rel->rd_pkindex);
}

/*
 * The settings of a row trigger that captures the relation; NULL: none.  With
 * "own" a copy of a partitioned table's trigger is none.
 */
static EvpubCapture *
capture_of(Relation rel, Oid function, bool own)
{
	/* the relation's own may be built anew meanwhile */
	TriggerDesc *triggers = CopyTriggerDesc(rel->trigdesc);

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (trigger->tgfoid == function && trigger->tgenabled != TRIGGER_DISABLED &&
			TRIGGER_FOR_ROW(trigger->tgtype) && !waits_for_key(rel, trigger) &&
			(!own || !trigger->tgisclone))
			return evpub_route_get(trigger, rel);
	}
	return NULL;
}

/* Does an event of a row hold the value of this column? */
static bool
is_told(const EvpubCapture *capture, AttrNumber number)
{
	if (capture->has_tenant_column && capture->tenant_column.number == number)
		return true;
	for (int i = 0; i < capture->key_columns; i++)
		if (capture->key_column[i].number == number)
			return true;
	for (int i = 0; i < capture->data_columns; i++)
		if (capture->data_column[i].number == number)
			return true;
	return false;
}

/*
 * Do the settings ask for changes of this column, by update_columns or in the
 * filter?  Other values may take rows in or out of the filter.  In a condition as
 * it is kept a virtual column has its own number still.
 */
static bool
is_asked_for(Relation rel, Oid function, const EvpubCapture *capture, AttrNumber number)
{
	const TriggerDesc *triggers = rel->trigdesc;
	Bitmapset  *columns = NULL;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];
		Node	   *condition;

		if (trigger->tgfoid != function)
			continue;
		for (int j = 0; j < trigger->tgnargs; j++)
			if (strncmp(trigger->tgargs[j], "update_columns=", 15) == 0 &&
				capture->counts != NULL && capture->counts[number - 1])
				return true;
		if (trigger->tgqual == NULL)
			continue;
		condition = stringToNode(trigger->tgqual);
		pull_varattnos(condition, PRS2_OLD_VARNO, &columns);
		pull_varattnos(condition, PRS2_NEW_VARNO, &columns);
	}
	/* {row} as a whole is every column */
	return bms_is_member(number - FirstLowInvalidHeapAttributeNumber, columns) ||
		bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, columns);
}

static bool
has_value(const ColumnDef *column)
{
	ListCell   *cell;

	if (column->raw_default != NULL || column->cooked_default != NULL || column->identity ||
		column->generated)
		return true;
	foreach(cell, column->constraints)
	{
		ConstrType	type = lfirst_node(Constraint, cell)->contype;

		if (type == CONSTR_DEFAULT || type == CONSTR_GENERATED || type == CONSTR_IDENTITY)
			return true;
	}
	return false;
}

static void
notice_rows(Relation rel, const char *detail)
{
	ereport(NOTICE,
			(errmsg("consumers are not told how this changes the rows of captured table \"%s\"",
					RelationGetRelationName(rel)),
			 errdetail_internal("%s", detail),
			 errhint("To tell them: CALL evpub.resync(ARRAY[%s]::regclass[]);",
					 quote_literal_cstr(name_of(rel)))));
}

/* What a part of ALTER TABLE does to rows; NULL: nothing that is told. */
static char *
what_changes(const AlterTableCmd *command, Relation rel, const EvpubCapture *capture,
			 Oid function)
{
	const char *column = command->name;
	AttrNumber	number;
	Oid			partition;

	switch (command->subtype)
	{
		case AT_AddColumn:
			column = castNode(ColumnDef, command->def)->colname;
			if (!has_value(castNode(ColumnDef, command->def)))
				return NULL;
			break;
		case AT_AttachPartition:
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
			partition = RangeVarGetRelid(((PartitionCmd *) command->def)->name, NoLock, true);
			if (!OidIsValid(partition) || !has_rows(partition))
				return NULL;
			return psprintf("Rows of partition \"%s\" come, or go, without events.",
							get_rel_name(partition));
		default:
			if (command->subtype != AT_AlterColumnType && !evpub_sets_expression(command))
				return NULL;
			break;
	}
	number = get_attnum(RelationGetRelid(rel), column);
	if (number == InvalidAttrNumber ||
		(!is_told(capture, number) && !is_asked_for(rel, function, capture, number)) ||
		!has_rows(RelationGetRelid(rel)))
		return NULL;
	return psprintf("Values of column \"%s\" may be others now.", column);
}

/* A part of ALTER TABLE reaches the children, too. */
static bool
reaches_children(const AlterTableCmd *command)
{
	return command->subtype == AT_AddColumn || command->subtype == AT_AlterColumnType ||
		evpub_sets_expression(command);
}

/*
 * One table that ALTER TABLE has reached.  Triggers of partitions are copies of
 * their root's, and NOTICEs of the root speak for them; so "inherited" tables
 * count only where they are captured in their own right.
 */
static void
notice_altered(const AlterTableStmt *alter, Oid relid, bool inherited, Oid function)
{
	Relation	rel;
	EvpubCapture *capture;
	char	   *detail = NULL;
	ListCell   *cell;

	if (evpub_captured_tables(function, relid) == NIL)
		return;
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		return;
	capture = capture_of(rel, function, inherited);
	foreach(cell, alter->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

		if (capture != NULL && detail == NULL &&
			(!inherited || reaches_children(command)))
			detail = what_changes(command, rel, capture, function);
	}
	if (detail != NULL)
		notice_rows(rel, detail);
	relation_close(rel, NoLock);
}

static void
notice_alter(const AlterTableStmt *alter, Oid function)
{
	Oid			relid = RangeVarGetRelid(alter->relation, NoLock, true);
	ListCell   *cell;

	if (!OidIsValid(relid))
		return;
	notice_altered(alter, relid, false, function);
	if (!alter->relation->inh)
		return;
	foreach(cell, alter->cmds)
	{
		if (reaches_children(lfirst_node(AlterTableCmd, cell)))
			break;
	}
	if (cell == NULL)
		return;
	/* what the statement has locked stays locked */
	foreach(cell, find_all_inheritors(relid, NoLock, NULL))
	{
		if (lfirst_oid(cell) != relid)
			notice_altered(alter, lfirst_oid(cell), true, function);
	}
}

/* A captured table has another name: a table that takes the old one is another. */
static void
notice_rename(Oid relid, const char *old_name, Oid function)
{
	Relation	rel;

	if (!OidIsValid(relid) || evpub_captured_tables(function, relid) == NIL)
		return;
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		return;
	if (!rel->rd_rel->relispartition)
		ereport(NOTICE,
				(errmsg("table %s stays captured under this name", name_of(rel)),
				 errdetail("{table} and {schema} in its settings mean the new name. A table that takes the name \"%s\" is not captured.",
						   old_name),
				 errhint("If one is to: SELECT definition FROM evpub.tables WHERE \"table\" = %s::regclass; and call that for the new table.",
						 quote_literal_cstr(name_of(rel)))));
	relation_close(rel, NoLock);
}

/* A value of an enum has another name: it is in rows of all tables of the type. */
static void
notice_enum(const AlterEnumStmt *alter, Oid function)
{
	Oid			type = LookupTypeNameOid(NULL, makeTypeNameFromNameList(alter->typeName), true);
	ListCell   *cell;

	foreach(cell, OidIsValid(type) ? evpub_captured_tables(function, InvalidOid) : NIL)
	{
		Relation	rel = try_relation_open(lfirst_oid(cell), AccessShareLock);
		EvpubCapture *capture;
		bool		told = false;

		if (rel == NULL)
			continue;
		capture = rel->rd_rel->relispartition ? NULL : capture_of(rel, function, false);
		for (int i = 0; capture != NULL && i < RelationGetDescr(rel)->natts; i++)
		{
			Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), i);

			told |= !attribute->attisdropped && getBaseType(attribute->atttypid) == type &&
				is_told(capture, attribute->attnum);
		}
		if (told && has_rows(RelationGetRelid(rel)))
			notice_rows(rel, psprintf("Value \"%s\" of type %s is \"%s\" now.", alter->oldVal,
									  format_type_be(type), alter->newVal));
		relation_close(rel, AccessShareLock);
	}
}

void
evpub_notice_untold(Node *statement, Oid function)
{
	if (IsA(statement, AlterTableStmt))
		notice_alter((AlterTableStmt *) statement, function);
	else if (IsA(statement, AlterEnumStmt) && ((AlterEnumStmt *) statement)->oldVal != NULL)
		notice_enum((AlterEnumStmt *) statement, function);
	else if (IsA(statement, RenameStmt) &&
			 ((RenameStmt *) statement)->renameType == OBJECT_TABLE)
	{
		RenameStmt *rename = (RenameStmt *) statement;
		RangeVar   *now = copyObject(rename->relation);

		now->relname = rename->newname;
		notice_rename(RangeVarGetRelid(now, NoLock, true), rename->relation->relname, function);
	}
	else if (IsA(statement, AlterObjectSchemaStmt) &&
			 ((AlterObjectSchemaStmt *) statement)->objectType == OBJECT_TABLE)
	{
		AlterObjectSchemaStmt *move = (AlterObjectSchemaStmt *) statement;
		RangeVar   *now = copyObject(move->relation);

		now->schemaname = move->newschema;
		notice_rename(RangeVarGetRelid(now, NoLock, true), move->relation->relname, function);
	}
}
