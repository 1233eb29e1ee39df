/*
 * deadletter.h
 *		Dead letters: what goes to the dead-letter topic instead of an event that
 *		Kafka refuses.
 */
#ifndef EVPUB_DEADLETTER_H
#define EVPUB_DEADLETTER_H

#include "postgres.h"

#include "frame.h"
#include "position/position.h"
#include "sender/recordwriter.h"
#include "sender/relayclient.h"

/* So many in a row of one topic: then the topic is to blame, and not its events. */
#define EVPUB_LETTERS_IN_ROW 100

/* The dead letter that is on its way; there is at most one. */
typedef struct EvpubDeadLetter
{
	uint64		seq;			/* sequence number; 0: there is none */
	char		id[EVPUB_ID_LENGTH + 1];
	bool		may_shrink;		/* a part of it can be left out yet */
} EvpubDeadLetter;

/*
 * May events of this topic become dead letters?  The settings say so, and the
 * dead-letter topic is not the topic itself.
 */
extern bool evpub_deadletter_possible(const char *topic);

/*
 * Make the record that of the dead letter.  It is valid as long as the current
 * memory context, and *letter says what it is; but for its sequence number.
 */
extern void evpub_deadletter_replace(EvpubDeadLetter *letter, EvpubRecord *record,
									 const EvpubSkip *skip, EvpubPosition *position,
									 EvpubRelay *relay);

/* A dead letter of so many bytes was too large: the next one is smaller. */
extern void evpub_deadletter_shrink(uint64 bytes);

#endif							/* EVPUB_DEADLETTER_H */
