/*
 * assembler.c
 *		Joins chunks to the commit of their transaction.
 *
 * Four kinds of WAL records matter: our messages, ends of transactions
 * (commit and abort, also of prepared ones), and RUNNING_XACTS.  Chunks are
 * kept by the xid they were logged with (openxids.c), which may be a
 * sub-transaction's.  A commit record lists the sub-transactions that committed
 * with it, at every wal_level, so a chunk of one that was rolled back is never
 * joined; its abort record, or for those lost in a crash the next
 * RUNNING_XACTS, frees it.
 *
 * Chunks are logged late and sub-transactions spill by themselves, so the
 * order of chunks in WAL says nothing: they are sorted by event number.  A
 * transaction is whole only if its ranges join exactly from 0 to the end that
 * its last chunk names; anything else is reported, never published.
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xact.h"
#include "access/xlogrecord.h"
#include "replication/message.h"
#include "storage/standbydefs.h"
#include "utils/memutils.h"

#include "compat.h"
#include "reader/assembler.h"

struct EvpubAssembler
{
	MemoryContext context;
	EvpubOpenXids *open;
	EvpubWalReader *again;		/* for chunks past the budget; NULL until then */
	uint64		forged;
	bool		silent;			/* about these */
};

EvpubAssembler *
evpub_assembler_create(Size memory)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "evpub assembler",
												  ALLOCSET_DEFAULT_SIZES);
	EvpubAssembler *assembler = MemoryContextAllocZero(context, sizeof(*assembler));

	assembler->context = context;
	assembler->open = evpub_openxids_create(context, memory);
	return assembler;
}

void
evpub_assembler_free(EvpubAssembler *assembler)
{
	/* the reader holds a file descriptor, which no context frees */
	if (assembler->again)
		evpub_walreader_free(assembler->again);
	MemoryContextDelete(assembler->context);
}

void
evpub_assembler_set_memory(EvpubAssembler *assembler, Size memory)
{
	evpub_openxids_set_memory(assembler->open, memory);
}

void
evpub_assembler_count_only(EvpubAssembler *assembler)
{
	assembler->silent = true;
}

/* A message that carries our prefix but is not ours: say so once in a while. */
static void
count_forged(EvpubAssembler *assembler, XLogRecPtr lsn, TransactionId xid,
			 const char *why)
{
	assembler->forged++;

	/* anyone can write these: the log must not grow by as much as they do */
	if (!assembler->silent &&
		(assembler->forged & (assembler->forged - 1)) == 0)
		ereport(WARNING,
				(errmsg("evpub dropped a message at %X/%X of transaction %u: %s",
						LSN_FORMAT_ARGS(lsn), xid, why),
				 errdetail("%llu such messages were dropped since the worker started.",
						   (unsigned long long) assembler->forged)));
}

static EvpubRecordKind
feed_message(EvpubAssembler *assembler, XLogReaderState *xlog)
{
	xl_logical_message *message = (xl_logical_message *) XLogRecGetData(xlog);
	Size		available = XLogRecGetDataLen(xlog);
	TransactionId xid = XLogRecGetXid(xlog);
	const char *data;
	EvpubChunkInfo info;

	if (available < SizeOfLogicalMessage ||
		message->prefix_size != sizeof(EVPUB_MESSAGE_PREFIX) ||
		available - SizeOfLogicalMessage < message->prefix_size ||
		memcmp(message->message, EVPUB_MESSAGE_PREFIX,
			   sizeof(EVPUB_MESSAGE_PREFIX)) != 0)
		return EVPUB_RECORD_FOREIGN;
	data = message->message + message->prefix_size;

	if (!message->transactional)
	{
		char		form;

		if (message->dbId == InvalidOid &&
			evpub_position_message_check(data, message->message_size, &form))
			return EVPUB_RECORD_HOUSEKEEPING;
		count_forged(assembler, xlog->ReadRecPtr, xid, "it is not transactional");
		return EVPUB_RECORD_FOREIGN;
	}

	switch (evpub_chunk_check(data, message->message_size, message->dbId, xid, &info))
	{
		case EVPUB_CHUNK_OK:
			if (!evpub_openxids_add(assembler->open, xid, message->dbId,
									xlog->ReadRecPtr, &info, data,
									message->message_size))
				count_forged(assembler, xlog->ReadRecPtr, xid,
							 "it repeats events of its transaction");
			return EVPUB_RECORD_OURS;
		case EVPUB_CHUNK_FORGED:
			count_forged(assembler, xlog->ReadRecPtr, xid,
						 "its authentication code does not fit");
			return EVPUB_RECORD_FOREIGN;
		case EVPUB_CHUNK_NEWER:
			/* authentic: skipping it would lose events */
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("message at %X/%X has a format of a newer version of evpub",
							LSN_FORMAT_ARGS(xlog->ReadRecPtr)),
					 errhint("Restart the server with the newer library.")));
	}
	return EVPUB_RECORD_FOREIGN;
}

static int
compare_places(const void *a, const void *b)
{
	const EvpubPlace *x = a;
	const EvpubPlace *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	/* an empty last chunk stands after the range that ends where it begins */
	if (x->count != y->count)
		return x->count == 0 ? 1 : (y->count == 0 ? -1 : 0);
	return 0;
}

/* Do the ranges join, without hole or overlap, from 0 to the last one's end? */
static void
check_complete(EvpubAssembler *assembler, EvpubTransaction *transaction)
{
	uint64		expected = 0;
	bool		complete = true;

	for (int i = 0; i < transaction->nplaces; i++)
	{
		EvpubPlace *place = &transaction->places[i];

		transaction->commit.events += place->events;
		if (place->first != expected ||
			place->last != (i == transaction->nplaces - 1))
			complete = false;
		expected = (uint64) place->first + place->count;
	}
	if (!complete)
	{
		MemoryContext old = MemoryContextSwitchTo(assembler->context);

		transaction->problem =
			psprintf("transaction %u that committed at %X/%X is not complete in WAL: its %d messages do not join",
					 transaction->xid, LSN_FORMAT_ARGS(transaction->commit.lsn),
					 transaction->nplaces);
		MemoryContextSwitchTo(old);
	}
}

static EvpubTransaction *
feed_commit(EvpubAssembler *assembler, EvpubWalReader *reader)
{
	XLogReaderState *xlog = reader->xlog;
	xl_xact_parsed_commit parsed;
	EvpubTransaction *transaction = NULL;
	TransactionId xid = XLogRecGetXid(xlog);

	ParseCommitRecord(XLogRecGetInfo(xlog),
					  (xl_xact_commit *) XLogRecGetData(xlog), &parsed);

	/* COMMIT PREPARED is logged by another transaction, and names ours */
	if ((XLogRecGetInfo(xlog) & XLOG_XACT_OPMASK) == XLOG_XACT_COMMIT_PREPARED)
		xid = parsed.twophase_xid;

	transaction = evpub_openxids_join(assembler->open, transaction, xid);
	for (int i = 0; i < parsed.nsubxacts; i++)
		transaction = evpub_openxids_join(assembler->open, transaction, parsed.subxacts[i]);
	if (!transaction)
		return NULL;

	transaction->xid = xid;
	transaction->commit.timeline =
		evpub_walreader_timeline_of(reader, xlog->ReadRecPtr);
	transaction->commit.lsn = xlog->EndRecPtr;
	transaction->commit.time = parsed.xact_time;
	qsort(transaction->places, transaction->nplaces, sizeof(EvpubPlace),
		  compare_places);
	check_complete(assembler, transaction);
	return transaction;
}

static EvpubRecordKind
feed_abort(EvpubAssembler *assembler, XLogReaderState *xlog)
{
	xl_xact_parsed_abort parsed;
	TransactionId xid = XLogRecGetXid(xlog);
	bool		ours;

	ParseAbortRecord(XLogRecGetInfo(xlog),
					 (xl_xact_abort *) XLogRecGetData(xlog), &parsed);
	if ((XLogRecGetInfo(xlog) & XLOG_XACT_OPMASK) == XLOG_XACT_ABORT_PREPARED)
		xid = parsed.twophase_xid;
	ours = evpub_openxids_forget(assembler->open, xid);
	for (int i = 0; i < parsed.nsubxacts; i++)
		ours |= evpub_openxids_forget(assembler->open, parsed.subxacts[i]);
	return ours ? EVPUB_RECORD_OURS : EVPUB_RECORD_FOREIGN;
}

/*
 * Transactions older than the oldest that runs have ended.  Their commit or
 * abort would have been met, since an xid leaves the proc array only after its
 * record is in WAL; so they were lost in a crash.  Prepared ones are in the
 * proc array, so they count as running, after a crash too.
 */
static void
feed_running_xacts(EvpubAssembler *assembler, XLogReaderState *xlog)
{
	xl_running_xacts *running = (xl_running_xacts *) XLogRecGetData(xlog);

	evpub_openxids_forget_before(assembler->open, running->oldestRunningXid);
}

/* Its sub-transactions may have older chunks than it has. */
static void
feed_prepare(EvpubAssembler *assembler, XLogReaderState *xlog)
{
	xl_xact_parsed_prepare parsed;
	TransactionId xid = XLogRecGetXid(xlog);

	ParsePrepareRecord(XLogRecGetInfo(xlog),
					   (xl_xact_prepare *) XLogRecGetData(xlog), &parsed);
	evpub_openxids_mark_prepared(assembler->open, xid, xid);
	for (int i = 0; i < parsed.nsubxacts; i++)
		evpub_openxids_mark_prepared(assembler->open, parsed.subxacts[i], xid);
}

EvpubTransaction *
evpub_assembler_feed(EvpubAssembler *assembler, EvpubWalReader *reader,
					 EvpubRecordKind *kind)
{
	XLogReaderState *xlog = reader->xlog;
	EvpubTransaction *transaction = NULL;

	*kind = EVPUB_RECORD_FOREIGN;
	if (reader->oversized)
	{
		count_forged(assembler, reader->pass.start,
					 reader->pass.head.record.xl_xid,
					 "it is larger than any that evpub writes");
		return NULL;
	}
	switch (XLogRecGetRmid(xlog))
	{
		case RM_LOGICALMSG_ID:
			*kind = feed_message(assembler, xlog);
			break;
		case RM_XACT_ID:
			switch (XLogRecGetInfo(xlog) & XLOG_XACT_OPMASK)
			{
				case XLOG_XACT_COMMIT:
				case XLOG_XACT_COMMIT_PREPARED:
					if (evpub_openxids_empty(assembler->open))
						break;
					transaction = feed_commit(assembler, reader);
					if (transaction)
						*kind = EVPUB_RECORD_OURS;
					break;
				case XLOG_XACT_ABORT:
				case XLOG_XACT_ABORT_PREPARED:
					if (!evpub_openxids_empty(assembler->open))
						*kind = feed_abort(assembler, xlog);
					break;
				case XLOG_XACT_PREPARE:
					if (!evpub_openxids_empty(assembler->open))
						feed_prepare(assembler, xlog);
					break;
				default:
					break;
			}
			break;
		case RM_STANDBY_ID:
			if ((XLogRecGetInfo(xlog) & ~XLR_INFO_MASK) == XLOG_RUNNING_XACTS)
			{
				feed_running_xacts(assembler, xlog);
				*kind = EVPUB_RECORD_HOUSEKEEPING;
			}
			break;
		default:
			break;
	}
	return transaction;
}

void
evpub_assembler_release(EvpubAssembler *assembler, EvpubTransaction *transaction)
{
	evpub_openxids_forget_data(assembler->open, transaction->places,
							   transaction->nplaces, &transaction->memory);
	pfree(transaction->places);
	if (transaction->problem)
		pfree(transaction->problem);
	pfree(transaction);
}

const char *
evpub_assembler_chunk(EvpubAssembler *assembler, EvpubTransaction *transaction,
					  int i, XLogRecPtr limit, TimeLineID timeline)
{
	EvpubPlace *place = &transaction->places[i];
	xl_logical_message *message;

	if (place->data)
		return place->data;

	if (!assembler->again)
	{
		MemoryContext old = MemoryContextSwitchTo(assembler->context);

		assembler->again = evpub_walreader_create();
		MemoryContextSwitchTo(old);
	}
	evpub_walreader_set_limit(assembler->again, limit, timeline);
	if (assembler->again->position != place->lsn)
		evpub_walreader_seek(assembler->again, place->lsn);
	if (!evpub_walreader_next(assembler->again))
		elog(ERROR, "chunk at %X/%X is beyond the end of WAL",
			 LSN_FORMAT_ARGS(place->lsn));
	if (assembler->again->oversized)
		elog(ERROR, "record at %X/%X is not the chunk that was there",
			 LSN_FORMAT_ARGS(place->lsn));
	message = (xl_logical_message *) XLogRecGetData(assembler->again->xlog);

	/* a record that nobody wants would have been passed over for the next one */
	if (assembler->again->xlog->ReadRecPtr != place->lsn ||
		XLogRecGetRmid(assembler->again->xlog) != RM_LOGICALMSG_ID ||
		message->message_size != place->length)
		elog(ERROR, "record at %X/%X is not the chunk that was there",
			 LSN_FORMAT_ARGS(place->lsn));
	return message->message + message->prefix_size;
}

XLogRecPtr
evpub_assembler_oldest(EvpubAssembler *assembler)
{
	return evpub_openxids_oldest(assembler->open);
}

void
evpub_assembler_each(EvpubAssembler *assembler, EvpubOpenCallback callback, void *arg)
{
	evpub_openxids_each(assembler->open, callback, arg);
}

bool
evpub_assembler_empty(EvpubAssembler *assembler)
{
	return evpub_openxids_empty(assembler->open);
}

int
evpub_assembler_prepared(EvpubAssembler *assembler)
{
	return evpub_openxids_prepared(assembler->open);
}

uint64
evpub_assembler_forged(EvpubAssembler *assembler)
{
	return assembler->forged;
}
