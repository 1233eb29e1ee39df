/*
 * registry.h
 *		Which databases publish: a security label on each, and the requests of
 *		transactions that are about to set one.
 */
#ifndef EVPUB_REGISTRY_H
#define EVPUB_REGISTRY_H

#include "postgres.h"

#include "publisher/gate.h"

/* ---- in every backend ---- */

/* Register label provider, object-access hook and transaction callback. */
extern void evpub_registry_init(void);

/* Have the labels of all registered databases name this publisher. */
extern void evpub_registry_relabel(uint64 publisher_id);

/* The publisher id that a label's text names: 16 hexadecimal digits.  False: none. */
extern bool evpub_label_parse(const char *text, uint64 *publisher_id);

/* ---- in the worker ---- */

/*
 * Registered databases by the newest snapshot; *publisher_id gets the id that
 * one of the labels names (0: none, or a label that names none).  Runs a
 * transaction of its own.
 */
extern int	evpub_registry_count(uint64 *publisher_id);

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
