/*
 * registrar.h
 *		The worker's part in registration: the slot comes with the first database
 *		that is registered, and goes with the last.
 */
#ifndef EVPUB_REGISTRAR_H
#define EVPUB_REGISTRAR_H

#include "postgres.h"

#include "publisher/state.h"

/* Give transactions that register databases their slot, or the error. */
extern void evpub_registrar_answer(EvpubWorker *worker);

/*
 * Drop slot and state file if nobody is registered any more and nothing is
 * left to be published.  To be called in each cycle.
 */
extern void evpub_registrar_consider(EvpubWorker *worker);

/*
 * A limit is reached, for this reason: if nobody is registered, drop slot and file now,
 * give up what is not published, and say so.  False if somebody is registered, or that
 * is not known right now.  disk_full: the database needs its space soon.
 */
extern bool evpub_registrar_give_up(EvpubWorker *worker, const char *reason,
									bool disk_full);

#endif							/* EVPUB_REGISTRAR_H */
