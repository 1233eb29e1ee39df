/*
 * count.h
 *		Counts the transactions with events in a range of WAL.
 */
#ifndef EVPUB_COUNT_H
#define EVPUB_COUNT_H

#include "postgres.h"

#include "access/xlogdefs.h"

#include "clock.h"
#include "lost.h"

/*
 * For counting what is given up, in ms.  Nothing is published meanwhile, and a
 * fast shutdown waits for the end of a round.
 */
#define EVPUB_COUNT_BUDGET 1000

typedef struct EvpubCountRange
{
	XLogRecPtr	start;			/* reading begins here, where a record starts */
	XLogRecPtr	from;			/* commits behind this count ... */
	XLogRecPtr	to;				/* ... up to this */
	uint32		next_event;		/* of the first of these: what is before it is
								 * published */
	bool		cut;			/* transactions may have nothing but their commit
								 * in this WAL */
	EvpubMsec	budget;			/* ms */
} EvpubCountRange;

/*
 * Count, without any effect on anything else.  WAL that is missing or damaged
 * is passed over.  Never throws: an error, the end of the budget and the request
 * to shut down end the count, and the result says so.
 */
extern EvpubLost evpub_count(const EvpubCountRange *range);

#endif							/* EVPUB_COUNT_H */
