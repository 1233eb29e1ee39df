/*
 * capture.h
 *		What loading the library calls in the capture room.
 */
#ifndef EVPUB_CAPTURE_H
#define EVPUB_CAPTURE_H

#include "postgres.h"

#include "utils/reltrigger.h"

/* Register transaction and invalidation callbacks. */
extern void evpub_capture_init(void);

/* ERROR if a trigger of evpub.capture() is of a kind that cannot capture. */
extern void evpub_capture_check_trigger(const Trigger *trigger);

#endif							/* EVPUB_CAPTURE_H */
