/*
 * batch.h
 *		From the queue to the relay: batches of records.
 */
#ifndef EVPUB_BATCH_H
#define EVPUB_BATCH_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "clock.h"
#include "reader/gate.h"
#include "sender/cursor.h"
#include "sender/deadletter.h"
#include "sender/flight.h"
#include "sender/queue.h"
#include "sender/relayclient.h"
#include "sender/tails.h"

typedef struct EvpubBatch
{
	MemoryContext context;
	EvpubQueue *queue;
	EvpubFlight *flight;
	EvpubTails *tails;
	EvpubCursor cursor;			/* in the head of the queue */
	bool		head_visible;
	EvpubDeadLetter letter;		/* in flight: the last record that was sent */
	StringInfoData data;		/* the BATCH frame that is being filled */

	/* what the head of the queue waits for, if it is not visible */
	TransactionId waiting_xid;
	XLogRecPtr	waiting_lsn;
	EvpubMsec	waiting_since;

	/* up to here, transactions that a gap has cut were reported, by commit record */
	XLogRecPtr	cut_lsn;

	/* why the head of the queue cannot be published, in its memory; NULL: it can */
	char	   *stuck;
} EvpubBatch;

/* In the current context, which has to outlive it. */
extern void evpub_batch_init(EvpubBatch *batch, EvpubQueue *queue,
							 EvpubFlight *flight, EvpubTails *tails);

/* Begin anew, since the queue does. */
extern void evpub_batch_reset(EvpubBatch *batch);

/*
 * Hand visible transactions to the relay, as far as its socket takes them.  A
 * transaction that is not complete in WAL sets "stuck".  True: there may be more to
 * send at once, but the relay is to be listened to first.
 */
extern bool evpub_batch_send(EvpubBatch *batch, EvpubRelay *relay,
							 EvpubGate *gate);

/* A dead letter was sent, and is not acknowledged. */
extern bool evpub_batch_letter_waits(const EvpubBatch *batch);

#endif							/* EVPUB_BATCH_H */
