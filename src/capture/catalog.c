/*
 * catalog.c
 *		What the catalog says of a relation's triggers.
 *
 * Whoever holds a lock on a relation finds them in its relcache entry.  This is
 * for those who ask before the lock, or about a partition that their statement
 * has not locked.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_trigger.h"
#include "utils/fmgroids.h"

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
