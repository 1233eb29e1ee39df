/*
 * refused.h
 *		The event that Kafka refuses: publishing stands still at it, or it becomes
 *		a dead letter.
 */
#ifndef EVPUB_REFUSED_H
#define EVPUB_REFUSED_H

#include "postgres.h"

#include "frame.h"
#include "publisher/state.h"

/*
 * The relay has reported why it ends.  Call it when the acknowledgements in
 * front of the report are taken in, and before the relay is ended.  True: publishing
 * goes on at once, with a dead letter.  Else *text, which may carry a hint, says what
 * hinders; it may be another one than before.
 */
extern bool evpub_refused_take(EvpubWorker *worker, const EvpubFrameFailed *failed,
							   const char **text);

/* Batches were sent: a dead letter may be among them. */
extern void evpub_refused_sent(EvpubWorker *worker);

/* An acknowledgement was taken in: it may be that of a dead letter. */
extern void evpub_refused_acknowledged(EvpubWorker *worker);

/* A text of what hinders, with what waits for it if that is a dead letter. */
extern const char *evpub_refused_context(const EvpubWorker *worker, const char *text);

/*
 * A person says to go on: of the topic of which too many events in a row became
 * dead letters, more may.  True if there is one.  The caller makes it durable.
 */
extern bool evpub_refused_resume(EvpubWorker *worker);

/* Something was acknowledged: publishing does not stand still there any more. */
extern void evpub_refused_passed(EvpubWorker *worker);

/*
 * evpub.skip_event(): give up exactly this event.  "role" asked for it, and this
 * server publishes.
 */
extern void evpub_refused_skip(EvpubWorker *worker, const char *id,
							   const char *role, EvpubAnswer *answer);

#endif							/* EVPUB_REFUSED_H */
