/*
 * show.h
 *		The worker's status in shared memory, for everybody.
 */
#ifndef EVPUB_SHOW_H
#define EVPUB_SHOW_H

#include "postgres.h"

#include "publisher/state.h"

/*
 * Show where the worker is; log a change of state.  "reason" may carry a hint
 * (reason.h), or be NULL.
 */
extern void evpub_show(EvpubWorker *worker, EvpubState state, const char *reason);

/* Show the state that the worker is in. */
extern void evpub_show_current(EvpubWorker *worker);

/*
 * Show how much was published, and nothing else, when an ERROR ends the worker:
 * the next one counts on from it.
 */
extern void evpub_show_published(const EvpubWorker *worker);

#endif							/* EVPUB_SHOW_H */
