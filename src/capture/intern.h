/*
 * intern.h
 *		Routes of the transaction's events, each of them once.
 */
#ifndef EVPUB_CAPTURE_INTERN_H
#define EVPUB_CAPTURE_INTERN_H

#include "event/event.h"

/*
 * The route with the envelope, topic, type and source of *wanted.  The pointer
 * is good while evpub_intern_epoch() returns the same; take it right before the
 * append, because code run in between may make events too.
 */
extern const EvpubRoute *evpub_intern_route(const EvpubRoute *wanted);
extern uint64 evpub_intern_epoch(void);

/* How many there are. */
extern uint32 evpub_interned_routes(void);

/*
 * Forget those that no event needs: begin, name each that one needs, end.
 * Nothing in between allocates memory, or can fail.  Pointers to the routes that
 * were named stay good; all others are not, and the epoch ends.
 */
extern void evpub_intern_begin_sweep(void);
extern void evpub_intern_keep(const EvpubRoute *route);
extern void evpub_intern_end_sweep(void);

/* Forget them all; no event may need them any more. */
extern void evpub_intern_forget(void);

#endif							/* EVPUB_CAPTURE_INTERN_H */
