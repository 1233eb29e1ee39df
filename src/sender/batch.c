/*
 * batch.c
 *		From the queue to the relay: batches of records.
 *
 * Transactions are sent in the order of the queue, each only when it is visible.
 * A head that is not visible yet holds all transactions behind it.  What was sent
 * is remembered record by record, with the position that its acknowledgement means
 * (flight.c).
 *
 * Behind a dead letter nothing goes before it is acknowledged, so events that follow
 * never overtake it.  What is in front of it is mostly acknowledged already: no event
 * becomes one before all in front of it is, and then sending begins with it.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "position/pins.h"
#include "sender/batch.h"
#include "sender/skipped.h"

/* Records go to the relay in batches of about this size. */
#define BATCH_BYTES (64 * 1024)

/* A batch has no more records, for numbers to fit; it has far less. */
#define BATCH_RECORDS (64 * 1024)

void
evpub_batch_init(EvpubBatch *batch, EvpubQueue *queue, EvpubFlight *flight,
				 EvpubTails *tails)
{
	memset(batch, 0, sizeof(*batch));
	batch->context = CurrentMemoryContext;
	batch->queue = queue;
	batch->flight = flight;
	batch->tails = tails;
	initStringInfo(&batch->data);
	evpub_cursor_init(&batch->cursor, queue);
}

void
evpub_batch_reset(EvpubBatch *batch)
{
	evpub_cursor_close(&batch->cursor);
	batch->head_visible = false;
	batch->letter.seq = 0;
	batch->waiting_xid = InvalidTransactionId;
	batch->stuck = NULL;
}

bool
evpub_batch_letter_waits(const EvpubBatch *batch)
{
	return batch->letter.seq > batch->flight->done_seq;
}

/*
 * May the head of the queue be published?  One snapshot serves all transactions
 * that were read before it was taken.
 */
static bool
head_may_go(EvpubBatch *batch, EvpubTransaction *head, EvpubGate *gate, bool *fresh)
{
	/* an accepted gap has no transaction to wait for */
	if (batch->head_visible || head->xid == InvalidTransactionId)
		return true;
	if (!*fresh)
	{
		evpub_gate_refresh(gate);
		*fresh = true;
	}
	if (evpub_gate_passed(gate, head->xid))
	{
		batch->head_visible = true;
		batch->waiting_xid = InvalidTransactionId;
		return true;
	}
	if (batch->waiting_xid != head->xid)
	{
		batch->waiting_xid = head->xid;
		batch->waiting_lsn = head->commit.lsn;
		batch->waiting_since = evpub_clock_now();
	}
	return false;
}

/*
 * False if the head can never be published.  A head that an accepted gap has cut
 * is announced as a gap of its own.
 */
static bool
head_is_whole(EvpubBatch *batch, EvpubTransaction *head)
{
	MemoryContext old;
	bool		whole = true;

	if (!head->problem || head->gap)
		return true;
	old = MemoryContextSwitchTo(batch->context);
	if (evpub_announce_instead(batch->queue->position, head,
							   head->commit.lsn <= batch->cut_lsn))
		batch->cut_lsn = Max(batch->cut_lsn, head->commit.lsn);
	else
	{
		batch->stuck = head->problem;
		whole = false;
	}
	MemoryContextSwitchTo(old);
	return whole;
}

/*
 * The head may be the first transaction that a grown topic's new count is for.
 * Then all before it, whatever its topic, is in Kafka first, so that no key is
 * in two partitions at a time; that is rare, and short.  It need not be confirmed:
 * the position may be held by a tail from behind the line, which a primary that is
 * no more has got in.  "before": the last number that was sent before this batch.
 * False: not yet.
 */
static bool
adopt_growth(EvpubBatch *batch, EvpubTransaction *head, uint64 before)
{
	EvpubPosition *position = batch->queue->position;
	XLogRecPtr	commit_lsn = head->commit.lsn;

	/* a head of which a part is sent was asked about when it began */
	if (batch->cursor.head || commit_lsn <= evpub_pins_growth_from(position))
		return true;
	if (evpub_pins_growth_undecided(position, commit_lsn))
		return false;
	if (!evpub_pins_growth_due(position, commit_lsn))
		return true;
	if (batch->flight->sent_seq > before || evpub_flight_under_way(batch->flight))
		return false;
	evpub_pins_adopt_growth(position, commit_lsn, batch->flight->put_lsn);
	return true;
}

/*
 * What becomes of the record's event, if Kafka has refused it; NULL: nothing, it is
 * sent.  What was to be a dead letter is sent as well when the settings do not say
 * so any more.
 */
static const EvpubSkip *
skip_of(const EvpubBatch *batch, const EvpubRecord *record)
{
	const EvpubSkip *skip = evpub_skipped_find(batch->queue->position, record);

	return skip && skip->letter && !evpub_deadletter_possible(skip->topic) ? NULL : skip;
}

/*
 * Put one record into the batch, or what stands for an event that is not published.
 * "accepted": it announces this gap.  False: it goes without a record.
 */
static bool
put_record(EvpubBatch *batch, EvpubRelay *relay, EvpubRecord *record,
		   const EvpubGap *accepted)
{
	const EvpubSkip *skip = skip_of(batch, record);
	EvpubSkipped skipped;
	EvpubRecordFigures figures;

	if (skip && skip->silent)
	{
		evpub_flight_pass_event(batch->flight, accepted, record->next);
		return false;
	}
	if (skip && skip->letter)
	{
		evpub_deadletter_replace(&batch->letter, record, skip,
								 batch->queue->position, relay);
		batch->letter.seq = batch->flight->sent_seq + 1;
	}
	else if (skip)
		evpub_skipped_replace(&skipped, record, skip);
	figures.bytes = evpub_record_append(&batch->data, record);
	figures.topic = record->topic;
	figures.commit_time = accepted ? 0 : record->commit->time;
	if (accepted)
		evpub_flight_add_gap(batch->flight, accepted, record->next, &figures);
	else
		evpub_flight_add(batch->flight, record->next, &figures);
	return true;
}

/*
 * Put records of the head into the batch, until that is full or has "most"
 * records more.  True when the head has no more.
 */
static bool
put_head(EvpubBatch *batch, EvpubTransaction *head, EvpubRelay *relay, uint32 most)
{
	EvpubFlight *flight = batch->flight;
	const EvpubGap *accepted = head->gap && !head->gap->announced ? head->gap : NULL;
	uint32		n = 0;

	if (!batch->cursor.head)
	{
		evpub_cursor_open(&batch->cursor, flight->put_next);
		if (batch->cursor.from > 0)
			evpub_flight_resume_inside(flight, head->commit.lsn, batch->cursor.from);
	}
	while (n < most && batch->data.len < BATCH_BYTES)
	{
		EvpubRecord record;

		switch (evpub_cursor_next(&batch->cursor, relay, &record))
		{
			case EVPUB_CURSOR_WAIT:
				return false;
			case EVPUB_CURSOR_END:
				if (head->gap)
				{
					evpub_flight_end_gap(flight, head->gap);
					if (!accepted)
						evpub_tails_cut(batch->tails, head->gap->to_lsn);
				}
				else
					evpub_flight_end_transaction(flight, head->commit.lsn);
				return true;
			case EVPUB_CURSOR_RECORD:
				break;
		}
		if (put_record(batch, relay, &record, accepted))
			n++;
		if (evpub_batch_letter_waits(batch))
			return false;
	}
	return false;
}

static void
pop_head(EvpubBatch *batch)
{
	evpub_cursor_close(&batch->cursor);
	evpub_queue_pop(batch->queue);
	batch->head_visible = false;
	batch->stuck = NULL;
}

/* Fill one batch from the queue and send it.  False if nothing may go. */
static bool
send_one(EvpubBatch *batch, EvpubRelay *relay, EvpubGate *gate, bool *fresh)
{
	EvpubFlight *flight = batch->flight;
	EvpubFrameBatch header;
	EvpubTransaction *head;
	uint64		before = flight->sent_seq;
	XLogRecPtr	first_lsn = InvalidXLogRecPtr;
	TimestampTz commit_time = 0;
	uint32		most = flight->careful > 0 ? 1 : BATCH_RECORDS;
	bool		ended = false;

	/* the record in flight may be the one that is refused; nothing joins it */
	if ((flight->careful > 0 && evpub_flight_under_way(flight)) ||
		evpub_batch_letter_waits(batch))
		return false;

	resetStringInfo(&batch->data);
	memset(&header, 0, sizeof(header));
	appendBinaryStringInfo(&batch->data, (char *) &header, sizeof(header));

	while ((head = evpub_queue_head(batch->queue)) != NULL &&
		   batch->data.len < BATCH_BYTES && flight->sent_seq - before < most)
	{
		if (!head_may_go(batch, head, gate, fresh) || !head_is_whole(batch, head) ||
			!adopt_growth(batch, head, before))
			break;
		if (first_lsn == InvalidXLogRecPtr || head->first_lsn < first_lsn)
			first_lsn = head->first_lsn;
		if (commit_time == 0)
			commit_time = head->commit.time;
		if (!put_head(batch, head, relay, most - (uint32) (flight->sent_seq - before)))
			break;
		ended = true;
		pop_head(batch);
	}

	header.first = before + 1;
	header.count = (uint32) (flight->sent_seq - before);
	if (header.count == 0)
	{
		/* what was given up is confirmed with records in flight: its WAL is kept, too */
		if (ended && evpub_flight_busy(flight))
			evpub_flight_add_batch(flight, first_lsn, commit_time);
		return ended;
	}
	memcpy(batch->data.data, &header, sizeof(header));
	evpub_flight_add_batch(flight, first_lsn, commit_time);
	evpub_relay_put(relay, EVPUB_FRAME_BATCH, batch->data.data, batch->data.len);
	return true;
}

bool
evpub_batch_send(EvpubBatch *batch, EvpubRelay *relay, EvpubGate *gate)
{
	bool		fresh = false;
	uint64		put = relay->put;

	/*
	 * Render no more than the relay takes: its back-pressure reaches us here.  A
	 * relay that takes all at once is listened to now and then (frame.h, TAIL).
	 */
	while (evpub_relay_flush(relay) && evpub_relay_may_put(relay))
	{
		if (relay->put - put >= EVPUB_FRAME_TURN)
			return true;
		if (!send_one(batch, relay, gate, &fresh))
			break;
	}
	return false;
}
