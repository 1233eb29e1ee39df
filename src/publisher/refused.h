/*
 * refused.h
 *		The event that Kafka refuses, and that publishing stands still at.
 */
#ifndef EVPUB_REFUSED_H
#define EVPUB_REFUSED_H

#include "postgres.h"

#include "frame.h"
#include "publisher/state.h"

/*
 * The relay has reported why it ends.  Call it when the acknowledgements in
 * front of the report are taken in, and before the relay is ended.
 */
extern void evpub_refused_take(EvpubWorker *worker, const EvpubFrameFailed *failed,
							   const char *text);

/* Something was acknowledged: publishing does not stand still there any more. */
extern void evpub_refused_passed(EvpubWorker *worker);

/*
 * evpub.skip_event(): give up exactly this event.  "role" asked for it, and this
 * server publishes.
 */
extern void evpub_refused_skip(EvpubWorker *worker, const char *id,
							   const char *role, EvpubAnswer *answer);

#endif							/* EVPUB_REFUSED_H */
