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
 * A limit is reached: if nobody is registered, drop slot and file now, and give
 * up what is not published.  False if somebody is registered, or that is not known
 * right now.
 */
extern bool evpub_registrar_retire_now(EvpubWorker *worker);

#endif							/* EVPUB_REGISTRAR_H */
