/*
 * truncate.h
 *		Events of TRUNCATE.
 */
#ifndef EVPUB_CAPTURE_TRUNCATE_H
#define EVPUB_CAPTURE_TRUNCATE_H

#include "utils/rel.h"
#include "utils/reltrigger.h"

/* Register the hook that sees partitions being truncated by themselves. */
extern void evpub_truncate_init(void);

/*
 * A captured table is about to be truncated, and locked: an event for each
 * tenant that has rows, or the error, as the trigger's arguments say.
 */
extern void evpub_truncate_capture(const Trigger *trigger, Relation rel);

#endif							/* EVPUB_CAPTURE_TRUNCATE_H */
