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

/* The worker starts, and recovery is over: put it back. */
extern void evpub_walkeep_put_back(void);

#endif							/* EVPUB_WALKEEP_H */
