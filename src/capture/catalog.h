/*
 * catalog.h
 *		What the catalog says of a relation's triggers.
 */
#ifndef EVPUB_CAPTURE_CATALOG_H
#define EVPUB_CAPTURE_CATALOG_H

#include "postgres.h"

#include "nodes/pg_list.h"

/*
 * The triggers of a relation that may not be locked, and so may not be opened:
 * a list of Form_pg_trigger, without the columns of variable length, in the
 * current memory context.  For list_free_deep().
 */
extern List *evpub_catalog_triggers(Oid relid);

#endif							/* EVPUB_CAPTURE_CATALOG_H */
