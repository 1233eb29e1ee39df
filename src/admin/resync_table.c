/*
 * resync_table.c
 *		A captured table whose rows evpub.resync() publishes.
 *
 * Rows are published as the table's trigger would do it: its arguments are compiled the
 * same way, and its WHEN condition says which rows belong.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodes.h"
#include "nodes/value.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "rewrite/prs2lock.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "admin/arguments.h"
#include "admin/resync.h"
#include "capture/compile.h"
#include "capture/filter.h"

static void
check_owner(Oid relid)
{
	HeapTuple	tuple = evpub_relation_argument(relid);

	evpub_check_owner((Form_pg_class) GETSTRUCT(tuple));
	ReleaseSysCache(tuple);
}

/* ---- its settings ---- */

static void
refuse_partition(Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" is captured as a partition",
					RelationGetRelationName(rel)),
			 errdetail("Consumers know its rows as rows of the partitioned table."),
			 errhint("Name the partitioned table.")));
}

static void __attribute__((noreturn))
refuse_uncaptured(Relation rel, bool truncate_only)
{
	if (truncate_only)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rows of table \"%s\" are not captured",
						RelationGetRelationName(rel)),
				 errdetail("Its operations are only \"truncate\"."),
				 errhint("Capture the table with more operations.")));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("table \"%s\" is not captured", RelationGetRelationName(rel)),
			 errhint("View evpub.tables shows which tables are captured.")));
}

static void
read_options(EvpubOptions *options, const Trigger *trigger)
{
	/* an invalidation may free the trigger */
	char	  **arguments = palloc(Max(trigger->tgnargs, 1) * sizeof(char *));

	for (int i = 0; i < trigger->tgnargs; i++)
		arguments[i] = pstrdup(trigger->tgargs[i]);
	evpub_options_read(options, trigger->tgnargs, arguments, true);
}

/*
 * Which rows the trigger publishes, as far as its condition says that of a row
 * that does not change.  The condition of an update may compare the row with what
 * it was, as that of update_columns does: then it does not say which rows belong.
 */
static Node *
condition_of(const EvpubResyncTable *table, const Trigger *trigger)
{
	Node	   *condition = trigger->tgqual ? stringToNode(trigger->tgqual) : NULL;

	if (condition != NULL && TRIGGER_FOR_UPDATE(trigger->tgtype) &&
		table->options.value[EVPUB_OPTION_FILTER] == NULL &&
		bms_is_member(PRS2_OLD_VARNO, pull_varnos(NULL, condition)))
		return NULL;
	evpub_filter_check_columns(RelationGetRelationName(table->rel), condition);
	return condition;
}

/*
 * Take the settings of the first row trigger by name of those for INSERT: each
 * row that there is was one.  Where there is none, those of the first one for
 * another operation.  Triggers of updates that cross a filter are no use, since
 * their conditions hold for no row at rest.
 */
static void
read_trigger(EvpubResyncTable *table)
{
	Oid			function = LookupFuncName(list_make2(makeString("evpub"),
													 makeString("capture")),
										  0, NULL, false);
	/* the relation's own may be built anew meanwhile */
	TriggerDesc *triggers = CopyTriggerDesc(table->rel->trigdesc);
	bool		truncate_only = false;
	const Trigger *found = NULL;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];
		EvpubOptions options;

		if (trigger->tgfoid != function)
			continue;
		if (trigger->tgisclone)
			refuse_partition(table->rel);
		truncate_only = true;
		if (!TRIGGER_FOR_ROW(trigger->tgtype))
			continue;
		read_options(&options, trigger);
		if (options.value[EVPUB_OPTION_AS] == NULL &&
			(found == NULL ||
			 (TRIGGER_FOR_INSERT(trigger->tgtype) && !TRIGGER_FOR_INSERT(found->tgtype))))
			found = trigger;
	}
	if (found == NULL)
		refuse_uncaptured(table->rel, truncate_only);
	read_options(&table->options, found);
	table->trigger = found->tgoid;
	table->condition = condition_of(table, found);
}

void
evpub_resync_as_owner(const EvpubResyncTable *table, EvpubResyncAs *as)
{
	GetUserIdAndSecContext(&as->user, &as->context);
	SetUserIdAndSecContext(table->rel->rd_rel->relowner,
						   as->context | SECURITY_RESTRICTED_OPERATION);
	as->nest = NewGUCNestLevel();
}

void
evpub_resync_as_caller(const EvpubResyncAs *as)
{
	AtEOXact_GUC(false, as->nest);
	SetUserIdAndSecContext(as->user, as->context);
}

/*
 * The tenant that was asked for, as the column prints it: the letters of a uuid
 * may be given in upper case, for example.
 */
static void
find_tenant(EvpubResyncTable *table)
{
	EvpubCapture *capture = table->capture;
	EvpubSlice	given = evpub_utf8(table->resync->tenant,
								   strlen(table->resync->tenant));
	Form_pg_attribute attribute;
	EvpubResyncAs as;
	Oid			input;
	Oid			ioparam;

	table->tenant = given;
	if (capture->has_tenant && capture->tenant.len == given.len &&
		memcmp(capture->tenant.data, given.data, given.len) == 0)
		return;					/* may stand in for NULL: each row is asked */
	if (!capture->has_tenant_column)
	{
		table->no_such_tenant = true;
		return;
	}
	if (evpub_column_is_json(&capture->tenant_column))
		return;					/* JSON is no input for it: each row is asked */
	attribute = TupleDescAttr(RelationGetDescr(table->rel),
							  capture->tenant_column.number - 1);
	getTypeInputInfo(attribute->atttypid, &input, &ioparam);
	table->tenant_by_value = true;
	/* a domain checks it */
	evpub_resync_as_owner(table, &as);
	table->tenant_value = OidInputFunctionCall(input,
											   pstrdup(table->resync->tenant),
											   ioparam, attribute->atttypmod);
	evpub_resync_as_caller(&as);
	table->tenant = evpub_column_text(&capture->tenant_column,
									  table->tenant_value,
									  palloc(EVPUB_SMALL_TEXT));
}

void
evpub_resync_open(EvpubResyncTable *table, const EvpubResync *resync, Oid relid)
{
	memset(table, 0, sizeof(EvpubResyncTable));
	table->resync = resync;
	check_owner(relid);

	/* the lock that locking rows takes; DDL and TRUNCATE wait for it */
	table->rel = table_open(relid, RowShareLock);
	read_trigger(table);
	if (resync->topic != NULL)
		table->options.value[EVPUB_OPTION_TOPIC] = resync->topic;
	table->capture = evpub_compile_options(&table->options, table->rel, relid);
	if (resync->tenant != NULL)
		find_tenant(table);
}

/* The lock stays until the end of the transaction. */
void
evpub_resync_close(EvpubResyncTable *table)
{
	table_close(table->rel, NoLock);
	table->rel = NULL;
}

/* ---- marks ---- */

static bool
has_placeholder(const char *source, const char *place)
{
	return strcmp(evpub_template_replace(source, place, ""), source) != 0;
}

/*
 * Marks go where the rows go: in topic and key their type is that of the rows.
 * With {pk} in the key rows of a tenant are in many partitions, and marks in
 * the one of the tenant's name.
 */
EvpubCapture *
evpub_resync_mark(const EvpubResyncTable *table, const char *event)
{
	EvpubOptions options = table->options;
	const char *type = options.value[EVPUB_OPTION_TYPE];
	const char *key = options.value[EVPUB_OPTION_KEY];
	const char *topic = options.value[EVPUB_OPTION_TOPIC];
	const char *headers = options.value[EVPUB_OPTION_HEADERS];

	if (table->capture->envelope == EVPUB_ENVELOPE_NONE &&
		(headers == NULL ||
		 !(has_placeholder(headers, "{event}") || has_placeholder(headers, "{type}"))))
		return NULL;

	options.value[EVPUB_OPTION_TYPE] = has_placeholder(type, "{event}") ?
		evpub_template_replace(type, "{event}", event) : psprintf("{table}.%s", event);
	options.value[EVPUB_OPTION_KEY] =
		(table->capture->key.placeholders & EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_PK)) ?
		"{tenant}" : evpub_template_replace(key, "{type}", type);
	options.value[EVPUB_OPTION_TOPIC] =
		evpub_template_replace(topic ? topic : evpub_compiled_default_topic(), "{type}", type);
	if (headers != NULL)
		options.value[EVPUB_OPTION_HEADERS] = evpub_template_replace(headers, "{event}", event);
	/* a tombstone wants a key of a row */
	options.value[EVPUB_OPTION_ON_DELETE] = "event";
	return evpub_compile_options(&options, table->rel, RelationGetRelid(table->rel));
}
