/*
 * flight.h
 *		What was sent and is not acknowledged, and the position that each
 *		acknowledgement means.
 */
#ifndef EVPUB_FLIGHT_H
#define EVPUB_FLIGHT_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "position/position.h"

/* What the acknowledgement of a record means. */
typedef struct EvpubRecordMark
{
	XLogRecPtr	confirmed_lsn;
	uint32		next_event;
	uint32		transactions;	/* that end with it */

	/* a record that announces an accepted gap: which one, see position.h */
	XLogRecPtr	gap_end;		/* invalid: none */
	uint32		gap_repeat;
	uint32		gap_next;		/* the gap's next_number then; 0: it is announced */

	/* for the figures */
	TimestampTz commit_time;	/* 0: it announces an accepted gap */
	uint32		topic;			/* its number */
	uint32		bytes:31;		/* of key, value and headers */
	uint32		dropped:1;		/* it was in Kafka already */
} EvpubRecordMark;

/* What is to be known of a record for the figures, when it is acknowledged. */
typedef struct EvpubRecordFigures
{
	TimestampTz commit_time;	/* as in a mark */
	uint32		topic;
	uint32		bytes;
} EvpubRecordFigures;

/* A batch on its way. */
typedef struct EvpubBatchMark
{
	uint64		last_seq;
	XLogRecPtr	first_lsn;		/* first chunk of its oldest transaction */
	TimestampTz commit_time;	/* of its oldest transaction */
} EvpubBatchMark;

typedef struct EvpubFlight
{
	MemoryContext context;
	EvpubPosition *position;	/* the worker's; its gaps are announced */

	/* sent, not acknowledged: rings, by sequence number and by batch */
	EvpubRecordMark *marks;
	uint32		mark_slots;
	EvpubBatchMark *batches;
	int			batch_slots;
	int			batch_head;
	int			batch_count;
	uint64		sent_seq;		/* last sequence number given out */
	uint64		done_seq;		/* up to here all is in Kafka, says the relay */
	uint64		acked_seq;		/* up to here the position has followed */

	/*
	 * Tails of partitions that were not met yet (tails.h): so many.  While there
	 * are any, the position stays where it is, since what was dropped is not
	 * proved to be in Kafka.
	 */
	int			holds;
	uint64		dropped;		/* of what is done, so many were dropped by this relay */
	uint64		dropped_counted;	/* of these, in duplicates_dropped */

	/*
	 * The transaction in which sending resumed, and the number of its first event
	 * that was sent; invalid: sending resumed between two transactions.
	 */
	XLogRecPtr	resumed_lsn;
	uint32		resumed_next;

	/* the position behind what was put last: it will be the confirmed one */
	XLogRecPtr	put_lsn;
	uint32		put_next;

	/*
	 * So many records are sent one at a time: one of them was refused.  They
	 * are counted from the first one that is not acknowledged, which is where
	 * sending resumes; so the same records are meant in a new relay.
	 */
	uint64		careful;

	/* confirmed in Kafka */
	XLogRecPtr	confirmed_lsn;
	uint32		next_event;
	uint64		events_published;
	uint64		transactions_published;
	uint64		duplicates_dropped;
	uint64		events_persisted;	/* events_published, when the position was last
									 * made durable */
	uint64		progress;		/* rises when an acknowledgement moves the
								 * position, or a gap's next_number */
} EvpubFlight;

/*
 * Nothing is in flight, and what is confirmed is what the position says.  In
 * the current context, which has to outlive it.
 */
extern void evpub_flight_init(EvpubFlight *flight, EvpubPosition *position);

/*
 * Forget what is in flight: sequence numbers begin anew, and sending resumes
 * at the confirmed position, which is that of the last acknowledged record.
 */
extern void evpub_flight_reset(EvpubFlight *flight);

/*
 * One more record was put into the batch: an event of a transaction.  "next":
 * the number of the event behind it.
 */
extern void evpub_flight_add(EvpubFlight *flight, uint32 next,
							 const EvpubRecordFigures *figures);

/* The transaction that commits at lsn has no more records. */
extern void evpub_flight_end_transaction(EvpubFlight *flight, XLogRecPtr lsn);

/*
 * One more record was put into the batch: one that announces an accepted gap.  Its
 * acknowledgement makes next_number, which is not 0, that of the gap.
 */
extern void evpub_flight_add_gap(EvpubFlight *flight, const EvpubGap *gap,
								 uint32 next_number,
								 const EvpubRecordFigures *figures);

/*
 * The gap has no more records.  It is announced when the last one is
 * acknowledged, unless it is marked so already, as that of a transaction which a
 * gap has cut.
 */
extern void evpub_flight_end_gap(EvpubFlight *flight, const EvpubGap *gap);

/*
 * The event in front of number "next", or of an accepted gap ("gap", else NULL),
 * goes without a record: it was given up, and is confirmed with what was put
 * before it.
 */
extern void evpub_flight_pass_event(EvpubFlight *flight, const EvpubGap *gap,
									uint32 next);

/*
 * A batch is complete: WAL is needed from first_lsn on, and its oldest
 * transaction is of commit_time, until all records so far are acknowledged.
 */
extern void evpub_flight_add_batch(EvpubFlight *flight, XLogRecPtr first_lsn,
								   TimestampTz commit_time);

/*
 * Everything up to seq is in Kafka; "dropped" of it, since this relay began, was
 * there before: those that are more than last time are the last ones up to seq.  The
 * position follows unless something holds it.  False: there is no such number.
 */
extern bool evpub_flight_acknowledge(EvpubFlight *flight, uint64 seq, uint64 dropped);

/* One more thing, or one less, holds the position where it is. */
extern void evpub_flight_hold(EvpubFlight *flight);
extern void evpub_flight_release(EvpubFlight *flight);

/* Sending resumes in the transaction that commits at lsn, with event "next". */
extern void evpub_flight_resume_inside(EvpubFlight *flight, XLogRecPtr lsn, uint32 next);

/* WAL that batches in flight need, at most "restart". */
extern XLogRecPtr evpub_flight_restart_lsn(const EvpubFlight *flight, XLogRecPtr restart);

/* Commit time of the oldest transaction in flight, or 0. */
extern TimestampTz evpub_flight_oldest(const EvpubFlight *flight);

/* Something was sent that the position has not followed. */
extern bool evpub_flight_busy(const EvpubFlight *flight);

/* Something was sent that is not known to be in Kafka. */
static inline bool
evpub_flight_under_way(const EvpubFlight *flight)
{
	return flight->sent_seq > flight->done_seq;
}

/*
 * Records up to last_seq were refused: they are sent one by one from now on, to
 * find the one to blame.  Nothing behind them is sent before they are in Kafka.
 */
extern void evpub_flight_be_careful(EvpubFlight *flight, uint64 last_seq);

/* The first record that is not in Kafka, and so many behind it, go one by one. */
extern void evpub_flight_be_careful_behind(EvpubFlight *flight, uint64 records);

/* There is no event before lsn, and nothing is in flight: confirm up to lsn. */
extern void evpub_flight_pass(EvpubFlight *flight, XLogRecPtr lsn);

#endif							/* EVPUB_FLIGHT_H */
