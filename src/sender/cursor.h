/*
 * cursor.h
 *		Where sending stands in the head of the queue: its records, one after
 *		the other.
 */
#ifndef EVPUB_CURSOR_H
#define EVPUB_CURSOR_H

#include "postgres.h"

#include "event/event.h"
#include "sender/announce.h"
#include "sender/queue.h"
#include "sender/recordwriter.h"
#include "sender/relayclient.h"

typedef struct EvpubCursor
{
	MemoryContext context;
	EvpubQueue *queue;
	EvpubTransaction *head;		/* NULL: the cursor is closed */
	EvpubAnnouncement announcement; /* the head is a gap */

	/* the head is a transaction */
	uint32		from;			/* number of the first event to be sent */
	int			next_chunk;
	bool		chunk_open;
	EvpubChunkReader chunk;
	uint32	   *route_topics;	/* topic number + 1 by route of the open chunk */
	uint32		route_slots;
} EvpubCursor;

typedef enum EvpubCursorStep
{
	EVPUB_CURSOR_RECORD,
	EVPUB_CURSOR_WAIT,			/* for the relay to answer */
	EVPUB_CURSOR_END
} EvpubCursorStep;

/* Set up a closed cursor in the current context, which has to outlive it. */
extern void evpub_cursor_init(EvpubCursor *cursor, EvpubQueue *queue);

/*
 * Begin with the queue's head.  The first record of a transaction is its event
 * number "from", or the first one behind that; a gap knows where it goes on.
 */
extern void evpub_cursor_open(EvpubCursor *cursor, uint32 from);

/*
 * The next record, valid until the next call.  The cursor stays open from one
 * batch, and one cycle of the worker, to the next.
 */
extern EvpubCursorStep evpub_cursor_next(EvpubCursor *cursor, EvpubRelay *relay,
										 EvpubRecord *record);

/* Close the cursor, before its head is taken out of the queue. */
extern void evpub_cursor_close(EvpubCursor *cursor);

#endif							/* EVPUB_CURSOR_H */
