/*
 * caps.h
 *		Partitions whose broker has refused large batches: how many bytes may
 *		be in flight to them.
 */
#ifndef EVPUB_CAPS_H
#define EVPUB_CAPS_H

#include "postgres.h"

#include "frame.h"
#include "publisher/position.h"
#include "publisher/relayclient.h"

/* A batch was refused by size though it had several records: halve it. */
extern void evpub_caps_lower(const EvpubPosition *position,
							 const EvpubFrameFailed *failed);

/* Tell a relay of a topic's caps, behind its TOPIC frame. */
extern void evpub_caps_announce(EvpubRelay *relay, const EvpubTopic *topic);

/* What has held for an hour is tried upwards; looks at most once a minute. */
extern void evpub_caps_raise(EvpubRelay *relay, const EvpubPosition *position);

#endif							/* EVPUB_CAPS_H */
