/*
 * compare.h
 *		Which columns of a row did an update change?
 */
#ifndef EVPUB_CAPTURE_COMPARE_H
#define EVPUB_CAPTURE_COMPARE_H

#include "postgres.h"

#include "access/attnum.h"
#include "access/tupdesc.h"
#include "executor/tuptable.h"

/*
 * Has a column the same value in both slots?  The slots must be deformed that
 * far.  Same means the same bytes, once what TOAST did to them is undone: 1.0
 * and 1.00 are two numerics.
 */
extern bool evpub_same_column(AttrNumber number, TupleDesc desc,
							  const TupleTableSlot *a, const TupleTableSlot *b);

/* Has any column changed, of those marked in counts (by attribute number - 1; NULL: of all)? */
extern bool evpub_any_changed(TupleDesc desc, const bool *counts,
							  TupleTableSlot *old, TupleTableSlot *new);

#endif							/* EVPUB_CAPTURE_COMPARE_H */
