/*
 * registry.h
 *		Which databases publish, as the worker sees it: a security label on
 *		each, and the requests of transactions that are about to set one.
 */
#ifndef EVPUB_REGISTRY_H
#define EVPUB_REGISTRY_H

#include "postgres.h"

#include "reader/gate.h"

/*
 * Does a request wait for the slot?  *publisher_id gets the id that a label of
 * theirs will name (0: whichever is current).
 */
extern bool evpub_registry_pending(EvpubGate *gate, uint64 *publisher_id);

/* Answer all waiting requests: error NULL grants them. */
extern void evpub_registry_answer(const char *error, const char *hint);

/* Forget requests whose transaction has ended.  True if any is left. */
extern bool evpub_registry_open_requests(EvpubGate *gate);

/*
 * The first steps of the drop decision (see the head of registry.c): True if
 * nobody is registered.  *generation gets the one that was looked at, *next_xid
 * the xid below which transactions are to be waited for.
 */
extern bool evpub_registry_abandoned(uint64 *generation,
									 FullTransactionId *next_xid);

/*
 * The last step, under the request lock: does nobody ask, is nobody
 * registered, and was nobody since "generation"?  Requests that come from then
 * on wait for the worker, and find no slot.
 */
extern bool evpub_registry_unused(EvpubGate *gate, uint64 generation);

#endif							/* EVPUB_REGISTRY_H */
