/*
 * captures.c
 *		Captured tables that triggers of this session have met, compiled.
 *
 * The cache is by trigger: partitions have triggers of their own, and their
 * columns may stand in another order.  Everything that a trigger looks up in
 * catalogs is looked up when it is compiled; any change to the relation, to
 * the captured root, to a schema's name or to a cast makes it compile again.
 *
 * Invalidation may come while the trigger is at work, out of an output
 * function's catalog access, for example.  So it only marks; what was replaced
 * is freed at the end of the transaction.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "nodes/nodes.h"
#include "optimizer/optimizer.h"
#include "rewrite/prs2lock.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "capture/captures.h"
#include "capture/compile.h"
#include "capture/filter.h"
#include "capture/key.h"
#include "capture/options.h"
#include "names.h"
#include "settings.h"

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

Oid
evpub_capture_function(void)
{
	Oid			schema = get_namespace_oid(EVPUB_NAME, true);

	if (!OidIsValid(schema))
		return InvalidOid;
	/* not by LookupFuncName(): who runs DDL needs no right on the schema */
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum("capture"),
						   PointerGetDatum(buildoidvector(NULL, 0)),
						   ObjectIdGetDatum(schema));
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
		HeapTuple	tuple = get_catalog_object_by_oid(catalog, Anum_pg_trigger_oid, oid);

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "could not find tuple for trigger %u", oid);
		root = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
		oid = ((Form_pg_trigger) GETSTRUCT(tuple))->tgparentid;
		heap_freetuple(tuple);
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

/*
 * Option update_columns is in the condition of the trigger that capture_table()
 * makes, so that most updates cost next to nothing.  The condition names the
 * columns of the key and the tenant, too.  When the key has become another one,
 * the condition would hold back updates of the new key, which must be published.
 */
static void
check_condition(const EvpubCapture *capture, const Trigger *trigger, Relation rel)
{
	Bitmapset  *columns = NULL;

	if (capture->counts == NULL || trigger->tgqual == NULL ||
		strcmp(trigger->tgname, EVPUB_UPDATE_TRIGGER) != 0)
		return;
	pull_varattnos(stringToNode(trigger->tgqual), PRS2_NEW_VARNO, &columns);
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		if (!capture->counts[i] || TupleDescAttr(RelationGetDescr(rel), i)->attisdropped ||
			bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, columns))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("trigger \"%s\" of table \"%s\" does not look at column \"%s\"",
						trigger->tgname, RelationGetRelationName(rel),
						NameStr(TupleDescAttr(RelationGetDescr(rel), i)->attname)),
				 errdetail("The key of the table is not the one that it was captured with."),
				 errhint("Call evpub.capture_table() again.")));
	}
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
	capture = evpub_compile_options(&options, rel, find_root(trigger, rel));
	if (capture->has_filter)
		evpub_filter_compile(capture, trigger, rel);
	else
		check_condition(capture, trigger, rel);
	MemoryContextSwitchTo(caller);

	/* it is not in the cache yet, where an invalidation would have marked it */
	capture->stale = before != invalidations;
	return capture;
}

EvpubCapture *
evpub_captures_of_partition(const Trigger *trigger, Relation partition, Oid root)
{
	EvpubOptions options;

	evpub_options_read(&options, trigger->tgnargs, trigger->tgargs, true);
	return evpub_compile_options(&options, partition, root);
}

void
evpub_captures_check(const Trigger *trigger, Relation rel, bool with_index)
{
	EvpubCapture *capture = compile_trigger(trigger, rel);

	if (with_index)
		evpub_key_check_filter(capture, rel);
	MemoryContextDelete(capture->context);
}

EvpubCapture *
evpub_captures_get(const Trigger *trigger, Relation rel)
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
		any_stale |= capture->stale;
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
			 relation == entry->capture->root ||
			 list_member_oid(entry->capture->partition_indexes, relation)))
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

/*
 * A schema's name stands in templates; a cast to json decides how a type is
 * rendered, and whether its function is immutable, under which settings.  When one
 * of these changes, no table is invalidated.
 */
static void
any_changed(Datum arg, int cacheid, uint32 hash)
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
evpub_captures_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, any_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(CASTSOURCETARGET, any_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, any_changed, (Datum) 0);
	RegisterXactCallback(free_replaced, NULL);
}
