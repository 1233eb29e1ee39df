/*
 * relaytopics.h
 *		What the relay knows of each topic, and what it reports of it.
 */
#ifndef EVPUB_RELAYTOPICS_H
#define EVPUB_RELAYTOPICS_H

#include "postgres.h"

#include "position/position.h"
#include "sender/relayclient.h"

/*
 * The number of a topic, which is announced to the relay if it does not know
 * it yet.  Adds the topic when it is new.
 */
extern uint32 evpub_relaytopics_number(EvpubPosition *position, EvpubRelay *relay,
									   const char *name, uint32 length);

/*
 * Announce topics that were published to, so that a relay that reads back looks at
 * them at once: EVPUB_ANNOUNCED_AT_START of them, at most, since each costs memory of
 * the relay.
 */
#define EVPUB_ANNOUNCED_AT_START 100
extern void evpub_relaytopics_announce_known(EvpubPosition *position, EvpubRelay *relay);

/* A relay was started; it finds out by itself which topics were made again. */
extern void evpub_relaytopics_started(EvpubPosition *position);

/* The relay is gone; the next one knows no topic. */
extern void evpub_relaytopics_forget(EvpubPosition *position);

/* All counts of the position are durable: let the relay use them. */
extern void evpub_relaytopics_pins_durable(EvpubPosition *position, EvpubRelay *relay);

/*
 * Take in what the relay reports; false if it makes no sense.  held: tails hold the
 * position where it is (tails.h).
 */
extern bool evpub_relaytopics_partitions(EvpubPosition *position, const EvpubFrame *frame);
extern bool evpub_relaytopics_offset(EvpubPosition *position, const EvpubFrame *frame,
									 bool held);

/* The largest batch that a topic takes; *topic gets which it is. */
extern bool evpub_relaytopics_size(EvpubPosition *position, const EvpubFrame *frame,
								   const EvpubTopic **topic);

#endif							/* EVPUB_RELAYTOPICS_H */
