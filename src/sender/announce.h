/*
 * announce.h
 *		Telling consumers of gaps: evpub.gap events.
 */
#ifndef EVPUB_ANNOUNCE_H
#define EVPUB_ANNOUNCE_H

#include "postgres.h"

#include "lib/ilist.h"
#include "lib/stringinfo.h"

#include "position/position.h"
#include "reader/assembler.h"
#include "sender/relayclient.h"
#include "sender/streamdata.h"

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
 * Put the events of transaction->gap into the batch, until that has "limit"
 * bytes or "most" more records: one for each partition of each topic, in the
 * order of their numbers and from number stream->head_place on, which it moves.
 * True when all are in.
 */
extern bool evpub_announce_put(EvpubStream *stream, int limit, uint32 most,
							   EvpubRelay *relay, const EvpubTransaction *transaction);

#endif							/* EVPUB_ANNOUNCE_H */
