/*
 * catalog.c
 *		What the catalog says of triggers.
 *
 * Whoever holds a lock on a relation finds its triggers in its relcache entry.
 * This is for those who ask before the lock, or about a partition that their
 * statement has not locked, or which tables are captured.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_trigger.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "capture/catalog.h"

List *
evpub_catalog_triggers(Oid relid)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	List	   *triggers = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = palloc0(sizeof(FormData_pg_trigger));

		memcpy(trigger, GETSTRUCT(tuple), offsetof(FormData_pg_trigger, tgattr));
		triggers = lappend(triggers, trigger);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return triggers;
}

bool
evpub_catalog_captured(Oid function, Oid relid)
{
	List	   *triggers = evpub_catalog_triggers(relid);
	bool		found = false;
	ListCell   *cell;

	foreach(cell, triggers)
		found |= ((Form_pg_trigger) lfirst(cell))->tgfoid == function;
	list_free_deep(triggers);
	return found;
}

List *
evpub_catalog_captured_tables(Oid function, Oid schema)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	List	   *tables = NIL;
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		if (trigger->tgfoid == function &&
			(!OidIsValid(schema) || get_rel_namespace(trigger->tgrelid) == schema))
			tables = lappend_oid(tables, trigger->tgrelid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);

	/* those with several triggers once */
	list_sort(tables, list_oid_cmp);
	list_deduplicate_oid(tables);
	return tables;
}
