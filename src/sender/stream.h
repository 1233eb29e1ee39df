/*
 * stream.h
 *		From WAL to the relay, and acknowledgements back to a position.
 */
#ifndef EVPUB_STREAM_H
#define EVPUB_STREAM_H

#include "postgres.h"

#include "sender/batch.h"
#include "sender/flight.h"
#include "sender/queue.h"
#include "sender/tails.h"

typedef struct EvpubStream
{
	MemoryContext context;		/* all of it */
	EvpubQueue	queue;
	EvpubBatch	batch;
	EvpubFlight flight;
	EvpubTails	tails;			/* of partitions that the relay has read back */
} EvpubStream;

/*
 * Set up in a context below the current one; reading begins at
 * position->restart_lsn.
 */
extern void evpub_stream_init(EvpubStream *stream, EvpubPosition *position);

/*
 * Forget everything that is not confirmed and read it again: for a new relay,
 * whose sequence numbers begin anew.  Throws no error.
 */
extern void evpub_stream_rewind(EvpubStream *stream);

/*
 * Read WAL up to the end of what is flushed, or until enough is queued; see
 * evpub_queue_read().
 */
extern bool evpub_stream_read(EvpubStream *stream);

/* Move confirmed over WAL without events, while nothing is on its way. */
extern void evpub_stream_idle(EvpubStream *stream);

/* Nothing is queued, and the position has followed all that was sent. */
extern bool evpub_stream_drained(const EvpubStream *stream);

/* Reading has come to WAL that cannot be read, and all before that is in Kafka. */
extern bool evpub_stream_at_break(const EvpubStream *stream);

/* Nothing is under way, and the queue begins with what cannot be published. */
extern bool evpub_stream_at_stuck(const EvpubStream *stream);

/* All transactions that commit up to here were handed to the relay. */
extern XLogRecPtr evpub_stream_put_lsn(const EvpubStream *stream);

/* End of the commit record of the next transaction to be sent, or invalid. */
extern XLogRecPtr evpub_stream_head_lsn(EvpubStream *stream);

/* What is lost when that transaction, which is stuck, is given up. */
extern EvpubLost evpub_stream_head_lost(EvpubStream *stream);

/* Where reading would have to start again after a restart. */
extern XLogRecPtr evpub_stream_restart_lsn(EvpubStream *stream);

/* Commit time of the oldest transaction that is not confirmed, or 0. */
extern TimestampTz evpub_stream_oldest(EvpubStream *stream);

#endif							/* EVPUB_STREAM_H */
