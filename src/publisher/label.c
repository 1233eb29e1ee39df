/*
 * label.c
 *		New text for the labels of registered databases.
 *
 * A publisher that takes over has a new id, and the labels tell whose database
 * one was when slot and state file are both gone (pg_upgrade, a restored dump).
 * Which databases are registered does not change with it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_shseclabel.h"
#include "commands/seclabel.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "evpub.h"
#include "publisher/registry.h"

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
evpub_registry_relabel(uint64 publisher_id)
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
