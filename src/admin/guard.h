/*
 * guard.h
 *		Keeps functions of a table's owner from running with the rights of
 *		whoever plans a query over the table, or makes a trigger on it.
 */
#ifndef EVPUB_ADMIN_GUARD_H
#define EVPUB_ADMIN_GUARD_H

#include "postgres.h"

#include "nodes/pg_list.h"

/*
 * Call work(arg) as the current user.  Functions that run meanwhile run with the
 * rights of "owner", and restricted (SECURITY_RESTRICTED_OPERATION), with settings
 * as before at their end; but not those in "trusted" (a list of OIDs), which the
 * caller has named himself, nor what these call, nor event triggers, which only
 * superusers make, nor functions in C that only compute.  What the owner may not call,
 * and built-in functions that may read or write something, are an error.
 *
 * Where the current user is the owner, this is a plain call.
 */
extern void evpub_guarded(Oid owner, List *trusted, void (*work) (void *arg), void *arg);

/* Add the functions that queries (analyzed and rewritten) name. */
extern List *evpub_functions_of(List *queries, List *functions);

extern void evpub_guard_init(void);

#endif							/* EVPUB_ADMIN_GUARD_H */
