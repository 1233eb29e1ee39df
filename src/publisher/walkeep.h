/*
 * walkeep.h
 *		WAL that a checkpoint removes although the slot needs it.
 */
#ifndef EVPUB_WALKEEP_H
#define EVPUB_WALKEEP_H

#include "postgres.h"

/* Directory for it, beside the segments, so that a rename moves them. */
#define EVPUB_WALKEEP_DIRECTORY "pg_wal/evpub.kept"

/* SIGTERM asks the worker to leave, as ever, and it is remembered who sent it. */
extern void evpub_walkeep_install(void);

/*
 * The worker leaves, and still holds its slot: if that is because a checkpoint
 * wants to remove what the slot needs, set that WAL aside.  Throws nothing.
 */
extern void evpub_walkeep_leave(void);

/* Is there anything to put back? */
extern bool evpub_walkeep_has(void);

/*
 * The worker starts: put it back.  After recovery the slot is made valid and held
 * for it, and a checkpoint that removes WAL just now is waited for.  Throws if
 * something cannot be put back; returns early when the worker is to leave.
 */
extern void evpub_walkeep_put_back(void);

#endif							/* EVPUB_WALKEEP_H */
