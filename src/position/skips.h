/*
 * skips.h
 *		Events that Kafka refuses: given up by a person, or dead letters.
 */
#ifndef EVPUB_SKIPS_H
#define EVPUB_SKIPS_H

#include "postgres.h"

#include "position/position.h"

/* The one of this id; NULL: there is none. */
extern EvpubSkip *evpub_skips_find(const EvpubPosition *position, const char *id);

/*
 * Give up an event.  Id and reason are copied, as all of a position, into
 * TopMemoryContext; the old array stays as it was, for who goes back to it.
 */
extern void evpub_skips_add(EvpubPosition *position, const char *id,
							const char *reason);

/* An event is a dead letter; else as above.  There is no entry of it. */
extern void evpub_skips_add_letter(EvpubPosition *position, const char *id,
								   const char *reason, const char *topic,
								   int32 partition, int32 code);

/*
 * A person gives up what waits for the dead-letter topic.  The old array stays as it
 * was.
 */
extern void evpub_skips_give_up(EvpubPosition *position, const char *id);

/*
 * The evpub.skipped event of this one is refused, too: it goes without.  The old
 * array stays as it was.
 */
extern void evpub_skips_silence(EvpubPosition *position, const char *id);

/*
 * Forget those that Kafka has got past: what commits up to the confirmed LSN is
 * never sent again.  The old array stays as it was.
 */
extern void evpub_skips_prune(EvpubPosition *position);

/* "now" has taken the place of "before": free what only that one had. */
extern void evpub_skips_release(const EvpubPosition *before,
								const EvpubPosition *now);

#endif							/* EVPUB_SKIPS_H */
