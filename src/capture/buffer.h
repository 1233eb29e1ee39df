/*
 * buffer.h
 *		The events of the current transaction, until they are logged.
 */
#ifndef EVPUB_CAPTURE_BUFFER_H
#define EVPUB_CAPTURE_BUFFER_H

#include "capture/collapse.h"
#include "event.h"

/* Register the transaction callbacks. */
extern void evpub_buffer_init(void);

/* Does the current transaction have events already? */
extern bool evpub_buffer_in_use(void);

/*
 * Append an event; the buffer copies what it points to, except for routes, and
 * gives it its number.  May log chunks.  "change" says how it may collapse with
 * other events of its row; NULL: not at all.  "pk" is the row's key if the
 * event's body is not, else empty.
 */
extern void evpub_buffer_append(const EvpubEvent *event,
								const EvpubChange *change, EvpubSlice pk);

#endif							/* EVPUB_CAPTURE_BUFFER_H */
