/*
 * label.c
 *		The labels of registered databases: what they say, who has one, and
 *		new text for them.
 *
 * A publisher that takes over has a new id.  When slot and state file are both
 * gone (pg_upgrade, a restored dump), the labels say whose database one was, so
 * they get the new id.  Which databases are registered does not change with it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_shseclabel.h"
#include "commands/seclabel.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "names.h"
#include "publisher/label.h"
#include "registration.h"

/* Our label on a database: true, and the publisher id that it names, or 0. */
static bool
read_label(HeapTuple tuple, TupleDesc desc, uint64 *publisher_id)
{
	bool		isnull;
	char	   *provider;
	char	   *label;

	if (((Form_pg_shseclabel) GETSTRUCT(tuple))->classoid != DatabaseRelationId)
		return false;
	provider = TextDatumGetCString(heap_getattr(tuple, Anum_pg_shseclabel_provider,
												desc, &isnull));
	if (strcmp(provider, EVPUB_NAME) != 0)
		return false;
	label = TextDatumGetCString(heap_getattr(tuple, Anum_pg_shseclabel_label,
											 desc, &isnull));
	if (!evpub_label_parse(label, publisher_id))
		*publisher_id = 0;
	return true;
}

int
evpub_label_count(uint64 *publisher_id)
{
	MemoryContext caller = CurrentMemoryContext;
	bool		own_transaction = !IsTransactionState();
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;
	int			count = 0;

	*publisher_id = 0;
	if (own_transaction)
		StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	relation = table_open(SharedSecLabelRelationId, AccessShareLock);
	scan = table_beginscan(relation, GetActiveSnapshot(), 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		uint64		id;

		if (!read_label(tuple, RelationGetDescr(relation), &id))
			continue;
		count++;
		if (id != 0)
			*publisher_id = id;
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	PopActiveSnapshot();
	if (own_transaction)
		CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return count;
}

/* OIDs of the databases that have any label; whose it is we see later. */
static List *
labelled_databases(void)
{
	Relation	relation = table_open(SharedSecLabelRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(relation, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	List	   *databases = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_shseclabel label = (Form_pg_shseclabel) GETSTRUCT(tuple);

		if (label->classoid == DatabaseRelationId)
			databases = list_append_unique_oid(databases, label->objoid);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return databases;
}

void
evpub_label_rename(uint64 publisher_id)
{
	char	   *text = psprintf("%016llx", (unsigned long long) publisher_id);
	ListCell   *cell;

	foreach(cell, labelled_databases())
	{
		ObjectAddress database;

		/* as SECURITY LABEL does; then look whether it is registered still */
		LockSharedObject(DatabaseRelationId, lfirst_oid(cell), 0, ShareUpdateExclusiveLock);
		ObjectAddressSet(database, DatabaseRelationId, lfirst_oid(cell));
		if (GetSecurityLabel(&database, EVPUB_NAME) != NULL)
			SetSecurityLabel(&database, EVPUB_NAME, text);
	}
	CommandCounterIncrement();
}
