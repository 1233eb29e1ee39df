/*
 * buffer.h
 *		The events of the current transaction, until they are logged.
 */
#ifndef EVPUB_CAPTURE_BUFFER_H
#define EVPUB_CAPTURE_BUFFER_H

#include "event.h"

/* Register the transaction callbacks. */
extern void evpub_buffer_init(void);

/* Does the current transaction have events already? */
extern bool evpub_buffer_in_use(void);

/*
 * The route with this envelope, topic and type.  The pointer is good while
 * evpub_buffer_epoch() returns the same; take it right before the append,
 * because code run in between may make events too.
 */
extern const EvpubRoute *evpub_buffer_route(EvpubEnvelope envelope,
											EvpubSlice topic, EvpubSlice type);
extern uint64 evpub_buffer_epoch(void);

/*
 * Append an event; the buffer copies what it points to, except for the route,
 * and gives it its number.  May log chunks.
 */
extern void evpub_buffer_append(const EvpubEvent *event);

#endif							/* EVPUB_CAPTURE_BUFFER_H */
