/*
 * follow.h
 *		Position messages in WAL: what a publisher, perhaps on another server,
 *		has said of how far it came.
 */
#ifndef EVPUB_FOLLOW_H
#define EVPUB_FOLLOW_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "position/position.h"
#include "reader/walreader.h"

/* If the record that was just read is a message, note which topics have grown. */
extern void evpub_follow_growth(EvpubPosition *position, EvpubWalReader *reader);

typedef struct EvpubFollower EvpubFollower;

/*
 * Read WAL from the oldest segment that is there, for messages that are later
 * than *position and of its own lineage.  Allocates in a context of its own.
 */
extern EvpubFollower *evpub_follow_begin(const EvpubPosition *position);

/*
 * Go on to the end of WAL, or until a shutdown is requested; false then.  What
 * cannot be read is passed over: a message behind it is as good.
 */
extern bool evpub_follow_read(EvpubFollower *follower);

/*
 * Bring *position up to what was found, in memory of the current context; false
 * if that is nothing new since the last call.  The role stays.
 */
extern bool evpub_follow_take(EvpubFollower *follower, EvpubPosition *position);

/* Is there WAL that captured events need, as far as is known? */
extern bool evpub_follow_needs_wal(const EvpubFollower *follower);

extern void evpub_follow_end(EvpubFollower *follower);

/*
 * All of the above, once, in TopMemoryContext.  True if *position changed.  ERROR
 * at a shutdown; then *position is as before.
 */
extern bool evpub_follow_latest(EvpubPosition *position);

#endif							/* EVPUB_FOLLOW_H */
