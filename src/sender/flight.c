/*
 * flight.c
 *		What was sent and is not acknowledged, and the position that each
 *		acknowledgement means.
 *
 * There is a mark for each record, so that the position follows the
 * acknowledgements record by record: a new relay then begins with the first
 * event that Kafka does not have, and nothing that was acknowledged in sequence
 * is sent, or counted, twice.  Marks cost 32 bytes for each record in flight;
 * the relay takes some 33,000 and its socket a few thousand more.
 *
 * The position moves only from the oldest record on, so it never passes an
 * event that Kafka does not have.
 *
 * Records that tell of an accepted gap say how far consumers know of that gap.
 * So an announcement that is broken off goes on with the first partition that
 * has not acknowledged, and each gap is told by its own records alone.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "position/position.h"
#include "sender/flight.h"

/* Both are doubled when they are full. */
#define FIRST_MARKS 1024
#define FIRST_BATCHES 64

static EvpubRecordMark *
mark_of(const EvpubStream *stream, uint64 seq)
{
	return &stream->marks[seq % stream->mark_slots];
}

static EvpubBatchMark *
batch_of(const EvpubStream *stream, int i)
{
	return &stream->batches[(stream->batch_head + i) % stream->batch_slots];
}

void
evpub_flight_init(EvpubStream *stream)
{
	stream->mark_slots = FIRST_MARKS;
	stream->marks = MemoryContextAlloc(stream->context,
									   sizeof(EvpubRecordMark) * stream->mark_slots);
	stream->batch_slots = FIRST_BATCHES;
	stream->batches = MemoryContextAlloc(stream->context,
										 sizeof(EvpubBatchMark) * stream->batch_slots);
	evpub_flight_reset(stream);
}

void
evpub_flight_reset(EvpubStream *stream)
{
	stream->sent_seq = 0;
	stream->acked_seq = 0;
	stream->batch_head = 0;
	stream->batch_count = 0;
	stream->put_lsn = stream->confirmed_lsn;
	stream->put_next = stream->next_event;
}

static void
grow_marks(EvpubStream *stream)
{
	EvpubRecordMark *old = stream->marks;
	uint32		old_slots = stream->mark_slots;

	stream->mark_slots *= 2;
	stream->marks = MemoryContextAllocHuge(stream->context,
										   sizeof(EvpubRecordMark) * stream->mark_slots);
	for (uint64 seq = stream->acked_seq + 1; seq <= stream->sent_seq; seq++)
		stream->marks[seq % stream->mark_slots] = old[seq % old_slots];
	pfree(old);
}

void
evpub_flight_add(EvpubStream *stream)
{
	EvpubRecordMark *mark;

	if (stream->sent_seq - stream->acked_seq == stream->mark_slots)
		grow_marks(stream);
	mark = mark_of(stream, ++stream->sent_seq);
	mark->confirmed_lsn = stream->put_lsn;
	mark->next_event = stream->put_next;
	mark->transactions = 0;
	mark->gap_end = InvalidXLogRecPtr;
}

void
evpub_flight_add_gap(EvpubStream *stream, const EvpubGap *gap, uint32 next_place)
{
	EvpubRecordMark *mark;

	evpub_flight_add(stream);
	mark = mark_of(stream, stream->sent_seq);
	mark->gap_end = gap->to_lsn;
	mark->gap_repeat = gap->repeat;
	mark->gap_next = next_place;
}

/* What has been put so far, now means put_lsn and put_next. */
static void
set_last_mark(EvpubStream *stream, uint32 transactions)
{
	if (stream->sent_seq > stream->acked_seq)
	{
		EvpubRecordMark *mark = mark_of(stream, stream->sent_seq);

		mark->confirmed_lsn = stream->put_lsn;
		mark->next_event = stream->put_next;
		mark->transactions += transactions;
		return;
	}

	/* its last record is acknowledged already, or it has none */
	stream->confirmed_lsn = stream->put_lsn;
	stream->next_event = stream->put_next;
	stream->transactions_published += transactions;
}

void
evpub_flight_end_transaction(EvpubStream *stream, XLogRecPtr lsn)
{
	stream->put_lsn = lsn;
	stream->put_next = 0;
	set_last_mark(stream, 1);
}

/* next_place: as in a mark. */
static void
set_told(EvpubPosition *position, XLogRecPtr gap_end, uint32 gap_repeat,
		 uint32 next_place)
{
	EvpubGap   *gap = evpub_position_find_gap(position, gap_end, gap_repeat);

	/* one that is not told yet is not forgotten */
	if (!gap)
		return;
	if (next_place == 0)
		gap->told = true;
	else
		gap->next_place = next_place;
}

void
evpub_flight_end_gap(EvpubStream *stream, const EvpubGap *gap)
{
	EvpubRecordMark *last = stream->sent_seq > stream->acked_seq ?
		mark_of(stream, stream->sent_seq) : NULL;

	/* a gap may lie before what was published last */
	if (gap->to_lsn > stream->put_lsn)
	{
		stream->put_lsn = gap->to_lsn;
		stream->put_next = 0;
	}
	set_last_mark(stream, 0);
	if (gap->told)
		return;

	/*
	 * It is told when its last record is acknowledged.  Without one in flight,
	 * it is told now: either all its records are acknowledged, or there is no
	 * partition left to tell.  That is safe although records of gaps before it
	 * may be in flight: only this gap is marked, and they are still told, or
	 * repeated, for themselves.  What committed behind it has not been sent
	 * yet, since accepted gaps lie in front of the queue.
	 */
	if (last && last->gap_end == gap->to_lsn && last->gap_repeat == gap->repeat)
		last->gap_next = 0;
	else
		set_told(stream->position, gap->to_lsn, gap->repeat, 0);
}

void
evpub_flight_add_batch(EvpubStream *stream, XLogRecPtr first_lsn,
					   TimestampTz commit_time)
{
	EvpubBatchMark *batch;

	if (stream->batch_count == stream->batch_slots)
	{
		EvpubBatchMark *grown = MemoryContextAlloc(stream->context,
												   sizeof(EvpubBatchMark) * stream->batch_slots * 2);

		for (int i = 0; i < stream->batch_count; i++)
			grown[i] = *batch_of(stream, i);
		pfree(stream->batches);
		stream->batches = grown;
		stream->batch_slots *= 2;
		stream->batch_head = 0;
	}
	batch = batch_of(stream, stream->batch_count++);
	batch->last_seq = stream->sent_seq;
	batch->first_lsn = first_lsn;
	batch->commit_time = commit_time;
}

bool
evpub_flight_acknowledge(EvpubStream *stream, uint64 seq)
{
	if (seq < stream->acked_seq || seq > stream->sent_seq)
		return false;
	stream->events_published += seq - stream->acked_seq;
	stream->careful -= Min(stream->careful, seq - stream->acked_seq);
	while (stream->acked_seq < seq)
	{
		const EvpubRecordMark *mark = mark_of(stream, ++stream->acked_seq);

		if (mark->confirmed_lsn != stream->confirmed_lsn ||
			mark->next_event != stream->next_event ||
			mark->gap_end != InvalidXLogRecPtr)
			stream->progress++;
		stream->confirmed_lsn = mark->confirmed_lsn;
		stream->next_event = mark->next_event;
		stream->transactions_published += mark->transactions;
		if (mark->gap_end != InvalidXLogRecPtr)
			set_told(stream->position, mark->gap_end, mark->gap_repeat,
					 mark->gap_next);
	}
	while (stream->batch_count > 0 && batch_of(stream, 0)->last_seq <= seq)
	{
		stream->batch_head = (stream->batch_head + 1) % stream->batch_slots;
		stream->batch_count--;
	}
	return true;
}

XLogRecPtr
evpub_flight_restart_lsn(const EvpubStream *stream, XLogRecPtr restart)
{
	for (int i = 0; i < stream->batch_count; i++)
		restart = Min(restart, batch_of(stream, i)->first_lsn);
	return restart;
}

TimestampTz
evpub_flight_oldest(const EvpubStream *stream)
{
	return stream->batch_count > 0 ? batch_of(stream, 0)->commit_time : 0;
}
