/*
 * figurekeep.h
 *		Keeps the figures of evpub.stat over a restart of the server.
 */
#ifndef EVPUB_FIGUREKEEP_H
#define EVPUB_FIGUREKEEP_H

#include "postgres.h"

/* Take over what the server before has written, unless a worker has done so. */
extern void evpub_figurekeep_load(void);

/*
 * Write what has changed: every 10 s at most, a reset at once, and "now" in any case.
 * Never throws.
 */
extern void evpub_figurekeep_save(bool now);

#endif							/* EVPUB_FIGUREKEEP_H */
