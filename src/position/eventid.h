/*
 * eventid.h
 *		The id of an event, as numbers: what read-back compares.
 */
#ifndef EVPUB_EVENTID_H
#define EVPUB_EVENTID_H

#include "postgres.h"

#include "access/xlogdefs.h"

#include "event/event.h"

typedef struct EvpubId
{
	uint64		publisher_id;	/* 0: there is no id */
	XLogRecPtr	lsn;			/* end of the commit record */
	TimeLineID	timeline;
	uint32		number;
} EvpubId;

/* Read EVPUB_ID_LENGTH bytes; false if that is no id of evpub's. */
extern bool evpub_id_parse(const char *text, EvpubId *id);

/* Write it: EVPUB_ID_LENGTH bytes and a NUL. */
extern void evpub_id_text(const EvpubId *id, char *text);

static inline bool
evpub_id_known(const EvpubId *id)
{
	return id->publisher_id != 0;
}

/*
 * Which one comes first in the order of publishing: below 0, 0, or above 0.  Within
 * the history of one server, LSN and number say so, whatever publisher id was in
 * force.
 */
static inline int
evpub_id_compare(const EvpubId *a, const EvpubId *b)
{
	if (a->lsn != b->lsn)
		return a->lsn < b->lsn ? -1 : 1;
	if (a->number != b->number)
		return a->number < b->number ? -1 : 1;
	return 0;
}

#endif							/* EVPUB_EVENTID_H */
