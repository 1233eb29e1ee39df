/*
 * announce.h
 *		Announcing gaps to consumers: evpub.gap events.
 */
#ifndef EVPUB_ANNOUNCE_H
#define EVPUB_ANNOUNCE_H

#include "postgres.h"

#include "lib/ilist.h"

#include "position/position.h"
#include "reader/assembler.h"
#include "sender/recordwriter.h"
#include "sender/relayclient.h"

/*
 * Put the accepted gaps that are not announced yet at the end of a queue, as
 * transactions without chunks.  Allocates in the current context; returns how
 * many they are.
 */
extern int	evpub_announce_gaps(dlist_head *queue, EvpubPosition *position,
								EvpubWalReader *reader);

/*
 * If an accepted gap explains why a transaction is not complete, make a gap of
 * its own of the transaction, which is then announced (in the current context).
 * "quiet": without a WARNING, because there was one.
 */
extern bool evpub_announce_instead(EvpubPosition *position,
								   EvpubTransaction *transaction, bool quiet);

/* Free the gap of a transaction that one of these has made or changed. */
extern void evpub_announce_free_gap(EvpubGap *gap);

/* A partition that gets an event. */
typedef struct EvpubRecipient
{
	uint32		number;			/* see EvpubTopic */
	const char *topic;
	int32		partition;
} EvpubRecipient;

/* The events of one gap, one after the other. */
typedef struct EvpubAnnouncement
{
	MemoryContext context;		/* NULL: none is under way */
	const EvpubGap *gap;
	EvpubCommit commit;
	EvpubRoute	route;
	EvpubSlice	data;			/* the "data" member of all */
	char		key[32];
	EvpubRecipient *recipients;
	uint32		nrecipients;
	uint32		done;
} EvpubAnnouncement;

/*
 * The events of transaction->gap: one for each partition of each topic, in the
 * order of the partitions' numbers.  An accepted gap knows by next_number where
 * to go on; one that stands for a transaction goes on at the number "from".
 * False: the relay is asked for a topic's partitions; try again when it has
 * answered.  Until evpub_announce_end(), or until the relay ends, no topic is
 * added or forgotten.
 */
extern bool evpub_announce_begin(EvpubAnnouncement *announcement,
								 EvpubPosition *position, EvpubRelay *relay,
								 const EvpubTransaction *transaction,
								 uint32 from);

/* The next one, valid until the next call; false if there is none. */
extern bool evpub_announce_next(EvpubAnnouncement *announcement,
								EvpubPosition *position, EvpubRelay *relay,
								EvpubRecord *record);

extern void evpub_announce_end(EvpubAnnouncement *announcement);

/*
 * A reason as events bear it.  Messages of the server may be translated, into an
 * encoding that nobody here knows; what goes to Kafka must be valid UTF-8.
 */
extern char *evpub_announce_ascii(const char *text);

#endif							/* EVPUB_ANNOUNCE_H */
