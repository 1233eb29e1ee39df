/*
 * openxids.h
 *		Chunks of transactions that have not ended yet, by xid.
 */
#ifndef EVPUB_OPENXIDS_H
#define EVPUB_OPENXIDS_H

#include "postgres.h"

#include "lib/ilist.h"

#include "event/event.h"

/* One chunk: where it is, and what it holds. */
typedef struct EvpubPlace
{
	XLogRecPtr	lsn;			/* of its record */
	char	   *data;			/* NULL: past the memory budget, read it again */
	uint32		length;
	uint32		first;			/* event number */
	uint32		count;			/* of numbers */
	uint32		events;
	bool		last;
} EvpubPlace;

/* A committed transaction with events. */
typedef struct EvpubTransaction
{
	dlist_node	node;			/* for the owner's queue */
	TransactionId xid;			/* top-level */
	Oid			database;
	EvpubCommit commit;
	XLogRecPtr	first_lsn;		/* of its first chunk */
	EvpubPlace *places;			/* in order of event numbers */
	int			nplaces;
	Size		memory;			/* of chunks held in memory */
	char	   *problem;		/* why it cannot be published, or NULL */
	struct EvpubGap *gap;		/* the stream's: announce this gap instead */
} EvpubTransaction;

typedef struct EvpubOpenXids EvpubOpenXids;

/*
 * "memory": bytes of chunks that may be held, those of joined transactions that
 * are not released yet among them.  All lies in "context".
 */
extern EvpubOpenXids *evpub_openxids_create(MemoryContext context, Size memory);
extern void evpub_openxids_set_memory(EvpubOpenXids *xids, Size memory);

/*
 * Add a chunk that was logged with this xid, and copy its bytes if there is
 * memory for them.  False if the xid has events of these numbers already.
 */
extern bool evpub_openxids_add(EvpubOpenXids *xids, TransactionId xid, Oid database,
							   XLogRecPtr lsn, const EvpubChunkInfo *info,
							   const char *data, Size length);

/*
 * Move an xid's chunks over to its transaction, in no order.  A transaction that
 * is NULL is made by the first xid that has chunks.
 */
extern EvpubTransaction *evpub_openxids_join(EvpubOpenXids *xids,
											 EvpubTransaction *transaction,
											 TransactionId xid);

/* Free the bytes of these chunks, "memory" in all. */
extern void evpub_openxids_forget_data(EvpubOpenXids *xids, EvpubPlace *places,
									   int nplaces, Size *memory);

/* Forget an xid; false if it had no chunks. */
extern bool evpub_openxids_forget(EvpubOpenXids *xids, TransactionId xid);

/* Forget all xids that precede this one. */
extern void evpub_openxids_forget_before(EvpubOpenXids *xids, TransactionId oldest);

/* This xid belongs to the prepared transaction "top". */
extern void evpub_openxids_mark_prepared(EvpubOpenXids *xids, TransactionId xid,
										 TransactionId top);

/* Are there none? */
extern bool evpub_openxids_empty(const EvpubOpenXids *xids);

/* How many belong to prepared transactions. */
extern int	evpub_openxids_prepared(const EvpubOpenXids *xids);

/* LSN of the first chunk of all, or InvalidXLogRecPtr. */
extern XLogRecPtr evpub_openxids_oldest(EvpubOpenXids *xids);

/*
 * All xids, in no order.  "prepared" is the top-level xid of a prepared transaction,
 * or 0; "lsn" is that of the first chunk.
 */
typedef void (*EvpubOpenCallback) (TransactionId xid, TransactionId prepared,
								   XLogRecPtr lsn, void *arg);
extern void evpub_openxids_each(EvpubOpenXids *xids, EvpubOpenCallback callback,
								void *arg);

#endif							/* EVPUB_OPENXIDS_H */
