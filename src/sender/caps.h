/*
 * caps.h
 *		Partitions whose broker has refused large batches: how many bytes may
 *		be in flight to them.
 */
#ifndef EVPUB_CAPS_H
#define EVPUB_CAPS_H

#include "postgres.h"

#include "frame.h"
#include "position/position.h"
#include "sender/relayclient.h"

/* Several records were refused together by size: halve what may be in flight. */
extern void evpub_caps_lower(const EvpubPosition *position,
							 const EvpubFrameFailed *failed);

/* Tell a relay of a topic's caps, behind its TOPIC frame. */
extern void evpub_caps_announce(EvpubRelay *relay, const EvpubTopic *topic);

/* The relay has reported the max.message.bytes of a topic. */
extern void evpub_caps_size(EvpubRelay *relay, const EvpubPosition *position,
							const EvpubTopic *topic);

/*
 * Try a higher cap where one has held for an hour, unless the broker's own number
 * is known.  Looks at most once a minute.
 */
extern void evpub_caps_raise(EvpubRelay *relay, const EvpubPosition *position);

/* Try higher caps now. */
extern void evpub_caps_try(EvpubRelay *relay, const EvpubPosition *position);

/* End the caps of a topic; NULL: of all. */
extern void evpub_caps_lift(EvpubRelay *relay, const EvpubPosition *position,
							const char *topic);

#endif							/* EVPUB_CAPS_H */
