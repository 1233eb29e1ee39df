/*
 * filter.h
 *		Is a row inside the filter of its captured table?
 */
#ifndef EVPUB_CAPTURE_FILTER_H
#define EVPUB_CAPTURE_FILTER_H

#include "executor/tuptable.h"

#include "capture/captured.h"

/*
 * Take the filter out of the condition of a trigger that has one, into the
 * current context.  ERROR if there is no condition to take it from.
 */
extern void evpub_filter_compile(EvpubCapture *capture, const Trigger *trigger,
								 Relation rel);

/*
 * ERROR if a trigger's condition (as parsed) looks at system columns (tableoid,
 * xmin, ...): a row that is looked up later, or by resync, has others or none.
 */
extern void evpub_filter_check_columns(const char *table, Node *condition);

/* True also where there is no filter.  Runs users' functions, as the writer. */
extern bool evpub_filter_meets(const EvpubCapture *capture, TupleTableSlot *slot);

#endif							/* EVPUB_CAPTURE_FILTER_H */
