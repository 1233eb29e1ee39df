/*
 * streamdata.h
 *		What is on its way from WAL to the relay: the data of stream.c, and of
 *		the files below it, put.c, announce.c and flight.c.
 */
#ifndef EVPUB_STREAMDATA_H
#define EVPUB_STREAMDATA_H

#include "postgres.h"

#include "lib/ilist.h"

#include "clock.h"
#include "position/position.h"
#include "reader/assembler.h"
#include "reader/gate.h"
#include "sender/relayclient.h"

/* What the acknowledgement of a record means; see flight.h. */
typedef struct EvpubRecordMark
{
	XLogRecPtr	confirmed_lsn;
	uint32		next_event;
	uint32		transactions;	/* that end with it */

	/* a record that tells of an accepted gap: which one, see position.h */
	XLogRecPtr	gap_end;		/* invalid: of none */
	uint32		gap_repeat;
	uint32		gap_next;		/* the gap's next_place then; 0: it is told */
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
	uint64		progress;		/* rises when an acknowledgement moves the
								 * position, or a gap's next_place */
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

#endif							/* EVPUB_STREAMDATA_H */
