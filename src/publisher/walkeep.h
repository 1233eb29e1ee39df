/*
 * walkeep.h
 *		WAL that a checkpoint removes although the slot needs it.
 */
#ifndef EVPUB_WALKEEP_H
#define EVPUB_WALKEEP_H

#include "postgres.h"

/* SIGTERM asks the worker to leave, as ever, and it is remembered who sent it. */
extern void evpub_walkeep_install(void);

/*
 * The worker leaves, for whatever reason, and still holds its slot: a checkpoint
 * that does not know this slot is let pass first, and hurried, without a loss.
 */
extern void evpub_walkeep_leave(void);

/*
 * The worker starts, after recovery: put back what a crash has left aside.  The
 * slot is made valid and held for it, and a checkpoint that removes WAL just now
 * is waited for.  Throws if something cannot be put back.
 */
extern void evpub_walkeep_put_back(void);

#endif							/* EVPUB_WALKEEP_H */
