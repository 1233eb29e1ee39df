/*
 * flight.h
 *		What was sent and is not acknowledged, and the position that each
 *		acknowledgement means.
 */
#ifndef EVPUB_FLIGHT_H
#define EVPUB_FLIGHT_H

#include "postgres.h"

#include "sender/streamdata.h"

/* Empty; the position is the stream's confirmed one.  In stream->context. */
extern void evpub_flight_init(EvpubStream *stream);

/*
 * Forget what is in flight: sequence numbers begin anew, and sending resumes
 * at the confirmed position, which is that of the last acknowledged record.
 */
extern void evpub_flight_reset(EvpubStream *stream);

/*
 * One more record was put into the batch.  stream->put_next has become the
 * number of the event behind it.
 */
extern void evpub_flight_add(EvpubStream *stream);

/* The transaction that commits at lsn has no more records. */
extern void evpub_flight_end_transaction(EvpubStream *stream, XLogRecPtr lsn);

/*
 * The same for a record that tells of an accepted gap: its acknowledgement makes
 * next_place, which is not 0, that of the gap.
 */
extern void evpub_flight_add_gap(EvpubStream *stream, const EvpubGap *gap,
								 uint32 next_place);

/*
 * The gap has no more records.  It is told when the last one is acknowledged,
 * unless it is told already, as that of a transaction which a gap has cut.
 */
extern void evpub_flight_end_gap(EvpubStream *stream, const EvpubGap *gap);

/*
 * A batch is complete: WAL is needed from first_lsn on, and its oldest
 * transaction is of commit_time, until all records so far are acknowledged.
 */
extern void evpub_flight_add_batch(EvpubStream *stream, XLogRecPtr first_lsn,
								   TimestampTz commit_time);

/* Everything up to seq is in Kafka.  False: there is no such number. */
extern bool evpub_flight_acknowledge(EvpubStream *stream, uint64 seq);

/* WAL that batches in flight need, at most "restart". */
extern XLogRecPtr evpub_flight_restart_lsn(const EvpubStream *stream, XLogRecPtr restart);

/* Commit time of the oldest transaction in flight, or 0. */
extern TimestampTz evpub_flight_oldest(const EvpubStream *stream);

#endif							/* EVPUB_FLIGHT_H */
