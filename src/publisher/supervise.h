/*
 * supervise.h
 *		The worker's care of its relay: start, feed, listen, end, start again.
 */
#ifndef EVPUB_SUPERVISE_H
#define EVPUB_SUPERVISE_H

#include "postgres.h"

#include "publisher/state.h"

/*
 * Start, feed, listen to and end the relay, as far as it can go right now.  True if
 * it can go on at once.
 */
extern bool evpub_supervise(EvpubWorker *worker);

/*
 * Take in what the relay has said; evpub_supervise() does it, too.  That may end the
 * relay, and change the verdict.
 */
extern void evpub_supervise_listen(EvpubWorker *worker);

/*
 * End the relay because somebody wants that, and not because of a failure: what
 * is in flight gets a moment to be acknowledged, so that nothing is sent again.
 */
extern void evpub_supervise_leave(EvpubWorker *worker);

/* After a reload: give changed settings to a new relay. */
extern void evpub_supervise_settings_changed(EvpubWorker *worker);

#endif							/* EVPUB_SUPERVISE_H */
