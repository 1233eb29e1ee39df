/*
 * lost.h
 *		How much a gap gives up: transactions with events, and their events.
 */
#ifndef EVPUB_LOST_H
#define EVPUB_LOST_H

#include "postgres.h"

/* What the numbers are.  The values stand in the state file. */
typedef enum EvpubLostKnown
{
	EVPUB_LOST_UNKNOWN,			/* nothing could be counted, both are 0 */
	EVPUB_LOST_PART,			/* at least so many: WAL could be read in parts */
	EVPUB_LOST_STOPPED,			/* at least so many: counting took too long */
	EVPUB_LOST_EVENTS_PART,		/* so many transactions, at least so many events */
	EVPUB_LOST_ALL				/* exactly so many */
} EvpubLostKnown;

typedef struct EvpubLost
{
	EvpubLostKnown known;
	uint64		transactions;
	uint64		events;
} EvpubLost;

/* What two ranges of WAL give up together, one behind the other. */
extern EvpubLost evpub_lost_add(EvpubLost a, EvpubLost b);

/*
 * Words for it, such as "3 transactions with 7 events", in the current context.
 * They follow a verb such as "gives up".
 */
extern char *evpub_lost_text(const EvpubLost *lost);

#endif							/* EVPUB_LOST_H */
