/*
 * twin.h
 *		Another row that has the key of one that is gone.
 */
#ifndef EVPUB_CAPTURE_TWIN_H
#define EVPUB_CAPTURE_TWIN_H

#include "capture/row.h"

/*
 * A row that has tenant and key of "gone" now, and is inside the filter; slot is
 * that of "gone".  NULL if there is none, or no index finds it.  The caller drops
 * the slot.
 */
extern TupleTableSlot *evpub_twin_find(EvpubCapture *capture, Relation rel,
									   const EvpubRow *gone, TupleTableSlot *slot);

#endif							/* EVPUB_CAPTURE_TWIN_H */
