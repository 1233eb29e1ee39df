/*
 * flight.c
 *		What was sent and is not acknowledged, and the position that each
 *		acknowledgement means.
 *
 * There is a mark for each record, so that the position follows the
 * acknowledgements record by record: a new relay then begins with the first
 * event that Kafka does not have, and nothing that was acknowledged in sequence
 * is sent, or counted, twice.  Marks cost 48 bytes for each record in flight;
 * the relay takes some 33,000 and its socket a few thousand more.  While a tail
 * holds the position, marks of what is dropped are added to that: as many as the
 * predecessor had sent since the position was last written.
 *
 * The position moves only from the oldest record on, so it never passes an
 * event that Kafka does not have.  What a relay drops, because its predecessor got
 * it in, counts as done at once, and moves the position when the tails are met that
 * it was dropped for (tails.c).
 *
 * The mark of a record that announces an accepted gap also says how far the
 * announcement is then.  So an announcement that is broken off goes on with the
 * first partition that has not acknowledged, and each gap is announced by its own
 * records alone.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "figures.h"
#include "position/pins.h"
#include "sender/flight.h"

/* Both are doubled when they are full. */
#define FIRST_MARKS 1024
#define FIRST_BATCHES 64

static EvpubRecordMark *
mark_of(const EvpubFlight *flight, uint64 seq)
{
	return &flight->marks[seq % flight->mark_slots];
}

static EvpubBatchMark *
batch_of(const EvpubFlight *flight, int i)
{
	return &flight->batches[(flight->batch_head + i) % flight->batch_slots];
}

void
evpub_flight_init(EvpubFlight *flight, EvpubPosition *position)
{
	memset(flight, 0, sizeof(*flight));
	flight->context = CurrentMemoryContext;
	flight->position = position;
	flight->confirmed_lsn = position->confirmed_lsn;
	flight->next_event = position->next_event;
	flight->mark_slots = FIRST_MARKS;
	flight->marks = MemoryContextAlloc(flight->context,
									   sizeof(EvpubRecordMark) * flight->mark_slots);
	flight->batch_slots = FIRST_BATCHES;
	flight->batches = MemoryContextAlloc(flight->context,
										 sizeof(EvpubBatchMark) * flight->batch_slots);
	evpub_flight_reset(flight);
}

void
evpub_flight_reset(EvpubFlight *flight)
{
	flight->sent_seq = 0;
	flight->done_seq = 0;
	flight->acked_seq = 0;
	flight->holds = 0;
	flight->dropped = 0;
	flight->dropped_counted = 0;
	flight->resumed_lsn = InvalidXLogRecPtr;
	flight->batch_head = 0;
	flight->batch_count = 0;
	flight->put_lsn = flight->confirmed_lsn;
	flight->put_next = flight->next_event;
}

bool
evpub_flight_busy(const EvpubFlight *flight)
{
	return flight->sent_seq > flight->acked_seq;
}

static void
grow_marks(EvpubFlight *flight)
{
	uint32		slots = flight->mark_slots * 2;
	EvpubRecordMark *grown = MemoryContextAllocHuge(flight->context,
													sizeof(EvpubRecordMark) * slots);

	/* nothing is changed before there is memory: the old ring is used on without */
	for (uint64 seq = flight->acked_seq + 1; seq <= flight->sent_seq; seq++)
		grown[seq % slots] = *mark_of(flight, seq);
	pfree(flight->marks);
	flight->marks = grown;
	flight->mark_slots = slots;
}

void
evpub_flight_add(EvpubFlight *flight, uint32 next, const EvpubRecordFigures *figures)
{
	EvpubRecordMark *mark;

	flight->put_next = next;
	if (flight->sent_seq - flight->acked_seq == flight->mark_slots)
		grow_marks(flight);
	mark = mark_of(flight, ++flight->sent_seq);
	mark->confirmed_lsn = flight->put_lsn;
	mark->next_event = flight->put_next;
	mark->transactions = 0;
	mark->gap_end = InvalidXLogRecPtr;
	mark->commit_time = figures->commit_time;
	mark->topic = figures->topic;
	mark->bytes = figures->bytes;
	mark->dropped = false;
}

void
evpub_flight_add_gap(EvpubFlight *flight, const EvpubGap *gap, uint32 next_number,
					 const EvpubRecordFigures *figures)
{
	EvpubRecordMark *mark;

	evpub_flight_add(flight, flight->put_next, figures);
	mark = mark_of(flight, flight->sent_seq);
	mark->gap_end = gap->to_lsn;
	mark->gap_repeat = gap->repeat;
	mark->gap_next = next_number;
}

/*
 * For evpub.stat: so many transactions end at lsn, where the position is now.  They count
 * whether Kafka has acknowledged their last event or a relay has found it there: either
 * way it is published.  After a crash the position may be older than the figures, and
 * they are met again; the figures know up to where they have counted.
 */
static void
count_transactions(EvpubFigureTotals *totals, uint32 transactions, XLogRecPtr lsn)
{
	if (transactions == 0 || lsn <= totals->counted_lsn)
		return;
	totals->transactions += transactions;
	totals->counted_lsn = lsn;
}

/* The acknowledgement of the last record now confirms put_lsn and put_next. */
static void
set_last_mark(EvpubFlight *flight, uint32 transactions)
{
	if (flight->sent_seq > flight->acked_seq)
	{
		EvpubRecordMark *mark = mark_of(flight, flight->sent_seq);

		mark->confirmed_lsn = flight->put_lsn;
		mark->next_event = flight->put_next;
		mark->transactions += transactions;
		return;
	}

	/* what has ended has no record, or its last one is acknowledged already */
	flight->confirmed_lsn = flight->put_lsn;
	flight->next_event = flight->put_next;
	flight->transactions_published += transactions;
	if (transactions > 0)
	{
		count_transactions(&evpub_figures_lock()->totals, transactions, flight->put_lsn);
		evpub_figures_unlock();
	}
}

void
evpub_flight_end_transaction(EvpubFlight *flight, XLogRecPtr lsn)
{
	flight->put_lsn = lsn;
	flight->put_next = 0;
	set_last_mark(flight, 1);
}

/* How far an accepted gap is announced; next_number is as in a mark. */
static void
set_announced(EvpubPosition *position, XLogRecPtr gap_end, uint32 gap_repeat,
			  uint32 next_number)
{
	EvpubGap   *gap = evpub_position_find_gap(position, gap_end, gap_repeat);

	/* only gaps that are announced are forgotten */
	if (!gap)
		return;
	if (next_number == 0)
		gap->announced = true;
	else
		gap->next_number = next_number;
}

void
evpub_flight_pass_event(EvpubFlight *flight, const EvpubGap *gap, uint32 next)
{
	EvpubRecordMark *last = evpub_flight_busy(flight) ?
		mark_of(flight, flight->sent_seq) : NULL;

	if (!gap)
	{
		flight->put_next = next;
		set_last_mark(flight, 0);
	}
	else if (last && last->gap_end == gap->to_lsn && last->gap_repeat == gap->repeat)
		last->gap_next = next;
	else
		set_announced(flight->position, gap->to_lsn, gap->repeat, next);
	if (!last)
		flight->progress++;
}

void
evpub_flight_end_gap(EvpubFlight *flight, const EvpubGap *gap)
{
	EvpubRecordMark *last = evpub_flight_busy(flight) ?
		mark_of(flight, flight->sent_seq) : NULL;

	/*
	 * One that stands for a transaction that was cut ends where that commits.  An
	 * accepted gap moves nothing: what was confirmed moved behind it when it was
	 * accepted.  If its end is beyond that now, then take_over() has left the
	 * history that it belongs to, and what commits up to there in this history is
	 * to be published.
	 */
	if (gap->announced)
	{
		flight->put_lsn = gap->to_lsn;
		flight->put_next = 0;
		set_last_mark(flight, 0);
		return;
	}

	/*
	 * It is announced when its last record is acknowledged.  Without one in
	 * flight, it is announced now: either all its records are acknowledged, or no
	 * partition is left.  That is safe although records of gaps before it may be
	 * in flight: only this gap is marked, and those are still announced for
	 * themselves, or again.  What committed behind it has not been sent yet,
	 * since accepted gaps lie in front of the queue.
	 */
	if (last && last->gap_end == gap->to_lsn && last->gap_repeat == gap->repeat)
		last->gap_next = 0;
	else
		set_announced(flight->position, gap->to_lsn, gap->repeat, 0);
}

void
evpub_flight_add_batch(EvpubFlight *flight, XLogRecPtr first_lsn,
					   TimestampTz commit_time)
{
	EvpubBatchMark *batch;

	if (flight->batch_count == flight->batch_slots)
	{
		EvpubBatchMark *grown = MemoryContextAlloc(flight->context,
												   sizeof(EvpubBatchMark) * flight->batch_slots * 2);

		for (int i = 0; i < flight->batch_count; i++)
			grown[i] = *batch_of(flight, i);
		pfree(flight->batches);
		flight->batches = grown;
		flight->batch_slots *= 2;
		flight->batch_head = 0;
	}
	batch = batch_of(flight, flight->batch_count++);
	batch->last_seq = flight->sent_seq;
	batch->first_lsn = first_lsn;
	batch->commit_time = commit_time;
}

/* Events in a row of one topic, and those of them of one commit. */
typedef struct Run
{
	uint32		topic;
	uint64		events;
	uint64		bytes;
	TimestampTz commit_time;
	uint32		of_commit;
} Run;

static void
end_commit(EvpubFigures *figures, Run *run, TimestampTz now, EvpubMsec clock)
{
	if (run->of_commit > 0 && run->commit_time != 0)
		evpub_latency_add(&figures->latency, clock, now - run->commit_time,
						  run->of_commit);
	run->of_commit = 0;
}

static void
end_run(const EvpubFlight *flight, EvpubFigures *figures, Run *run, TimestampTz now)
{
	EvpubTopic *topic = run->events > 0 ?
		evpub_pins_topic_of_number(flight->position, run->topic) : NULL;

	/* a topic may be forgotten only while nothing is in flight, so there is one */
	if (topic)
		evpub_figures_topic(figures, topic->name, &topic->figures, run->events,
							run->bytes, now);
	run->events = 0;
	run->bytes = 0;
}

/*
 * For views evpub.stat and evpub.stat_topics.  The position follows each record once in
 * the life of a worker, whatever relays send again, so each is counted once.  What a
 * relay has dropped counts as that alone: it was counted when it was acknowledged, or
 * a relay got it in that could not say so any more.  The lock is taken once, and topic
 * and commit are looked at where they change from one record to the next.  Nothing in
 * it can throw, as persist.c needs of all that takes an acknowledgement in.
 */
static void
count_figures(EvpubFlight *flight, uint64 seq)
{
	TimestampTz now;
	EvpubMsec	clock;
	EvpubFigures *figures;
	Run			run;

	if (seq == flight->acked_seq)
		return;
	now = GetCurrentTimestamp();
	clock = evpub_clock_now();
	memset(&run, 0, sizeof(run));
	figures = evpub_figures_lock();
	for (uint64 i = flight->acked_seq + 1; i <= seq; i++)
	{
		const EvpubRecordMark *mark = mark_of(flight, i);

		count_transactions(&figures->totals, mark->transactions, mark->confirmed_lsn);
		if (mark->dropped)
		{
			figures->totals.duplicates++;
			continue;
		}
		if (mark->topic != run.topic)
			end_run(flight, figures, &run, now);
		if (mark->commit_time != run.commit_time)
			end_commit(figures, &run, now, clock);
		run.topic = mark->topic;
		run.events++;
		run.bytes += mark->bytes;
		run.commit_time = mark->commit_time;
		run.of_commit++;
	}
	end_run(flight, figures, &run, now);
	end_commit(figures, &run, now, clock);
	evpub_figures_unlock();
}

/* The position follows what is done up to here. */
static void
confirm(EvpubFlight *flight, uint64 seq)
{
	count_figures(flight, seq);
	flight->duplicates_dropped += flight->dropped - flight->dropped_counted;
	flight->dropped_counted = flight->dropped;
	flight->events_published += seq - flight->acked_seq;
	flight->careful -= Min(flight->careful, seq - flight->acked_seq);
	while (flight->acked_seq < seq)
	{
		const EvpubRecordMark *mark = mark_of(flight, ++flight->acked_seq);

		if (mark->confirmed_lsn != flight->confirmed_lsn ||
			mark->next_event != flight->next_event ||
			mark->gap_end != InvalidXLogRecPtr)
			flight->progress++;
		flight->confirmed_lsn = mark->confirmed_lsn;
		flight->next_event = mark->next_event;
		flight->transactions_published += mark->transactions;
		if (mark->gap_end != InvalidXLogRecPtr)
			set_announced(flight->position, mark->gap_end, mark->gap_repeat,
						  mark->gap_next);
	}
	while (flight->batch_count > 0 && batch_of(flight, 0)->last_seq <= seq)
	{
		flight->batch_head = (flight->batch_head + 1) % flight->batch_slots;
		flight->batch_count--;
	}
}

bool
evpub_flight_acknowledge(EvpubFlight *flight, uint64 seq, uint64 dropped)
{
	if (seq < flight->done_seq || seq > flight->sent_seq || dropped < flight->dropped)
		return false;
	for (uint64 i = Max(flight->done_seq, seq - Min(seq, dropped - flight->dropped)); i < seq; i++)
		mark_of(flight, i + 1)->dropped = true;
	flight->done_seq = seq;
	flight->dropped = dropped;
	if (flight->holds == 0)
		confirm(flight, seq);
	return true;
}

void
evpub_flight_hold(EvpubFlight *flight)
{
	flight->holds++;
}

void
evpub_flight_release(EvpubFlight *flight)
{
	if (--flight->holds == 0)
		confirm(flight, flight->done_seq);
}

void
evpub_flight_resume_inside(EvpubFlight *flight, XLogRecPtr lsn, uint32 next)
{
	flight->resumed_lsn = lsn;
	flight->resumed_next = next;
}

XLogRecPtr
evpub_flight_restart_lsn(const EvpubFlight *flight, XLogRecPtr restart)
{
	for (int i = 0; i < flight->batch_count; i++)
		restart = Min(restart, batch_of(flight, i)->first_lsn);
	return restart;
}

TimestampTz
evpub_flight_oldest(const EvpubFlight *flight)
{
	return flight->batch_count > 0 ? batch_of(flight, 0)->commit_time : 0;
}

void
evpub_flight_be_careful(EvpubFlight *flight, uint64 last_seq)
{
	if (last_seq <= flight->sent_seq && last_seq > flight->acked_seq)
		flight->careful = Max(flight->careful, last_seq - flight->acked_seq);
}

void
evpub_flight_be_careful_behind(EvpubFlight *flight, uint64 records)
{
	flight->careful = Max(flight->careful,
						  flight->done_seq - flight->acked_seq + 1 + records);
}

void
evpub_flight_pass(EvpubFlight *flight, XLogRecPtr lsn)
{
	/* next_event stays: it belongs to the next transaction with events */
	flight->confirmed_lsn = lsn;
	flight->put_lsn = lsn;
}
