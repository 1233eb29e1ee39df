/*
 * buffer.h
 *		The events of the current transaction, until they are logged.
 */
#ifndef EVPUB_CAPTURE_BUFFER_H
#define EVPUB_CAPTURE_BUFFER_H

#include "capture/collapse.h"
#include "event/event.h"

/* Register the transaction callbacks. */
extern void evpub_buffer_init(void);

/* Does the current transaction have events already? */
extern bool evpub_buffer_in_use(void);

/* What an event counts as in evpub.stat_tables. */
typedef struct EvpubOrigin
{
	Oid			table;			/* where it was captured; InvalidOid: by hand */
	uint8		op;				/* EvpubOp */
} EvpubOrigin;

#define EVPUB_BY_HAND ((EvpubOrigin) {InvalidOid, 0})

/*
 * Append an event; the buffer copies what it points to, except for routes, and
 * gives it its number.  May log chunks.  "change" says how it may collapse with
 * other events of its row; NULL: not at all.  "pk" is the row's key if the
 * event's body is not, else empty.
 */
extern void evpub_buffer_append(const EvpubEvent *event, EvpubOrigin origin,
								const EvpubChange *change, EvpubSlice pk);

/* The number that the next event of the transaction gets. */
extern uint32 evpub_buffer_next_number(void);

/*
 * The next event may be taken back: what the buffer has too much of is logged now,
 * and not when that one is appended.
 */
extern void evpub_buffer_keep_next(void);

/*
 * Take the event with this number back; false if it is not in the buffer any
 * more.  One that is to be kept is there until others follow.
 */
extern bool evpub_buffer_take_back(uint32 number);

#endif							/* EVPUB_CAPTURE_BUFFER_H */
