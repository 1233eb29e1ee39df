/*
 * notices.c
 *		NOTICEs of capture_table(), for calls that may not do what was meant.
 *
 * None of it is wrong, so it is no error: a constant that has the name of a
 * column, a partition where the partitioned table was meant, rows that are there
 * already, other settings than before.  A script that captures everything again
 * gets no NOTICE.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "admin/notices.h"
#include "admin/tablename.h"
#include "capture/captures.h"
#include "capture/key.h"

static char *
definition(Oid relid, const EvpubOptions *options)
{
	StringInfoData text;

	initStringInfo(&text);
	evpub_options_definition(&text, evpub_qualified_name(relid), options);
	return text.data;
}

char *
evpub_notice_definition(Relation rel)
{
	Oid			function = evpub_capture_function();
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];
		EvpubOptions options;

		if (trigger->tgfoid != function)
			continue;

		/* made by hand, it may have what is not known: this is for a message */
		evpub_options_read(&options, trigger->tgnargs, trigger->tgargs, false);
		return definition(RelationGetRelid(rel), &options);
	}
	return NULL;
}

/* A constant that looks as if a value was to stand there. */
static void
notice_constants(Relation rel, const EvpubOptions *options)
{
	TupleDesc	desc = RelationGetDescr(rel);
	const char *tenant = options->value[EVPUB_OPTION_TENANT];
	const char *topic = options->value[EVPUB_OPTION_TOPIC];
	const char *key = options->value[EVPUB_OPTION_KEY];
	const char *type = options->value[EVPUB_OPTION_TYPE];

	if (tenant && evpub_has_column(desc, tenant) &&
		options->value[EVPUB_OPTION_TENANT_COLUMN] == NULL)
		ereport(NOTICE,
				(errmsg("the tenant of all events is \"%s\", which is also the name of a column", tenant),
				 errhint("If the column names the tenant: tenant_column => %s.",
						 quote_literal_cstr(tenant))));
	if (topic && evpub_has_column(desc, topic))
		ereport(NOTICE,
				(errmsg("events go to topic \"%s\", which is also the name of a column", topic),
				 errhint("Arguments by position are rel, topic, tenant_column: give the others by name.")));
	if (key && strpbrk(key, "{}") == NULL &&
		(evpub_has_column(desc, key) || evpub_template_is_placeholder(key)))
		ereport(NOTICE,
				(errmsg("all events of the table have the key \"%s\"", key),
				 errhint("The key is a template, such as '{tenant}' or '{tenant}/{table}/{pk}'.")));
	if (type && strpbrk(type, "{}") == NULL &&
		(evpub_has_column(desc, type) || evpub_template_is_placeholder(type)))
		ereport(NOTICE,
				(errmsg("all events of the table have the type \"%s\"", type),
				 errhint("The type is a template, such as '{table}.{event}'.")));
}

/* Others of its family are not captured with it. */
static void
notice_family(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);

	if (rel->rd_rel->relispartition)
	{
		Oid			root = llast_oid(get_partition_ancestors(relid));

		ereport(NOTICE,
				(errmsg("only rows in partition \"%s\" of table \"%s\" are captured",
						RelationGetRelationName(rel), get_rel_name(root)),
				 errhint("To capture all of them: SELECT evpub.release_table(%s); SELECT evpub.capture_table(%s, ...);",
						 quote_literal_cstr(evpub_qualified_name(relid)),
						 quote_literal_cstr(evpub_qualified_name(root)))));
	}
	else if (rel->rd_rel->relkind == RELKIND_RELATION && has_subclass(relid) &&
			 list_length(find_inheritance_children(relid, NoLock)) > 0)
		ereport(NOTICE,
				(errmsg("tables that inherit from \"%s\" are not captured with it",
						RelationGetRelationName(rel)),
				 errhint("Capture each of them that is to be published.")));
}

/* Not by a query: the caller need not have the right to read the table. */
static bool
relation_has_rows(Relation rel)
{
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;
	bool		found;

	if (RelationGetNumberOfBlocks(rel) == 0)
		return false;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(rel, snapshot, 0, NULL);
	slot = table_slot_create(rel, NULL);
	found = table_scan_getnextslot(scan, ForwardScanDirection, slot);
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	return found;
}

/* Partitions are locked with their table. */
static bool
has_rows(Relation rel)
{
	ListCell   *cell;

	if (rel->rd_rel->relkind == RELKIND_RELATION)
		return relation_has_rows(rel);
	foreach(cell, find_all_inheritors(RelationGetRelid(rel), NoLock, NULL))
	{
		Relation	partition = table_open(lfirst_oid(cell), NoLock);
		bool		found = partition->rd_rel->relkind == RELKIND_RELATION &&
			relation_has_rows(partition);

		table_close(partition, NoLock);
		if (found)
			return true;
	}
	return false;
}

void
evpub_notice_capture(Oid relid, const char *was, const EvpubOptions *options)
{
	char	   *now = definition(relid, options);
	char	   *resync;
	Relation	rel;

	/* for nobody: rows are not looked for, either */
	if (client_min_messages > NOTICE && log_min_messages > NOTICE)
		return;
	if (was && strcmp(was, now) == 0)
		return;
	rel = table_open(relid, NoLock);
	notice_constants(rel, options);
	resync = has_rows(rel) ?
		psprintf("CALL evpub.resync(ARRAY[%s]::regclass[]);",
				 quote_literal_cstr(evpub_qualified_name(relid))) : NULL;
	if (was)
		ereport(NOTICE,
				(errmsg("capture of table \"%s\" has changed", RelationGetRelationName(rel)),
				 errdetail("It was: %s.", was),
				 resync ? errhint("To publish the rows that are there as they are captured now: %s", resync) : 0));
	else
		notice_family(rel);
	if (!was && resync)
		ereport(NOTICE,
				(errmsg("rows that table \"%s\" has already are not published",
						RelationGetRelationName(rel)),
				 errhint("To publish them: %s", resync)));
	table_close(rel, NoLock);
}
