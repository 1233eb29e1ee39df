/*
 * stream.c
 *		From WAL to the relay, and acknowledgements back to a position.
 *
 * WAL -> queue.c -> cursor.c -> batch.c -> relay; acknowledgement -> flight.c ->
 * position, unless tails.c holds it.  This file answers the questions that concern
 * several of them.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "sender/stream.h"

void
evpub_stream_init(EvpubStream *stream, EvpubPosition *position)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "evpub stream",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	memset(stream, 0, sizeof(*stream));
	stream->context = context;
	evpub_flight_init(&stream->flight, position);
	evpub_tails_init(&stream->tails, &stream->flight);
	evpub_batch_init(&stream->batch, &stream->queue, &stream->flight,
					 &stream->tails);
	evpub_queue_init(&stream->queue, position);
	MemoryContextSwitchTo(old);
}

void
evpub_stream_rewind(EvpubStream *stream)
{
	evpub_batch_reset(&stream->batch);
	evpub_tails_reset(&stream->tails);
	evpub_flight_reset(&stream->flight);
	evpub_queue_restart(&stream->queue);
}

bool
evpub_stream_read(EvpubStream *stream)
{
	return evpub_queue_read(&stream->queue, stream->flight.confirmed_lsn);
}

bool
evpub_stream_at_stuck(const EvpubStream *stream)
{
	return stream->batch.stuck != NULL && !evpub_flight_under_way(&stream->flight);
}

XLogRecPtr
evpub_stream_put_lsn(const EvpubStream *stream)
{
	/* nothing is queued, and what was read has no events that were not sent */
	if (stream->queue.reading && stream->queue.length == 0)
		return stream->queue.reader->position;
	return stream->flight.put_lsn;
}

XLogRecPtr
evpub_stream_head_lsn(EvpubStream *stream)
{
	EvpubTransaction *head = evpub_queue_head(&stream->queue);

	return head ? head->commit.lsn : InvalidXLogRecPtr;
}

/*
 * Its events are counted by the chunks that were found.  All were found if the
 * transaction was refused for the bytes of one; else some are missing, and there
 * are at least so many events.  It is the next transaction, so its events may be
 * published in part, up to next_event.
 */
EvpubLost
evpub_stream_head_lost(EvpubStream *stream)
{
	EvpubTransaction *head = evpub_queue_head(&stream->queue);
	uint32		next_event = evpub_position_first_event(stream->flight.next_event);
	EvpubLost	lost;

	lost.known = head->commit.lsn == stream->queue.refused_lsn && next_event == 0 ?
		EVPUB_LOST_ALL : EVPUB_LOST_EVENTS_PART;
	lost.transactions = 1;
	lost.events = head->commit.events > next_event ?
		head->commit.events - next_event : 0;
	return lost;
}

bool
evpub_stream_at_break(const EvpubStream *stream)
{
	/*
	 * The position may be held by a tail from behind the break, which cannot be met
	 * before the break is mended or given up.
	 */
	return stream->queue.broken && stream->queue.length == 0 &&
		!evpub_flight_under_way(&stream->flight);
}

bool
evpub_stream_drained(const EvpubStream *stream)
{
	/* before reading has begun, gaps that are to be announced are not queued */
	return stream->queue.reading && stream->queue.length == 0 &&
		!evpub_flight_busy(&stream->flight);
}

void
evpub_stream_idle(EvpubStream *stream)
{
	/* all commits up to here were looked at */
	if (!stream->queue.broken && evpub_stream_drained(stream) &&
		stream->queue.reader->position > stream->flight.confirmed_lsn)
		evpub_flight_pass(&stream->flight, stream->queue.reader->position);
}

XLogRecPtr
evpub_stream_restart_lsn(EvpubStream *stream)
{
	return evpub_flight_restart_lsn(&stream->flight,
									evpub_queue_restart_lsn(&stream->queue));
}

TimestampTz
evpub_stream_oldest(EvpubStream *stream)
{
	TimestampTz oldest = evpub_flight_oldest(&stream->flight);
	EvpubTransaction *head;

	if (oldest != 0)
		return oldest;
	head = evpub_queue_head(&stream->queue);
	return head ? head->commit.time : 0;
}
