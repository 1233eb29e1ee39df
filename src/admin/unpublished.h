/*
 * unpublished.h
 *		DDL that changes what consumers have, without an event.
 */
#ifndef EVPUB_ADMIN_UNPUBLISHED_H
#define EVPUB_ADMIN_UNPUBLISHED_H

#include "postgres.h"

#include "access/attnum.h"
#include "nodes/nodes.h"
#include "nodes/pg_list.h"

/* What a statement has done; its text does not say it. */
typedef struct EvpubUnpublished
{
	MemoryContext context;		/* where it is remembered */
	List	   *columns;		/* that it has added or altered */
	List	   *dropped;		/* partitions with rows */
} EvpubUnpublished;

/* To be called before a statement runs, in a context that it does not end. */
extern void evpub_unpublished_begin(EvpubUnpublished *unpublished);

/*
 * To be called while it runs, before the change is visible: for each column that it
 * alters, or adds ("is_new"), and for each relation that it drops.  "function" is
 * evpub.capture().
 */
extern void evpub_unpublished_column(EvpubUnpublished *unpublished, Oid relid,
									 AttrNumber number, bool is_new);
extern void evpub_unpublished_drop(EvpubUnpublished *unpublished, Oid relid, Oid function);

/*
 * To be called after it: NOTICEs that say which changes were not published, and
 * how to publish them.
 */
extern void evpub_notice_unpublished(Node *statement, const EvpubUnpublished *unpublished,
									 Oid function);

#endif							/* EVPUB_ADMIN_UNPUBLISHED_H */
