/*
 * captures.h
 *		Captured tables that triggers of this session have met: compiled once,
 *		and again when something changes that they depend on.
 */
#ifndef EVPUB_CAPTURE_CAPTURES_H
#define EVPUB_CAPTURE_CAPTURES_H

#include "utils/rel.h"
#include "utils/reltrigger.h"

#include "capture/captured.h"

/* Register the invalidation and transaction callbacks. */
extern void evpub_captures_init(void);

/*
 * Compiled settings of a trigger that is firing; good until the end of the
 * transaction.  ERROR if its arguments do not fit the relation.
 */
extern EvpubCapture *evpub_captures_get(const Trigger *trigger, Relation rel);

/*
 * The same for a partition, which has no such trigger, in memory of the
 * current context.
 */
extern EvpubCapture *evpub_captures_of_partition(const Trigger *trigger,
											  Relation partition, Oid root);

/*
 * ERROR if a trigger's arguments do not fit the relation; keeps nothing.  With
 * or without what evpub_key_check_filter() asks for.
 */
extern void evpub_captures_check(const Trigger *trigger, Relation rel, bool with_index);

/* The function of capture triggers, InvalidOid where there is no extension. */
extern Oid	evpub_capture_function(void);

#endif							/* EVPUB_CAPTURE_CAPTURES_H */
