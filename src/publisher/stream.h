/*
 * stream.h
 *		From WAL to the relay, and acknowledgements back to a position.
 */
#ifndef EVPUB_STREAM_H
#define EVPUB_STREAM_H

#include "postgres.h"

#include "lib/ilist.h"

#include "clock.h"
#include "publisher/position.h"
#include "publisher/relayclient.h"
#include "reader/assembler.h"
#include "reader/gate.h"

/* What the acknowledgement of a record means; see flight.h. */
typedef struct EvpubRecordMark
{
	XLogRecPtr	confirmed_lsn;
	XLogRecPtr	told_lsn;		/* gaps up to here are told with it */
	uint32		next_event;
	uint32		transactions;	/* that end with it */
} EvpubRecordMark;

/* A batch on its way. */
typedef struct EvpubBatchMark
{
	uint64		last_seq;
	XLogRecPtr	first_lsn;		/* first chunk of its oldest transaction */
	TimestampTz commit_time;	/* of its oldest transaction */
} EvpubBatchMark;

typedef struct EvpubStream
{
	MemoryContext context;
	EvpubPosition *position;	/* the worker's; topics are added to it */
	EvpubWalReader *reader;
	EvpubAssembler *assembler;
	XLogRecPtr	limit;			/* of the last read */
	bool		caught_up;		/* has once read to the end of WAL */
	bool		behind;			/* the last read left WAL for the next one */
	TimeLineID	timeline;

	/* committed transactions, in commit order, not wholly sent */
	dlist_head	queue;
	int			queue_length;
	uint64		transactions_read;	/* that ever came into it */

	/* the head of the queue, where sending stands */
	bool		head_open;
	bool		head_visible;
	int			head_place;
	bool		chunk_open;
	EvpubChunkReader chunk;
	uint32	   *route_topics;	/* topic number + 1 by route of the open chunk */
	uint32		route_slots;

	/* sent, not acknowledged (flight.c): rings, by sequence number and by batch */
	EvpubRecordMark *marks;
	uint32		mark_slots;
	EvpubBatchMark *batches;
	int			batch_slots;
	int			batch_head;
	int			batch_count;
	uint64		sent_seq;		/* last sequence number given out */
	uint64		acked_seq;
	StringInfoData batch;

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
	uint64		forged_before;	/* of assemblers before this one */

	/* what the head of the queue waits for, if it is not visible */
	TransactionId waiting_xid;
	XLogRecPtr	waiting_lsn;
	EvpubMsec	waiting_since;

	/* WAL cannot be read now: memory, files; it is tried again */
	char	   *unread;			/* why, with a hint; NULL: it can */
	bool		feeding;		/* the assembler takes in what was read */
	bool		missed;			/* a segment was not there at the last look */
	int			unread_times;	/* in a row */
	EvpubMsec	read_again_at;	/* not before */

	/* reading cannot go on: WAL is not there, or not valid */
	char	   *broken;
	XLogRecPtr	broken_at;		/* the record that cannot be read */

	/* the head of the queue cannot be published; the reason, its own memory */
	char	   *stuck;

	/* a transaction whose chunks were refused twice, by its commit record */
	XLogRecPtr	refused_lsn;
	char	   *refused_reason;
} EvpubStream;

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
