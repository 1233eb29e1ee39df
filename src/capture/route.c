/*
 * route.c
 *		What a capture trigger does, compiled from its arguments and cached.
 *
 * The cache is by trigger: partitions have triggers of their own, and their
 * columns may stand in another order.  Everything that a trigger looks up in
 * catalogs is looked up when it is compiled; any change to the relation, to
 * the captured root or to a schema's name makes it compile again.
 *
 * Invalidation may come while the trigger is at work, out of an output
 * function's catalog access, for example.  So it only marks; what was replaced
 * is freed at the end of the transaction.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_index.h"
#include "catalog/pg_trigger.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "capture/route.h"
#include "settings.h"

/* ATTRIBUTE_GENERATED_VIRTUAL, which is there from 18 on */
#define GENERATED_VIRTUAL 'v'

#define TEXT_SLICE(s) {s, sizeof(s) - 1}

const EvpubSlice evpub_op_names[EVPUB_OPS] = {
	[EVPUB_OP_CREATE] = TEXT_SLICE("create"),
	[EVPUB_OP_UPDATE] = TEXT_SLICE("update"),
	[EVPUB_OP_DELETE] = TEXT_SLICE("delete"),
};
const EvpubSlice evpub_event_names[EVPUB_OPS] = {
	[EVPUB_OP_CREATE] = TEXT_SLICE("created"),
	[EVPUB_OP_UPDATE] = TEXT_SLICE("updated"),
	[EVPUB_OP_DELETE] = TEXT_SLICE("deleted"),
};

/* Places that are the same for all rows of a trigger and operation. */
#define ROW_PLACES (EVPUB_PLACE_BIT(EVPUB_PLACE_TENANT) | \
					EVPUB_PLACE_BIT(EVPUB_PLACE_PK))

typedef struct CacheEntry
{
	Oid			trigger;
	EvpubCapture *capture;		/* NULL: none compiled */
} CacheEntry;

static HTAB *cache = NULL;

/* The last one used, since triggers fire row by row. */
static Oid	last_trigger = InvalidOid;
static EvpubCapture *last_capture = NULL;

/* Replaced in this transaction; a firing trigger may still use them. */
static List *replaced = NIL;

/* Some entry of the cache is stale. */
static bool any_stale = false;

/* Moves with every invalidation that could concern us. */
static uint64 invalidations = 0;

/* ---- compiling ---- */

static EvpubSlice
keep_text(const char *text)
{
	char	   *copy = pstrdup(text);

	return evpub_utf8(copy, strlen(copy));
}

const char *
evpub_route_default_topic(void)
{
	return evpub_default_topic != NULL ? evpub_default_topic : "";
}

/*
 * Fill in the columns of the primary key.  RelationGetPrimaryKeyIndex() is no
 * use: it passes over a deferrable key, and has other arguments in 18.
 */
static void
compile_key_columns(EvpubCapture *capture, Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		HeapTuple	tuple;
		Form_pg_index index;

		tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for index %u", lfirst_oid(cell));
		index = (Form_pg_index) GETSTRUCT(tuple);
		if (index->indisprimary)
		{
			capture->key_columns = index->indnkeyatts;
			capture->key_column = palloc0(index->indnkeyatts *
										  sizeof(EvpubColumn));
			for (int i = 0; i < index->indnkeyatts; i++)
				evpub_column_init(&capture->key_column[i],
								  RelationGetDescr(rel),
								  index->indkey.values[i]);
		}
		ReleaseSysCache(tuple);
	}
	list_free(indexes);

	if (capture->key_columns == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("cannot capture table \"%s\" without a primary key",
						RelationGetRelationName(rel)),
				 errdetail("An event names its row by the primary key."),
				 errhint("Add a primary key.")));
}

static void
compile_tenant_column(EvpubCapture *capture, Relation rel, const char *name)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped ||
			strcmp(NameStr(attribute->attname), name) != 0)
			continue;
		if (attribute->attgenerated == GENERATED_VIRTUAL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("virtual generated column \"%s\" of table \"%s\" cannot be the tenant",
							name, RelationGetRelationName(rel)),
					 errdetail("Triggers do not see the values of virtual generated columns."),
					 errhint("Make it a stored generated column.")));
		evpub_column_init(&capture->tenant_column, desc, i + 1);
		capture->has_tenant_column = true;
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table \"%s\" does not exist",
					name, RelationGetRelationName(rel)),
			 errdetail("It is named as tenant_column."),
			 errhint("Name the column that holds the tenant, or give a constant or template as tenant.")));
}

/* The names that templates of this relation may hold. */
static void
fill_names(EvpubPlaceValues *values, Oid root)
{
	char	   *schema = get_namespace_name(get_rel_namespace(root));
	char	   *table = get_rel_name(root);
	char	   *database = get_database_name(MyDatabaseId);

	if (schema == NULL || table == NULL || database == NULL)
		elog(ERROR, "cache lookup failed for relation %u", root);
	values->place[EVPUB_PLACE_DATABASE] = keep_text(database);
	values->place[EVPUB_PLACE_SCHEMA] = keep_text(schema);
	values->place[EVPUB_PLACE_TABLE] = keep_text(table);
}

static void
compile_tenant(EvpubCapture *capture, const EvpubOptions *options,
			   Relation rel, const EvpubPlaceValues *names, uint32 known)
{
	const char *column = options->value[EVPUB_OPTION_TENANT_COLUMN];
	const char *tenant = options->value[EVPUB_OPTION_TENANT];
	EvpubTemplate template;
	StringInfoData text;

	if (column == NULL && tenant == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no tenant is given for table \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("Every event names the tenant that it belongs to."),
				 errhint("Give tenant_column, or tenant as a constant or a template such as '{schema}'.")));
	if (column != NULL)
		compile_tenant_column(capture, rel, column);
	if (tenant != NULL)
	{
		evpub_template_compile(&template, tenant, EVPUB_TEMPLATE_TENANT,
							   "tenant", names, known);
		initStringInfo(&text);
		evpub_template_render(&text, &template, NULL);
		capture->tenant.data = text.data;
		capture->tenant.len = text.len;
		capture->has_tenant = true;
	}
}

void
evpub_route_render(const EvpubCapture *capture, EvpubPlaceValues *values,
				   StringInfo type_text, StringInfo topic, StringInfo type)
{
	EvpubSlice	text;

	evpub_template_render(type_text, &capture->type, values);
	text.data = type_text->data;
	text.len = type_text->len;
	values->place[EVPUB_PLACE_TYPE] = text;
	evpub_json_string(type, text);

	evpub_template_render(topic, &capture->topic, values);
	text.data = topic->data;
	text.len = topic->len;
	evpub_topic_check(text);
}

/* Refuse a topic that is seen to be illegal already now. */
static void
check_constant_topics(const EvpubCapture *capture)
{
	for (int op = 0; op < EVPUB_OPS; op++)
	{
		EvpubPlaceValues values;
		StringInfoData type_text;
		StringInfoData topic;
		StringInfoData type;

		initStringInfo(&type_text);
		initStringInfo(&topic);
		initStringInfo(&type);
		values.place[EVPUB_PLACE_OP] = evpub_op_names[op];
		values.place[EVPUB_PLACE_EVENT] = evpub_event_names[op];
		evpub_route_render(capture, &values, &type_text, &topic, &type);
	}
}

static void
compile_templates(EvpubCapture *capture, const EvpubOptions *options,
				  const EvpubPlaceValues *names, uint32 known)
{
	const char *topic = options->value[EVPUB_OPTION_TOPIC];
	uint32		topic_places;

	evpub_template_compile(&capture->key, options->value[EVPUB_OPTION_KEY],
						   EVPUB_TEMPLATE_KEY, "key", names, known);
	evpub_template_compile(&capture->type, options->value[EVPUB_OPTION_TYPE],
						   EVPUB_TEMPLATE_TYPE, "type", names, known);
	if (topic != NULL)
		evpub_template_compile(&capture->topic, topic, EVPUB_TEMPLATE_TOPIC,
							   "topic", names, known);
	else
		evpub_template_compile(&capture->topic, evpub_route_default_topic(),
							   EVPUB_TEMPLATE_TOPIC, "evpub.default_topic",
							   names, known);
	capture->places = capture->topic.places | capture->key.places |
		capture->type.places;

	topic_places = capture->topic.places;
	if (topic_places & EVPUB_PLACE_BIT(EVPUB_PLACE_TYPE))
		topic_places |= capture->type.places;
	capture->route_is_constant =
		((topic_places | capture->type.places) & ROW_PLACES) == 0;
	if (capture->route_is_constant)
		check_constant_topics(capture);
}

/* Tables whose rows come and go with their events. */
static void
check_relation(Relation rel)
{
	const char *name = RelationGetRelationName(rel);

	switch (rel->rd_rel->relpersistence)
	{
		case RELPERSISTENCE_TEMP:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("cannot capture temporary table \"%s\"", name),
					 errdetail("Nobody but this session could read the rows that its events name."),
					 errhint("Use evpub.publish() to publish an event by hand.")));
			break;
		case RELPERSISTENCE_UNLOGGED:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("cannot capture unlogged table \"%s\"", name),
					 errdetail("After a crash the table is empty, but its events would be published."),
					 errhint("Use ALTER TABLE ... SET LOGGED first.")));
			break;
		default:
			break;
	}
}

EvpubCapture *
evpub_route_compile(const EvpubOptions *options, Relation rel, Oid root)
{
	EvpubCapture *capture = palloc0(sizeof(EvpubCapture));
	EvpubPlaceValues names;
	uint32		known = EVPUB_PLACE_BIT(EVPUB_PLACE_DATABASE) |
		EVPUB_PLACE_BIT(EVPUB_PLACE_SCHEMA) | EVPUB_PLACE_BIT(EVPUB_PLACE_TABLE);
	TupleDesc	desc = RelationGetDescr(rel);

	capture->context = CurrentMemoryContext;
	capture->relation = RelationGetRelid(rel);
	capture->root = root;
	capture->default_topic_generation = evpub_default_topic_generation;

	check_relation(rel);
	evpub_options_check(options);
	fill_names(&names, root);
	compile_tenant(capture, options, rel, &names, known);
	compile_key_columns(capture, rel);
	compile_templates(capture, options, &names, known);

	if (capture->has_tenant_column)
		capture->last_column = capture->tenant_column.number;
	for (int i = 0; i < capture->key_columns; i++)
		capture->last_column = Max(capture->last_column,
								   capture->key_column[i].number);
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attisdropped)
			capture->has_dropped_columns = true;
	}
	return capture;
}

/* ---- the cache ---- */

/*
 * The relation that was captured: where the chain of cloned triggers begins.
 */
static Oid
find_root(const Trigger *trigger, Relation rel)
{
	Oid			oid = trigger->tgoid;
	Oid			root = RelationGetRelid(rel);
	Relation	catalog;

	if (!trigger->tgisclone)
		return root;

	catalog = table_open(TriggerRelationId, AccessShareLock);
	while (OidIsValid(oid))
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(oid));
		scan = systable_beginscan(catalog, TriggerOidIndexId, true, NULL, 1,
								  &key);
		tuple = systable_getnext(scan);
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "could not find tuple for trigger %u", oid);
		root = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
		oid = ((Form_pg_trigger) GETSTRUCT(tuple))->tgparentid;
		systable_endscan(scan);
	}
	table_close(catalog, AccessShareLock);
	return root;
}

static void
create_cache(void)
{
	HASHCTL		control;

	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(CacheEntry);
	control.hcxt = TopMemoryContext;
	cache = hash_create("evpub capture settings", 32, &control,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static EvpubCapture *
compile_trigger(const Trigger *trigger, Relation rel)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	EvpubCapture *capture;
	EvpubOptions options;
	uint64		before = invalidations;
	char	  **arguments;

	/* under the caller's context until it is complete, for the sake of errors */
	context = AllocSetContextCreate(caller, "evpub capture settings",
									ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(context);
	arguments = palloc(Max(trigger->tgnargs, 1) * sizeof(char *));
	for (int i = 0; i < trigger->tgnargs; i++)
		arguments[i] = pstrdup(trigger->tgargs[i]);
	evpub_options_read(&options, trigger->tgnargs, arguments, true);
	capture = evpub_route_compile(&options, rel, find_root(trigger, rel));
	MemoryContextSwitchTo(caller);

	/* it is not in the cache yet, where an invalidation would have marked it */
	if (before != invalidations)
	{
		capture->stale = true;
		any_stale = true;
	}
	return capture;
}

EvpubCapture *
evpub_route_get(const Trigger *trigger, Relation rel)
{
	CacheEntry *entry;
	EvpubCapture *capture;
	bool		found;

	if (likely(last_trigger == trigger->tgoid && !last_capture->stale &&
			   last_capture->default_topic_generation ==
			   evpub_default_topic_generation))
		return last_capture;

	if (cache == NULL)
		create_cache();
	entry = hash_search(cache, &trigger->tgoid, HASH_ENTER, &found);
	if (!found)
		entry->capture = NULL;
	if (entry->capture == NULL || entry->capture->stale ||
		entry->capture->default_topic_generation !=
		evpub_default_topic_generation)
	{
		capture = compile_trigger(trigger, rel);

		/* compiling may have run code that fired the same trigger */
		entry = hash_search(cache, &trigger->tgoid, HASH_ENTER, &found);
		if (found && entry->capture != NULL)
		{
			MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

			replaced = lappend(replaced, entry->capture);
			MemoryContextSwitchTo(caller);
		}
		MemoryContextSetParent(capture->context, TopMemoryContext);
		entry->capture = capture;
	}
	last_trigger = trigger->tgoid;
	last_capture = entry->capture;
	return last_capture;
}

/* InvalidOid: every relation */
static void
invalidate(Oid relation)
{
	HASH_SEQ_STATUS status;
	CacheEntry *entry;

	invalidations++;
	if (cache == NULL)
		return;
	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->capture != NULL &&
			(relation == InvalidOid || relation == entry->capture->relation ||
			 relation == entry->capture->root))
		{
			entry->capture->stale = true;
			any_stale = true;
		}
	}
}

static void
relation_changed(Datum arg, Oid relation)
{
	(void) arg;

	invalidate(relation);
}

/* A schema's name stands in templates, and its tables hear nothing of it. */
static void
schema_changed(Datum arg, int cacheid, uint32 hash)
{
	(void) arg;
	(void) cacheid;
	(void) hash;

	invalidate(InvalidOid);
}

static void
free_replaced(XactEvent event, void *arg)
{
	HASH_SEQ_STATUS status;
	CacheEntry *entry;
	ListCell   *cell;

	(void) arg;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;

	foreach(cell, replaced)
		MemoryContextDelete(((EvpubCapture *) lfirst(cell))->context);
	list_free(replaced);
	replaced = NIL;

	/* stale ones may belong to triggers that are gone */
	if (!any_stale)
		return;
	any_stale = false;
	last_trigger = InvalidOid;
	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->capture != NULL && !entry->capture->stale)
			continue;
		if (entry->capture != NULL)
			MemoryContextDelete(entry->capture->context);
		hash_search(cache, &entry->trigger, HASH_REMOVE, NULL);
	}
}

void
evpub_route_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, schema_changed, (Datum) 0);
	RegisterXactCallback(free_replaced, NULL);
}
