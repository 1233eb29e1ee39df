/*
 * limits.h
 *		How much WAL may be kept for publishing.
 */
#ifndef EVPUB_LIMITS_H
#define EVPUB_LIMITS_H

#include "postgres.h"

#include "publisher/state.h"

/*
 * Why the backlog must be given up, in the current context; NULL: it need not,
 * or it is less than a second since the last look.  *disk_full: for want of
 * space, so soon.
 */
extern char *evpub_limits_reached(EvpubWorker *worker, bool *disk_full);

#endif							/* EVPUB_LIMITS_H */
