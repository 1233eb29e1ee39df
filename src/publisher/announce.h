/*
 * announce.h
 *		Telling consumers of gaps: evpub.gap events.
 */
#ifndef EVPUB_ANNOUNCE_H
#define EVPUB_ANNOUNCE_H

#include "postgres.h"

#include "lib/ilist.h"
#include "lib/stringinfo.h"

#include "publisher/assembler.h"
#include "publisher/position.h"
#include "publisher/relayclient.h"

/*
 * Put the accepted gaps that consumers do not know yet at the end of a queue,
 * as transactions without chunks.  Allocates in the current context; returns
 * how many they are.
 */
extern int	evpub_announce_gaps(dlist_head *queue, EvpubPosition *position,
							   EvpubWalReader *reader);

/*
 * If an accepted gap explains why a transaction is not complete, have it told
 * of as a gap (in the current context).
 */
extern bool evpub_announce_instead(EvpubPosition *position,
								   EvpubTransaction *transaction);

/*
 * Put the events of transaction->gap into the batch, until it has "limit"
 * bytes: one for each partition of each topic, *place counts them.  True when
 * all are in.
 */
extern bool evpub_announce_put(StringInfo batch, int limit,
							   EvpubPosition *position, EvpubRelay *relay,
							   const EvpubTransaction *transaction,
							   int *place, uint32 *count);

/* The events of gaps up to an LSN are in Kafka. */
extern void evpub_announce_told(EvpubPosition *position, XLogRecPtr lsn);

#endif							/* EVPUB_ANNOUNCE_H */
