/*
 * recovery.h
 *		Was this data directory restored, or is it a standby's?
 */
#ifndef EVPUB_RECOVERY_H
#define EVPUB_RECOVERY_H

#include "postgres.h"

/*
 * In the postmaster, before recovery: true if there are signs of a backup or a
 * standby; then a mark is left for the worker.
 */
extern bool evpub_recovery_note(void);

/*
 * In the postmaster, before recovery: will the server be a standby, and not one
 * that ends at a recovery target?
 */
extern bool evpub_recovery_standby(void);

/*
 * In the worker: if the mark is there, have the state file say "fenced", and
 * remove the mark.  Both durably.
 */
extern void evpub_recovery_fence(void);

#endif							/* EVPUB_RECOVERY_H */
