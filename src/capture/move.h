/*
 * move.h
 *		Rows on their way from one partition to another.
 */
#ifndef EVPUB_CAPTURE_MOVE_H
#define EVPUB_CAPTURE_MOVE_H

#include "commands/trigger.h"

#include "capture/captured.h"

/* The row that an UPDATE took out of its partition. */
typedef struct EvpubMove
{
	uint64		identity;		/* of the capture */
	LocalTransactionId transaction;
	CommandId	command;
	Oid			partition;
	ItemPointerData tid;
	HeapTuple	row;
	bool		late;			/* another row may be under its key */
	bool		inside;			/* the filter */

	/* the event that it is gone, while nobody knows better */
	bool		has_event;
	uint32		event;
} EvpubMove;

/*
 * Does this DELETE take away the row of an UPDATE that moves it?  Then remember
 * it, unless another trigger of the same capture has; that one is returned.  It is
 * good until a trigger fires.
 */
extern EvpubMove *evpub_move_begin(const EvpubCapture *capture,
								   const TriggerData *trigdata);

/*
 * Is this INSERT the other end of a move?  Then *move gets it, with its row, which
 * the caller frees.
 */
extern bool evpub_move_end(const EvpubCapture *capture, const TriggerData *trigdata,
						   EvpubMove *move);

/*
 * May a BEFORE trigger of some partition have let the row go, so that what arrives is
 * another one of the same command?
 */
extern bool evpub_move_may_vanish(const EvpubCapture *capture, const EvpubMove *move);

/* Its old row with the columns of this partition; ExecDropSingleTupleTableSlot() it. */
extern TupleTableSlot *evpub_move_old_row(const EvpubMove *move, Relation partition);

#endif							/* EVPUB_CAPTURE_MOVE_H */
