/*
 * stream.h
 *		From WAL to the relay, and acknowledgements back to a position.
 */
#ifndef EVPUB_STREAM_H
#define EVPUB_STREAM_H

#include "postgres.h"

#include "sender/streamdata.h"

/* Set up in the current context; reading begins at position->restart_lsn. */
extern void evpub_stream_init(EvpubStream *stream, EvpubPosition *position);

/*
 * Forget everything that is not confirmed and read it again: for a new relay,
 * whose sequence numbers begin anew.
 */
extern void evpub_stream_rewind(EvpubStream *stream);

/* Free what reads WAL; the rest of the stream is its context. */
extern void evpub_stream_close(EvpubStream *stream);

/*
 * Read WAL up to the end of what is flushed, or until enough is queued.  True
 * if there is more to read right now.  WAL that is not there or not valid sets
 * "broken"; what may be readable later sets "unread".
 */
extern bool evpub_stream_read(EvpubStream *stream);

/*
 * Hand visible transactions to the relay, as far as its socket takes them.  A
 * transaction that is not complete in WAL sets "stuck".
 */
extern void evpub_stream_send(EvpubStream *stream, EvpubRelay *relay,
							  EvpubGate *gate);

/* Records are on their way to Kafka, or waiting in the relay. */
extern bool evpub_stream_in_flight(const EvpubStream *stream);

/*
 * Records up to last_seq were refused: send them one by one from now on, to
 * find the one to blame.  Nothing behind them is sent before they are in Kafka.
 */
extern void evpub_stream_be_careful(EvpubStream *stream, uint64 last_seq);

/* Move confirmed over WAL without events, while nothing is on its way. */
extern void evpub_stream_idle(EvpubStream *stream);

/* No more is read before something of the queue is sent. */
extern bool evpub_stream_full(const EvpubStream *stream);

/* Nothing is queued, and nothing is in flight. */
extern bool evpub_stream_drained(const EvpubStream *stream);

/* Nothing is in flight, and the queue begins with what cannot be published. */
extern bool evpub_stream_at_stuck(const EvpubStream *stream);

/* End of the commit record of the next transaction to be sent, or invalid. */
extern XLogRecPtr evpub_stream_head_lsn(EvpubStream *stream);

/* What is lost when that transaction, which is stuck, is given up. */
extern EvpubLost evpub_stream_head_lost(EvpubStream *stream);

/* From the next rewind on, the transaction that committed there gets stuck. */
extern void evpub_stream_refuse(EvpubStream *stream, XLogRecPtr lsn,
								const char *reason);

/* Where reading would have to start again after a restart. */
extern XLogRecPtr evpub_stream_restart_lsn(EvpubStream *stream);

/* Messages that were dropped as forged, with those of rewinds before. */
extern uint64 evpub_stream_forged(const EvpubStream *stream);

/* Commit time of the oldest transaction that is not confirmed, or 0. */
extern TimestampTz evpub_stream_oldest(EvpubStream *stream);

#endif							/* EVPUB_STREAM_H */
