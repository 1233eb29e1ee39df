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

/* A batch was refused by size though it had several records: halve it. */
extern void evpub_caps_lower(const EvpubPosition *position,
							 const EvpubFrameFailed *failed);

/* Tell a relay of a topic's caps, behind its TOPIC frame. */
extern void evpub_caps_announce(EvpubRelay *relay, const EvpubTopic *topic);

/* The relay has reported the max.message.bytes of a topic. */
extern void evpub_caps_size(EvpubRelay *relay, const EvpubPosition *position,
							const EvpubTopic *topic);

/*
 * What has held for an hour is tried upwards, unless the broker's own number is
 * known; looks at most once a minute.
 */
extern void evpub_caps_raise(EvpubRelay *relay, const EvpubPosition *position);

/* Try all upwards now. */
extern void evpub_caps_try(EvpubRelay *relay, const EvpubPosition *position);

/* End those of a topic; NULL: of all. */
extern void evpub_caps_lift(EvpubRelay *relay, const EvpubPosition *position,
							const char *topic);

#endif							/* EVPUB_CAPS_H */
