/*
 * catalog.h
 *		What the catalog says of triggers.
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

/* Has a table capture triggers, its own or as a partition?  "function" is theirs. */
extern bool evpub_catalog_captured(Oid function, Oid relid);

/*
 * All tables that have capture triggers, partitions of captured tables among
 * them, each once; only those of one schema if that is valid.
 */
extern List *evpub_catalog_captured_tables(Oid function, Oid schema);

#endif							/* EVPUB_CAPTURE_CATALOG_H */
