/*
 * unpublished.c
 *		DDL that changes what consumers have, without an event.
 *
 * ALTER TABLE writes rows anew without firing a trigger: with other values of a
 * column, with a new column.  Rows come and go with partitions.  A table that
 * takes the name of a captured one is not captured.  None of this is an error,
 * and most of it is meant.  But the copies that consumers have differ from then
 * on, and whoever caused that should know it, and what to do.
 *
 * The text of a statement does not say which tables it reaches.  ALTER TABLE of a
 * parent changes captured tables that inherit from it, and DROP ... CASCADE takes
 * partitions along.  So the object access hook (ddl.c) notes columns and
 * partitions here while the statement runs.  It is called for tables that the
 * statement has locked, and before its changes are visible.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_type.h"
#include "rewrite/prs2lock.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "admin/renamed.h"
#include "admin/tablename.h"
#include "admin/unpublished.h"
#include "capture/captures.h"
#include "capture/catalog.h"
#include "compat.h"

/* A column that a statement has added, or altered in some way. */
typedef struct TouchedColumn
{
	Oid			relid;
	AttrNumber	number;
	Oid			type;			/* before; InvalidOid: the column is new */
	int32		typmod;
} TouchedColumn;

/* Partitions with rows that a statement has dropped, of one captured table. */
typedef struct DroppedRows
{
	Oid			root;
	char	   *partition;		/* the first of them */
	int			others;
} DroppedRows;

/* ---- while the statement runs ---- */

void
evpub_unpublished_begin(EvpubUnpublished *unpublished)
{
	unpublished->context = CurrentMemoryContext;
	unpublished->columns = NIL;
	unpublished->dropped = NIL;
}

void
evpub_unpublished_column(EvpubUnpublished *unpublished, Oid relid, AttrNumber number, bool is_new)
{
	MemoryContext caller;
	TouchedColumn *touched;
	HeapTuple	tuple = NULL;

	if (!is_new)
	{
		/* as it was: the change is not visible yet */
		tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(number));
		if (!HeapTupleIsValid(tuple))
			return;
	}
	caller = MemoryContextSwitchTo(unpublished->context);
	touched = palloc0(sizeof(TouchedColumn));
	touched->relid = relid;
	touched->number = number;
	if (tuple != NULL)
	{
		touched->type = ((Form_pg_attribute) GETSTRUCT(tuple))->atttypid;
		touched->typmod = ((Form_pg_attribute) GETSTRUCT(tuple))->atttypmod;
		ReleaseSysCache(tuple);
	}
	unpublished->columns = lappend(unpublished->columns, touched);
	MemoryContextSwitchTo(caller);
}

/* The captured table whose partition this is; InvalidOid if there is none. */
static Oid
captured_root(Oid partition, Oid function)
{
	Oid			root = InvalidOid;
	ListCell   *cell;

	foreach(cell, get_partition_ancestors(partition))
	{
		if (evpub_catalog_captured(function, lfirst_oid(cell)))
			root = lfirst_oid(cell);
	}
	return root;
}

void
evpub_unpublished_drop(EvpubUnpublished *unpublished, Oid relid, Oid function)
{
	MemoryContext caller;
	DroppedRows *dropped;
	Relation	rel;
	Oid			root;
	bool		is_empty;
	ListCell   *cell;

	/* its own triggers are dropped before it, so the table above is asked */
	if (get_rel_relkind(relid) != RELKIND_RELATION || !get_rel_relispartition(relid))
		return;
	root = captured_root(relid, function);
	if (!OidIsValid(root))
		return;
	rel = relation_open(relid, NoLock);
	is_empty = RelationGetNumberOfBlocks(rel) == 0;
	relation_close(rel, NoLock);
	if (is_empty)
		return;
	foreach(cell, unpublished->dropped)
	{
		dropped = lfirst(cell);
		if (dropped->root == root)
		{
			dropped->others++;
			return;
		}
	}
	caller = MemoryContextSwitchTo(unpublished->context);
	dropped = palloc0(sizeof(DroppedRows));
	dropped->root = root;
	dropped->partition = get_rel_name(relid);
	unpublished->dropped = lappend(unpublished->dropped, dropped);
	MemoryContextSwitchTo(caller);
}

/* ---- what is captured ---- */

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

/* A parallel restore may make the trigger before the key: then the settings do not fit yet. */
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
 * The settings of a row trigger that captures the relation, or with "own" only of
 * one that it has not as a partition; NULL: none.
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
			!(own && trigger->tgisclone) && TRIGGER_FOR_ROW(trigger->tgtype) &&
			!waits_for_key(rel, trigger))
			return evpub_captures_get(trigger, rel);
	}
	return NULL;
}

/* Do events of a row hold the value of this column? */
static bool
is_published(const EvpubCapture *capture, AttrNumber number)
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
 * filter?  With other values a row may enter the filter, or leave it.  (The
 * catalog has conditions in which virtual columns are not expanded yet.)
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

/* Would an UPDATE that gives the column other values publish events? */
static bool
matters(Relation rel, Oid function, const EvpubCapture *capture, AttrNumber number)
{
	return number != InvalidAttrNumber &&
		(is_published(capture, number) || is_asked_for(rel, function, capture, number));
}

/* ---- NOTICEs about rows ---- */

/* "more": what else is to be typed than the call for all rows. */
static void
notice_rows_and(Relation rel, const char *detail, const char *more)
{
	ereport(NOTICE,
			(errmsg("statement changes rows of captured table \"%s\" without publishing events",
					RelationGetRelationName(rel)),
			 errdetail_internal("%s", detail),
			 errhint("To publish them: CALL evpub.resync(ARRAY[%s]::regclass[]);%s",
					 quote_literal_cstr(evpub_qualified_name(RelationGetRelid(rel))), more)));
}

static void
notice_rows(Relation rel, const char *detail)
{
	notice_rows_and(rel, detail, "");
}

/*
 * The call has marks for the tenants that there are now, and none for those before.  A
 * name that the new type does not hold as it was can have none.
 */
static void
notice_values(Relation rel, const EvpubCapture *capture, AttrNumber number)
{
	notice_rows_and(rel,
					psprintf("Values of column \"%s\" may be others now.",
							 NameStr(TupleDescAttr(RelationGetDescr(rel), number - 1)->attname)),
					capture->has_tenant_column && capture->tenant_column.number == number ?
					" And, of each tenant whose name is another now, with the old name, if the new type can hold it: tenant => '...'." : "");
}

/*
 * Is every value the same in an event after it was converted by a plain cast?  Such
 * casts are most of what migrations do.
 */
static bool
keeps_values(Oid old_type, int32 old_typmod, Oid new_type, int32 new_typmod)
{
	Oid			type = getBaseTypeAndTypmod(old_type, &old_typmod);
	Oid			now = getBaseTypeAndTypmod(new_type, &new_typmod);

	if (OidIsValid(get_element_type(type)) && OidIsValid(get_element_type(now)))
		return keeps_values(get_element_type(type), old_typmod,
							get_element_type(now), new_typmod);
	if (type == now && old_typmod == new_typmod)
		return true;
	switch (now)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return type == INT2OID || type == INT4OID || type == INT8OID;
		case TEXTOID:
			return type == VARCHAROID;
		case VARCHAROID:
			if (type != VARCHAROID)
				return type == TEXTOID && new_typmod == -1;
			break;
		case NUMERICOID:
			/* as many digits behind the point */
			if (type != now)
				return false;
			return new_typmod == -1 ||
				(old_typmod != -1 && new_typmod >= old_typmod &&
				 (new_typmod - old_typmod) % 0x10000 == 0);
		case VARBITOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case TIMEOID:
		case TIMETZOID:
			if (type != now)
				return false;
			break;
		default:
			return false;
	}
	return new_typmod == -1 || (old_typmod != -1 && new_typmod >= old_typmod);
}

/* Has ALTER TABLE ... TYPE ... USING given the values of the column? */
static bool
uses_expression(Node *statement, const char *column)
{
	ListCell   *cell;

	if (!IsA(statement, AlterTableStmt))
		return false;
	foreach(cell, ((AlterTableStmt *) statement)->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

		if (command->subtype == AT_AlterColumnType && strcmp(command->name, column) == 0 &&
			castNode(ColumnDef, command->def)->raw_default != NULL)
			return true;
	}
	return false;
}

static bool
has_other_values(Node *statement, const TouchedColumn *touched, Relation rel)
{
	Form_pg_attribute now;

	if (touched->number > RelationGetDescr(rel)->natts)
		return false;
	now = TupleDescAttr(RelationGetDescr(rel), touched->number - 1);
	if (now->attisdropped)
		return false;
	if (!OidIsValid(touched->type))
		return now->atthasdef || now->attidentity != '\0' || now->attgenerated != '\0' ||
			get_typdefault(now->atttypid) != NULL;
	if (uses_expression(statement, NameStr(now->attname)))
		return true;
	return !keeps_values(touched->type, touched->typmod, now->atttypid, now->atttypmod);
}

/* Columns of tables that are captured themselves, each table once. */
static void
notice_columns(Node *statement, const EvpubUnpublished *unpublished, Oid function)
{
	List	   *done = NIL;
	ListCell   *cell;

	foreach(cell, unpublished->columns)
	{
		const TouchedColumn *touched = lfirst(cell);
		Relation	rel;
		EvpubCapture *capture;

		if (list_member_oid(done, touched->relid) ||
			!evpub_is_locked(touched->relid, AccessShareLock) ||
			!evpub_catalog_captured(function, touched->relid))
			continue;
		rel = try_relation_open(touched->relid, NoLock);
		if (rel == NULL)
			continue;
		capture = has_other_values(statement, touched, rel) ?
			capture_of(rel, function, true) : NULL;
		if (capture != NULL && matters(rel, function, capture, touched->number) && has_rows(touched->relid))
		{
			notice_values(rel, capture, touched->number);
			done = lappend_oid(done, touched->relid);
		}
		relation_close(rel, NoLock);
	}
}

/* SET EXPRESSION (17) does not call the hook for the columns that it computes anew. */
static void
notice_expression(const AlterTableCmd *command, Oid relid, Oid function)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(relid, NoLock, NULL))
	{
		Relation	rel;
		EvpubCapture *capture;

		if (!evpub_is_locked(lfirst_oid(cell), AccessShareLock))
			continue;
		rel = try_relation_open(lfirst_oid(cell), NoLock);
		if (rel == NULL)
			continue;
		/* where the statement names only a partition, it stands for its table */
		capture = capture_of(rel, function, RelationGetRelid(rel) != relid);
		if (capture != NULL &&
			matters(rel, function, capture, get_attnum(RelationGetRelid(rel), command->name)) &&
			has_rows(RelationGetRelid(rel)))
			notice_values(rel, capture, get_attnum(RelationGetRelid(rel), command->name));
		relation_close(rel, NoLock);
	}
}

/* A partition has come, or goes. */
static void
notice_partition(const AlterTableCmd *command, Oid relid, Oid function)
{
	Oid			partition = RangeVarGetRelid(((PartitionCmd *) command->def)->name, NoLock, true);
	Relation	rel;

	if (!OidIsValid(partition) || !evpub_catalog_captured(function, relid))
		return;
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		return;
	if (capture_of(rel, function, false) != NULL && has_rows(partition))
		notice_rows(rel, psprintf("Rows of partition \"%s\" come, or go, without events.",
								  get_rel_name(partition)));
	relation_close(rel, NoLock);
}

static void
notice_alter(const AlterTableStmt *alter, Oid function)
{
	Oid			relid = RangeVarGetRelid(alter->relation, NoLock, true);
	ListCell   *cell;

	foreach(cell, OidIsValid(relid) ? alter->cmds : NIL)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

		if (command->subtype == AT_AttachPartition || command->subtype == AT_DetachPartition ||
			command->subtype == AT_DetachPartitionFinalize)
			notice_partition(command, relid, function);
		else if (evpub_sets_expression(command))
			notice_expression(command, relid, function);
	}
}

/* Partitions are gone, and their table is there. */
static void
notice_dropped(const EvpubUnpublished *unpublished)
{
	ListCell   *cell;

	foreach(cell, unpublished->dropped)
	{
		const DroppedRows *dropped = lfirst(cell);
		Relation	rel = try_relation_open(dropped->root, AccessShareLock);

		if (rel == NULL)
			continue;
		notice_rows(rel, dropped->others == 0 ?
					psprintf("Rows of partition \"%s\" are gone without events.",
							 dropped->partition) :
					psprintf("Rows of partition \"%s\" and %d others are gone without events.",
							 dropped->partition, dropped->others));
		relation_close(rel, NoLock);
	}
}

/* ---- types ---- */

/* Is the type made of the other one: a domain, an array, a range, or a composite? */
static bool
is_made_of(Oid type, Oid part)
{
	TupleDesc	desc;
	bool		found = false;

	check_stack_depth();
	type = getBaseType(type);
	if (type == part)
		return true;
	if (OidIsValid(get_element_type(type)))
		return is_made_of(get_element_type(type), part);
	switch (get_typtype(type))
	{
		case TYPTYPE_RANGE:
			return is_made_of(get_range_subtype(type), part);
		case TYPTYPE_MULTIRANGE:
			return is_made_of(get_multirange_range(type), part);
		case TYPTYPE_COMPOSITE:
			break;
		default:
			return false;
	}
	desc = lookup_rowtype_tupdesc(type, -1);
	for (int i = 0; i < desc->natts && !found; i++)
		found = !TupleDescAttr(desc, i)->attisdropped &&
			is_made_of(TupleDescAttr(desc, i)->atttypid, part);
	ReleaseTupleDesc(desc);
	return found;
}

/* Columns whose types are made of this one, as numbers; nothing is locked for it. */
static Bitmapset *
columns_made_of(Oid relid, Oid type)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Bitmapset  *columns = NULL;
	int			natts = 0;

	if (HeapTupleIsValid(tuple))
	{
		natts = ((Form_pg_class) GETSTRUCT(tuple))->relnatts;
		ReleaseSysCache(tuple);
	}
	for (int number = 1; number <= natts; number++)
	{
		Oid			of_column = get_atttype(relid, number);

		if (OidIsValid(of_column) && is_made_of(of_column, type))
			columns = bms_add_member(columns, number);
	}
	return columns;
}

/* A value of an enum has another name: it is in rows of all tables of the type. */
static void
notice_enum(const AlterEnumStmt *alter, Oid function)
{
	Oid			type = LookupTypeNameOid(NULL, makeTypeNameFromNameList(alter->typeName), true);
	ListCell   *cell;

	foreach(cell, OidIsValid(type) ? evpub_catalog_captured_tables(function, InvalidOid) : NIL)
	{
		/* before the table is opened: this statement has nothing to do with other tables */
		Bitmapset  *columns = columns_made_of(lfirst_oid(cell), type);
		Relation	rel;
		EvpubCapture *capture;
		bool		published = false;

		if (bms_is_empty(columns))
			continue;
		rel = try_relation_open(lfirst_oid(cell), AccessShareLock);
		if (rel == NULL)
			continue;
		capture = capture_of(rel, function, true);
		for (int i = -1; capture != NULL && (i = bms_next_member(columns, i)) >= 0;)
			published |= is_published(capture, i);
		if (published && has_rows(RelationGetRelid(rel)))
			notice_rows(rel, psprintf("Value \"%s\" of type %s is \"%s\" now.", alter->oldVal,
									  format_type_be(type), alter->newVal));
		relation_close(rel, AccessShareLock);
	}
}

void
evpub_notice_unpublished(Node *statement, const EvpubUnpublished *unpublished, Oid function)
{
	notice_columns(statement, unpublished, function);
	notice_dropped(unpublished);
	if (IsA(statement, AlterTableStmt))
		notice_alter((AlterTableStmt *) statement, function);
	else if (IsA(statement, AlterEnumStmt) && ((AlterEnumStmt *) statement)->oldVal != NULL)
		notice_enum((AlterEnumStmt *) statement, function);
	else
		evpub_notice_renamed(statement, function);
}
