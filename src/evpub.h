/*
 * evpub.h
 *		What every room of the extension may ask for: is the library preloaded,
 *		is this database registered, and "wake the publisher".
 *
 * These few calls go against the direction of the data (capture is upstream
 * of the publisher), so they live here, above the rooms, with plain types.
 */
#ifndef EVPUB_EVPUB_H
#define EVPUB_EVPUB_H

#include "postgres.h"

#include "access/xlogdefs.h"

/* Name of the schema, the slot, the label provider and the state directory. */
#define EVPUB_NAME "evpub"

/* True when loaded by shared_preload_libraries: shared memory exists. */
extern bool evpub_preloaded(void);

/* ERROR, with what to do, if it is not. */
extern void evpub_require_preloaded(void);

/*
 * Tell the publisher that a transaction with events has committed and is
 * visible.  lsn is the end of its commit record; the publisher flushes up to
 * it if the committer did not wait for the flush.  Does not throw; without
 * preloading it does nothing.
 */
extern void evpub_wake_publisher(XLogRecPtr lsn);

/*
 * May events of this database be captured?  ERROR if it is registered, but evpub is
 * not preloaded.  False in a database without its
 * label (a copy made by CREATE DATABASE ... TEMPLATE); then the caller emits
 * nothing, and a WARNING was raised once in this session.  Gives the
 * transaction an xid.
 */
extern bool evpub_database_registered(void);

#endif							/* EVPUB_EVPUB_H */
