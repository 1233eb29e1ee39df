/*
 * slot.h
 *		The physical replication slot "evpub", which keeps WAL for us.  Only
 *		the worker makes, holds, moves and drops it.
 */
#ifndef EVPUB_SLOT_H
#define EVPUB_SLOT_H

#include "postgres.h"

#include "access/xlogdefs.h"

typedef enum EvpubSlotFound
{
	EVPUB_SLOT_ABSENT,
	EVPUB_SLOT_FOUND,
	EVPUB_SLOT_INVALIDATED,		/* it keeps no WAL any more */
	EVPUB_SLOT_FOREIGN			/* of that name, but logical: not ours */
} EvpubSlotFound;

extern EvpubSlotFound evpub_slot_find(void);

/* Is a place for one more slot free? */
extern bool evpub_slot_available(void);

/* Make the slot and hold it.  It keeps WAL from the last checkpoint on. */
extern void evpub_slot_make(void);

/* Hold the existing slot, and let others have it again. */
extern void evpub_slot_hold(void);
extern void evpub_slot_release(void);

/* Has somebody invalidated or dropped it, and let it go again? */
extern bool evpub_slot_taken(void);

/*
 * The redo position when the slot that we hold began to keep what it keeps, as
 * far as this process knows.  A checkpoint that has another redo position asked
 * what slots need after that, so it takes this slot into account.
 */
extern XLogRecPtr evpub_slot_since(void);

/*
 * Let WAL before lsn go.  Durable once per segment: a slot moved only in
 * memory was invalidated at crash recovery although its WAL was there.
 */
extern void evpub_slot_move(XLogRecPtr lsn);

/*
 * On a standby that has the slot, from a time when it was the primary: let WAL
 * before lsn go, and do not hold it.
 */
extern void evpub_slot_follow(XLogRecPtr lsn);

/*
 * Hold it, and have it keep WAL from lsn on, also if it was invalidated or has
 * moved on; where that WAL is gone, from what comes next.
 */
extern void evpub_slot_keep(XLogRecPtr lsn);

/* The same for WAL that will be put back: does not look whether it is there. */
extern void evpub_slot_expect(XLogRecPtr lsn);

extern XLogRecPtr evpub_slot_position(void);

/* Drop the slot, held or not. */
extern void evpub_slot_drop(void);

#endif							/* EVPUB_SLOT_H */
