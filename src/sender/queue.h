/*
 * queue.h
 *		From WAL to committed transactions, in the order of their commit
 *		records.
 */
#ifndef EVPUB_QUEUE_H
#define EVPUB_QUEUE_H

#include "postgres.h"

#include "lib/ilist.h"

#include "clock.h"
#include "position/position.h"
#include "reader/assembler.h"

typedef struct EvpubQueue
{
	MemoryContext context;
	EvpubPosition *position;	/* the worker's; WAL may bring growth of topics */
	bool		reading;		/* these two are set up */
	EvpubWalReader *reader;
	EvpubAssembler *assembler;
	XLogRecPtr	limit;			/* of the last read */
	TimeLineID	timeline;
	bool		caught_up;		/* has once read to the end of WAL */
	bool		behind;			/* the last read left WAL for the next one */
	uint64		forged_before;	/* of assemblers before this one */

	/* committed transactions, in commit order, not wholly sent */
	dlist_head	transactions;
	int			length;
	uint64		transactions_read;	/* that ever came into it */

	/* WAL cannot be read now: memory, files; it is tried again */
	char	   *unread;			/* why, with a hint; NULL: it can */
	bool		feeding;		/* a record is being taken in and queued */
	bool		missed;			/* a segment was not there at the last look */
	int			unread_times;	/* in a row */
	EvpubMsec	read_again_at;	/* not before */

	/* reading cannot go on: WAL is not there, or not valid */
	char	   *broken;
	XLogRecPtr	broken_at;		/* the record that cannot be read */

	/* a transaction whose chunks were refused twice, by its commit record */
	XLogRecPtr	refused_lsn;
	char	   *refused_reason;
} EvpubQueue;

/*
 * In the current context, which has to outlive the queue.  Reading begins at
 * position->restart_lsn.
 */
extern void evpub_queue_init(EvpubQueue *queue, EvpubPosition *position);

/* Forget everything, and begin there again.  Throws no error. */
extern void evpub_queue_restart(EvpubQueue *queue);

/* Free what reads WAL; the rest of the queue is its context. */
extern void evpub_queue_close(EvpubQueue *queue);

/*
 * Read WAL up to the end of what is flushed, or until enough is queued.  What
 * committed up to confirmed_lsn is skipped.  True if there is more to read right
 * now.  WAL that is not there or not valid sets "broken"; what may be readable
 * later sets "unread".
 */
extern bool evpub_queue_read(EvpubQueue *queue, XLogRecPtr confirmed_lsn);

/* The next transaction to be sent; NULL: there is none. */
extern EvpubTransaction *evpub_queue_head(EvpubQueue *queue);

/* The next transaction is wholly sent: take it out, and free it. */
extern void evpub_queue_pop(EvpubQueue *queue);

/* The bytes of its chunk number i, valid until the next call. */
extern const char *evpub_queue_chunk(EvpubQueue *queue,
									 EvpubTransaction *transaction, int i);

/* No more is read before something is taken out. */
extern bool evpub_queue_full(const EvpubQueue *queue);

/*
 * The transaction that commits at lsn cannot be published: after the next restart
 * of the queue it comes with this reason as its problem.
 */
extern void evpub_queue_refuse(EvpubQueue *queue, XLogRecPtr lsn,
							   const char *reason);

/* WAL from here on is needed for what is queued, and what is not read. */
extern XLogRecPtr evpub_queue_restart_lsn(EvpubQueue *queue);

/* Messages that were dropped as forged, with those before restarts. */
extern uint64 evpub_queue_forged(const EvpubQueue *queue);

#endif							/* EVPUB_QUEUE_H */
