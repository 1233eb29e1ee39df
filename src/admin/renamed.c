/*
 * renamed.c
 *		Captured tables that get another name, as NOTICEs.
 *
 * A capture goes with its table.  Migrations put a new table under the name of the
 * old one, and whoever does that may think that the capture stays with the name.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "admin/renamed.h"
#include "admin/tablename.h"
#include "capture/catalog.h"

static bool
is_captured_itself(Relation rel, Oid function)
{
	const TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		if (triggers->triggers[i].tgfoid == function && !triggers->triggers[i].tgisclone)
			return true;
	}
	return false;
}

/* Which call captures a table that takes the place of this one. */
static int
hint_definition(Relation rel)
{
	return errhint("If one is to: SELECT definition FROM evpub.tables WHERE \"table\" = %s::regclass; and call that for the new table.",
				   quote_literal_cstr(evpub_qualified_name(RelationGetRelid(rel))));
}

/*
 * A captured table has another name, or another schema: then there is no old name.
 * A table that takes its place is another.
 */
static void
notice_rename(Oid relid, const char *old_name, Oid function)
{
	Relation	rel;

	if (!OidIsValid(relid) || !evpub_catalog_captured(function, relid))
		return;
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		return;
	if (is_captured_itself(rel, function))
		ereport(NOTICE,
				(errmsg("table %s stays captured under this name",
						evpub_qualified_name(RelationGetRelid(rel))),
				 old_name ?
				 errdetail("{table} and {schema} in its settings mean the new name. A table that takes the name \"%s\" is not captured.",
						   old_name) :
				 errdetail("{table} and {schema} in its settings mean the new name. A table that takes its place in the old schema is not captured, unless a rule of evpub.capture_schemas() means it."),
				 hint_definition(rel)));
	relation_close(rel, NoLock);
}

/* The schema of captured tables has another name. */
static void
notice_schema(const RenameStmt *rename, Oid function)
{
	Oid			schema = get_namespace_oid(rename->newname, true);
	Relation	first = NULL;
	int			count = 0;
	ListCell   *cell;

	if (!OidIsValid(schema))
		return;					/* an event trigger may have renamed it again */
	foreach(cell, evpub_catalog_captured_tables(function, schema))
	{
		Relation	rel = try_relation_open(lfirst_oid(cell), AccessShareLock);

		if (rel == NULL)
			continue;
		if (is_captured_itself(rel, function) && count++ == 0)
			first = rel;
		else
			relation_close(rel, NoLock);
	}
	if (first == NULL)
		return;
	ereport(NOTICE,
			(errmsg_plural("%d table stays captured in schema %s", "%d tables stay captured in schema %s",
						   count, count, quote_identifier(rename->newname)),
			 errdetail("{schema} in their settings means the new name. Tables of a schema that takes the name \"%s\" are not captured, unless a rule of evpub.capture_schemas() means them.",
					   rename->subname),
			 hint_definition(first)));
	relation_close(first, NoLock);
}

void
evpub_notice_renamed(Node *statement, Oid function)
{
	RangeVar   *now;

	if (IsA(statement, RenameStmt))
	{
		RenameStmt *rename = (RenameStmt *) statement;

		if (rename->renameType == OBJECT_SCHEMA)
			notice_schema(rename, function);
		if (rename->renameType != OBJECT_TABLE)
			return;
		now = copyObject(rename->relation);
		now->relname = rename->newname;
		notice_rename(RangeVarGetRelid(now, NoLock, true), rename->relation->relname, function);
	}
	else if (IsA(statement, AlterObjectSchemaStmt) &&
			 ((AlterObjectSchemaStmt *) statement)->objectType == OBJECT_TABLE)
	{
		AlterObjectSchemaStmt *move = (AlterObjectSchemaStmt *) statement;

		now = copyObject(move->relation);
		now->schemaname = move->newschema;
		notice_rename(RangeVarGetRelid(now, NoLock, true), NULL, function);
	}
}
