/*
 * flight.c
 *		What was sent and is not acknowledged, and the position that each
 *		acknowledgement means.
 *
 * There is a mark for each record, so that the position follows the
 * acknowledgements record by record: a new relay then begins with the first
 * event that Kafka does not have, and nothing that was acknowledged in sequence
 * is sent, or counted, twice.  Marks cost 24 bytes for each record in flight;
 * the relay takes some 33,000 and its socket a few thousand more.
 *
 * The position moves only from the oldest record on, so it never passes an
 * event that Kafka does not have.
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
	mark->told_lsn = InvalidXLogRecPtr;
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

void
evpub_flight_end_gap(EvpubStream *stream, XLogRecPtr lsn)
{
	/* a gap may lie before what was published last */
	if (lsn > stream->put_lsn)
	{
		stream->put_lsn = lsn;
		stream->put_next = 0;
	}
	set_last_mark(stream, 0);
	if (stream->sent_seq == stream->acked_seq)
		evpub_position_gaps_told(stream->position, lsn);
	else
		mark_of(stream, stream->sent_seq)->told_lsn = lsn;
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

		stream->confirmed_lsn = mark->confirmed_lsn;
		stream->next_event = mark->next_event;
		stream->transactions_published += mark->transactions;
		if (mark->told_lsn != InvalidXLogRecPtr)
			evpub_position_gaps_told(stream->position, mark->told_lsn);
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
