/*
 * tables.c
 *		evpub.capture_table() and evpub.release_table(), and what view
 *		evpub.tables shows of trigger arguments.
 *
 * Both run with the caller's rights and do what the caller could do by hand:
 * drop and create triggers.  Options reach the commands only as quoted
 * trigger arguments.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "admin/arguments.h"
#include "admin/guard.h"
#include "admin/notices.h"
#include "admin/result.h"
#include "admin/tablename.h"
#include "admin/tables.h"
#include "admin/triggers.h"
#include "capture/catalog.h"
#include "capture/compile.h"
#include "capture/key.h"
#include "capture/optionjson.h"
#include "compat.h"
#include "registration.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(evpub_capture_table);
PG_FUNCTION_INFO_V1(evpub_release_table);
PG_FUNCTION_INFO_V1(evpub_capture_options);
PG_FUNCTION_INFO_V1(evpub_options);

static Oid
capture_function(void)
{
	return LookupFuncName(list_make2(makeString("evpub"),
									 makeString("capture")),
						  0, NULL, false);
}

/*
 * Making triggers needs ShareRowExclusiveLock, dropping them AccessExclusiveLock.
 * Where there are some, that is taken at once: with the weaker lock first, a
 * transaction that has read the table and then writes it would wait for us, and
 * we for it.  When somebody captures the table while we wait for the weaker
 * lock, that one is given back; nothing has been done under it.
 */
static Relation
lock_table(Oid relid)
{
	Oid			function = capture_function();
	Relation	rel;

	if (!evpub_catalog_captured(function, relid))
	{
		rel = table_open(relid, ShareRowExclusiveLock);
		if (!evpub_catalog_captured(function, relid))
			return rel;
		table_close(rel, ShareRowExclusiveLock);
	}
	return table_open(relid, AccessExclusiveLock);
}

/*
 * Lock a table whose capture is to change, after checking that the caller
 * may: nobody else should be able to hold up its writers.
 */
static Relation
open_table(Oid relid)
{
	HeapTuple	tuple = evpub_relation_argument(relid);
	Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

	if (form->relkind != RELKIND_RELATION &&
		form->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot capture \"%s\"", NameStr(form->relname)),
				 errdetail("It is not a table."),
				 errhint("Only ordinary and partitioned tables can be captured.")));
	if (IsSystemClass(relid, form))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot capture system catalog \"%s\"",
						NameStr(form->relname)),
				 errhint("Only tables of users can be captured.")));
	evpub_check_owner(form);
	ReleaseSysCache(tuple);

	return lock_table(relid);
}

static void
run(const char *command, int expected)
{
	int			result = SPI_execute(command, false, 0);

	if (result != expected)
		elog(ERROR, "could not run \"%s\": %s", command,
			 SPI_result_code_string(result));
}

/*
 * Names of the table's own capture triggers, whoever made them: a second one
 * would publish everything twice.  ERROR if it has one as somebody's partition.
 */
static List *
find_triggers(Relation rel)
{
	Oid			function = capture_function();
	TriggerDesc *triggers;
	List	   *names = NIL;

	/* not before the lookup above: an invalidation builds it anew */
	triggers = rel->trigdesc;
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgfoid != function)
			continue;
		if (trigger->tgisclone)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" is captured as a partition",
							RelationGetRelationName(rel)),
					 errdetail("Its changes are published with the settings of the partitioned table."),
					 errhint("Capture or release the partitioned table, or detach the partition first.")));
		names = lappend(names, pstrdup(trigger->tgname));
	}
	return names;
}

static void
drop_triggers(const char *table, List *names)
{
	ListCell   *cell;

	foreach(cell, names)
		run(psprintf("DROP TRIGGER %s ON %s",
					 quote_identifier((char *) lfirst(cell)), table),
			SPI_OK_UTILITY);
}

static void
check_options(const EvpubOptions *options, Relation rel, Oid root)
{
	evpub_key_check_filter(evpub_compile_options(options, rel, root), rel);
}

/*
 * Partitions have to be such that they can be captured with these options;
 * otherwise their next writer would fail.  The changes of one with a capture of
 * its own would be published twice.  Partitions are locked as the table is.
 */
static void
check_partitions(const EvpubOptions *options, Relation rel, bool replaces)
{
	Oid			function = capture_function();
	List	   *partitions;
	ListCell   *cell;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return;
	partitions = find_all_inheritors(RelationGetRelid(rel),
									 replaces ? AccessExclusiveLock : ShareRowExclusiveLock,
									 NULL);
	foreach(cell, partitions)
	{
		Relation	partition;
		TriggerDesc *triggers;

		if (lfirst_oid(cell) == RelationGetRelid(rel))
			continue;
		partition = table_open(lfirst_oid(cell), NoLock);
		triggers = partition->trigdesc;
		for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		{
			if (triggers->triggers[i].tgfoid == function &&
				!triggers->triggers[i].tgisclone)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("partition \"%s\" of table \"%s\" is captured itself",
								RelationGetRelationName(partition),
								RelationGetRelationName(rel)),
						 errdetail("Its changes would be published twice."),
						 errhint("Use evpub.release_table() for the partition first.")));
		}
		check_options(options, partition, RelationGetRelid(rel));
		table_close(partition, NoLock);
	}
}

/* What capture_table() is to do to a table that is open and locked. */
typedef struct Capture
{
	Oid			relid;
	Relation	rel;
	const EvpubOptions *options;
} Capture;

static void
capture(void *arg)
{
	Capture    *capture = arg;
	List	   *old = find_triggers(capture->rel);
	char	   *table = evpub_qualified_name(RelationGetRelid(capture->rel));
	char	   *was = old != NIL ? evpub_notice_definition(capture->rel) : NULL;

	/* for its errors: better now than at the first change */
	check_options(capture->options, capture->rel, capture->relid);
	check_partitions(capture->options, capture->rel, old != NIL);
	/* DROP TRIGGER refuses a table that somebody has open */
	table_close(capture->rel, NoLock);

	SPI_connect();
	drop_triggers(table, old);
	SPI_finish();
	evpub_triggers_create(capture->relid, capture->options);
	evpub_notice_capture(capture->relid, was, capture->options);
}

/*
 * The caller may be a superuser who captures a table of somebody else's, or a rule
 * that captures what somebody makes: the owner's functions run with his rights.
 */
void
evpub_capture_relation(Oid relid, const EvpubOptions *options)
{
	Capture		arg;

	/* otherwise writers would fail; but where nothing is published, none does */
	if (!evpub_preloaded())
		(void) evpub_database_registered();
	arg.relid = relid;
	arg.rel = open_table(relid);
	arg.options = options;
	evpub_guarded(arg.rel->rd_rel->relowner, NIL, capture, &arg);
}

/* Arguments: rel, the options in their order; NULL is the default. */
Datum
evpub_capture_table(PG_FUNCTION_ARGS)
{
	EvpubOptions options;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("table to capture must not be null"),
				 errhint("Give the table as argument \"rel\".")));
	evpub_options_of_arguments(&options, fcinfo, 1);
	evpub_capture_relation(PG_GETARG_OID(0), &options);
	PG_RETURN_VOID();
}

static void
release(void *arg)
{
	Relation	rel = arg;
	List	   *names = find_triggers(rel);
	char	   *table = evpub_qualified_name(RelationGetRelid(rel));

	if (names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not captured",
						RelationGetRelationName(rel)),
				 errhint("View evpub.tables shows which tables are captured.")));

	table_close(rel, NoLock);

	SPI_connect();
	drop_triggers(table, names);
	SPI_finish();
}

Datum
evpub_release_table(PG_FUNCTION_ARGS)
{
	Relation	rel;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("table to release must not be null"),
				 errhint("Give the table as argument \"rel\".")));

	rel = open_table(PG_GETARG_OID(0));
	evpub_guarded(rel->rd_rel->relowner, NIL, release, rel);

	PG_RETURN_VOID();
}

/* Split pg_trigger.tgargs, where a NUL ends each argument. */
static char **
split_arguments(bytea *packed, int *count)
{
	const char *p = VARDATA_ANY(packed);
	const char *end = p + VARSIZE_ANY_EXHDR(packed);
	char	  **arguments = palloc((end - p + 1) * sizeof(char *));

	*count = 0;
	while (p < end)
	{
		char	   *argument = pnstrdup(p, end - p);

		arguments[(*count)++] = argument;
		p += strlen(argument) + 1;
	}
	return arguments;
}

/*
 * evpub_internal.capture_options(rel, tgargs, on_replica): the options of a capture
 * trigger as an object whose values are text, and the call that gives them.
 * on_replica is what pg_trigger says, whatever the arguments do.  Arguments that
 * are not known are passed over, so that one bad trigger does not hide the others.
 */
Datum
evpub_capture_options(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	bytea	   *packed = PG_GETARG_BYTEA_PP(1);
	char	   *table = evpub_qualified_name(relid);
	EvpubOptions options;
	EvpubResult *row = evpub_result_row(fcinfo);
	StringInfoData definition;
	char	  **arguments;
	int			count;

	if (table == NULL)
		PG_RETURN_NULL();		/* dropped meanwhile */

	arguments = split_arguments(packed, &count);
	evpub_options_read(&options, count, arguments, false);
	options.value[EVPUB_OPTION_ON_REPLICA] = PG_GETARG_BOOL(2) ? "true" : "false";

	initStringInfo(&definition);
	evpub_options_definition(&definition, table, &options);
	if (options.value[EVPUB_OPTION_TOPIC] == NULL)
		options.value[EVPUB_OPTION_TOPIC] = evpub_compiled_default_topic();
	evpub_result_set(row, "options", JSONBOID,
					 JsonbPGetDatum(evpub_optionjson_texts(&options)));
	evpub_result_set_text(row, "definition", definition.data);
	PG_RETURN_DATUM(evpub_result_datum(row));
}

/* evpub_internal.options(): the options of evpub.capture_table(), in their order. */
Datum
evpub_options(PG_FUNCTION_ARGS)
{
	EvpubResult *row = evpub_result_rows(fcinfo);
	EvpubOptions defaults;

	evpub_options_default(&defaults);
	for (int i = 0; i < EVPUB_TABLE_OPTIONS; i++)
	{
		EvpubOption option = (EvpubOption) i;

		evpub_result_set_text(row, "name", evpub_option_name(option));
		evpub_result_set_text(row, "type", evpub_option_type(option));
		evpub_result_set_text(row, "value", defaults.value[i]);
		evpub_result_set_text(row, "comment", evpub_option_comment(option));
		evpub_result_put(row);
	}
	return (Datum) 0;
}
