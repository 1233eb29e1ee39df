/*
 * track.h
 *		The topics that were published to, with their pinned partition counts
 *		and last acknowledged offsets; kept in the state file.
 */
#ifndef EVPUB_TRACK_H
#define EVPUB_TRACK_H

#include "postgres.h"

#include "publisher/position.h"
#include "publisher/relayclient.h"

/*
 * The number of a topic, which is announced to the relay if it does not know
 * it yet.  Adds the topic when it is new.
 */
extern uint32 evpub_track_topic(EvpubPosition *position, EvpubRelay *relay,
								const char *name, uint32 length);

/* A new relay knows no topic. */
extern void evpub_track_forget_relay(EvpubPosition *position);

/*
 * Counts that the relay has reported and waits for: are there any that are not
 * durable yet?  They are in the position already, so whoever writes that calls
 * the second function when it is durable: then the relay is told, and sends
 * the first records.
 */
extern bool evpub_track_pins_wanted(const EvpubPosition *position);
extern void evpub_track_pins_durable(EvpubPosition *position, EvpubRelay *relay);

/* Take in what the relay says; false if it makes no sense. */
extern bool evpub_track_partitions(EvpubPosition *position, const EvpubFrame *frame);
extern bool evpub_track_offset(EvpubPosition *position, const EvpubFrame *frame);

/*
 * Adopt grown partition counts.  Only while nothing is in flight: otherwise a
 * key could be in two partitions at a time.  True if any changed.
 */
extern bool evpub_track_adopt_growth(EvpubPosition *position);

/*
 * Topics were deleted and made again, and a person said to go on: take them as
 * they are now.  Nothing is in flight then, since the relay has ended.
 */
extern void evpub_track_accept_topics(EvpubPosition *position);

#endif							/* EVPUB_TRACK_H */
