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

/* ---- in the worker ---- */

/*
 * Registered databases by the newest snapshot; *publisher_id gets the id that
 * one of the labels names (0: none, or a label that names none).  Runs a
 * transaction of its own.
 */
extern int	evpub_registry_count(uint64 *publisher_id);

/*
 * The oldest request that waits for the slot: true and the publisher id that
 * its label will name (0: whichever is current).
 */
extern bool evpub_registry_pending(uint64 *publisher_id);

/* Answer all waiting requests: error NULL grants them. */
extern void evpub_registry_answer(const char *error, const char *hint);

/*
 * Forget requests whose transaction has ended.  True if any is left, or if
 * any was forgotten but "fresh" labels must be looked at (see *ended).
 */
extern bool evpub_registry_open_requests(EvpubGate *gate, bool *ended);

/*
 * Under the request lock: if nobody asks and nobody is registered, return
 * true.  From then on a request finds no slot and has to wait for the worker.
 */
extern bool evpub_registry_unused(EvpubGate *gate);

#endif							/* EVPUB_REGISTRY_H */
