/*
 * cursor.c
 *		Where sending stands in the head of the queue: its records, one after
 *		the other.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "sender/cursor.h"
#include "sender/relaytopics.h"

void
evpub_cursor_init(EvpubCursor *cursor, EvpubQueue *queue)
{
	memset(cursor, 0, sizeof(*cursor));
	cursor->context = CurrentMemoryContext;
	cursor->queue = queue;
}

void
evpub_cursor_open(EvpubCursor *cursor, uint32 from)
{
	cursor->head = evpub_queue_head(cursor->queue);
	/*
	 * "from" may be a number of an evpub.gap event: the transaction was being
	 * announced as cut when sending was broken off.  If it is whole now, it begins
	 * with its first event.
	 */
	cursor->from = cursor->head->gap ? from : evpub_position_first_event(from);
	cursor->next_chunk = 0;
}

static void
close_chunk(EvpubCursor *cursor)
{
	if (cursor->chunk_open)
		evpub_chunk_close(&cursor->chunk);
	cursor->chunk_open = false;
}

void
evpub_cursor_close(EvpubCursor *cursor)
{
	close_chunk(cursor);
	evpub_announce_end(&cursor->announcement);
	cursor->head = NULL;
}

/* The topic's number in the frames; looked up once per route of a chunk. */
static uint32
route_topic(EvpubCursor *cursor, EvpubRelay *relay, const EvpubRoute *route)
{
	if (route->number >= cursor->route_slots)
	{
		uint32		slots = Max(16, route->number * 2);
		uint32	   *grown = MemoryContextAllocZero(cursor->context,
												   slots * sizeof(uint32));

		if (cursor->route_topics)
		{
			memcpy(grown, cursor->route_topics, cursor->route_slots * sizeof(uint32));
			pfree(cursor->route_topics);
		}
		cursor->route_topics = grown;
		cursor->route_slots = slots;
	}
	if (cursor->route_topics[route->number] == 0)
		cursor->route_topics[route->number] =
			evpub_relaytopics_number(cursor->queue->position, relay,
									 route->topic.data, route->topic.len) + 1;
	return cursor->route_topics[route->number] - 1;
}

/* Open the next chunk that holds events to be sent; false if there is none. */
static bool
open_next_chunk(EvpubCursor *cursor)
{
	EvpubTransaction *head = cursor->head;

	while (cursor->next_chunk < head->nplaces)
	{
		int			i = cursor->next_chunk++;
		EvpubPlace *place = &head->places[i];
		MemoryContext old;

		/* where sending resumes inside a transaction, what is done is not even read */
		if ((uint64) place->first + place->count <= cursor->from)
			continue;

		/* the chunk stays open from one cycle of the worker to the next */
		old = MemoryContextSwitchTo(cursor->context);
		evpub_chunk_open(&cursor->chunk, evpub_queue_chunk(cursor->queue, head, i),
						 place->length);
		MemoryContextSwitchTo(old);
		cursor->chunk_open = true;
		if (cursor->route_slots)
			memset(cursor->route_topics, 0, cursor->route_slots * sizeof(uint32));
		return true;
	}
	return false;
}

static EvpubCursorStep
next_event(EvpubCursor *cursor, EvpubRelay *relay, EvpubRecord *record)
{
	for (;;)
	{
		if (!cursor->chunk_open && !open_next_chunk(cursor))
			return EVPUB_CURSOR_END;
		if (!evpub_chunk_next(&cursor->chunk, &record->event))
		{
			close_chunk(cursor);
			continue;
		}
		if (record->event.number < cursor->from)
			continue;
		record->commit = &cursor->head->commit;
		record->topic = route_topic(cursor, relay, record->event.route);
		record->partition = -1;
		record->next = record->event.number + 1;
		return EVPUB_CURSOR_RECORD;
	}
}

static EvpubCursorStep
next_announcement(EvpubCursor *cursor, EvpubRelay *relay, EvpubRecord *record)
{
	EvpubPosition *position = cursor->queue->position;

	if (!cursor->announcement.context)
	{
		MemoryContext old = MemoryContextSwitchTo(cursor->context);
		bool		begun = evpub_announce_begin(&cursor->announcement, position,
												 relay, cursor->head, cursor->from);

		MemoryContextSwitchTo(old);
		if (!begun)
			return EVPUB_CURSOR_WAIT;
	}
	return evpub_announce_next(&cursor->announcement, position, relay, record) ?
		EVPUB_CURSOR_RECORD : EVPUB_CURSOR_END;
}

EvpubCursorStep
evpub_cursor_next(EvpubCursor *cursor, EvpubRelay *relay, EvpubRecord *record)
{
	return cursor->head->gap ? next_announcement(cursor, relay, record) :
		next_event(cursor, relay, record);
}
