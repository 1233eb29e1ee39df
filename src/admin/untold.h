/*
 * untold.h
 *		DDL that changes what consumers have, without an event.
 */
#ifndef EVPUB_ADMIN_UNTOLD_H
#define EVPUB_ADMIN_UNTOLD_H

#include "postgres.h"

#include "access/attnum.h"
#include "nodes/nodes.h"
#include "nodes/pg_list.h"

/* What a statement has done that its text does not say. */
typedef struct EvpubUntold
{
	MemoryContext context;		/* where it is remembered */
	List	   *columns;		/* that it has added or altered */
	List	   *dropped;		/* partitions with rows */
} EvpubUntold;

/* To be called before a statement runs, in a context that it does not end. */
extern void evpub_untold_begin(EvpubUntold *untold);

/*
 * To be called while it runs, before the change is visible: for each column that it
 * alters, or adds ("is_new"), and for each relation that it drops.  "function" is
 * evpub.capture().
 */
extern void evpub_untold_column(EvpubUntold *untold, Oid relid, AttrNumber number, bool is_new);
extern void evpub_untold_drop(EvpubUntold *untold, Oid relid, Oid function);

/*
 * To be called after it: NOTICEs that say what consumers are not told of, and what
 * to type.
 */
extern void evpub_notice_untold(Node *statement, const EvpubUntold *untold, Oid function);

#endif							/* EVPUB_ADMIN_UNTOLD_H */
