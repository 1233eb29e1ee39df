/*
 * assembler.c
 *		Joins chunks to the commit of their transaction.
 *
 * Four kinds of WAL records matter: our messages, ends of transactions
 * (commit and abort, also of prepared ones), and RUNNING_XACTS.  Chunks are
 * kept by the xid they were logged with, which may be a sub-transaction's.  A
 * commit record lists the sub-transactions that committed with it, at every
 * wal_level, so a chunk of one that was rolled back is never joined; its abort
 * record, or for those lost in a crash the next RUNNING_XACTS, frees it.
 *
 * Chunks are logged late and sub-transactions spill by themselves, so the
 * order of chunks in WAL says nothing: they are sorted by event number.  A
 * transaction is whole only if its ranges join exactly from 0 to the end that
 * its last chunk names; anything else is reported, never published.
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlogrecord.h"
#include "common/hashfn.h"
#include "replication/message.h"
#include "storage/standbydefs.h"
#include "utils/memutils.h"

#include "compat.h"
#include "reader/assembler.h"

/* Chunks logged with one xid. */
typedef struct OpenXid
{
	TransactionId xid;
	char		status;			/* for simplehash */
	TransactionId prepared;		/* top-level xid of a prepared transaction */
	Oid			database;
	EvpubPlace *places;			/* in order of WAL, which is that of numbers */
	int			nplaces;
	int			slots;
	Size		memory;
} OpenXid;

#define SH_PREFIX openxid
#define SH_ELEMENT_TYPE OpenXid
#define SH_KEY_TYPE TransactionId
#define SH_KEY xid
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

struct EvpubAssembler
{
	MemoryContext context;
	openxid_hash *open;
	Size		budget;
	Size		memory;			/* of all chunks held */
	EvpubWalReader *again;		/* for chunks past the budget; NULL until then */
	uint64		forged;
	bool		silent;			/* about these */
	int			prepared;
};

EvpubAssembler *
evpub_assembler_create(Size memory)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "evpub assembler",
												  ALLOCSET_DEFAULT_SIZES);
	EvpubAssembler *assembler = MemoryContextAllocZero(context, sizeof(*assembler));

	assembler->context = context;
	assembler->open = openxid_create(context, 128, NULL);
	assembler->budget = memory;
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
	assembler->budget = memory;
}

void
evpub_assembler_count_only(EvpubAssembler *assembler)
{
	assembler->silent = true;
}

static void
forget_data(EvpubAssembler *assembler, EvpubPlace *places, int nplaces,
			Size *memory)
{
	for (int i = 0; i < nplaces; i++)
	{
		if (places[i].data)
			pfree(places[i].data);
		places[i].data = NULL;
	}
	assembler->memory -= *memory;
	*memory = 0;
}

/*
 * Get below the budget: the open transaction that holds most loses its
 * chunks' bytes, and keeps their places.  Large transactions pay with a
 * second read; small ones beside them stay in memory.
 */
static void
relieve_memory(EvpubAssembler *assembler)
{
	openxid_iterator iterator;
	OpenXid    *entry;
	OpenXid    *largest = NULL;

	openxid_start_iterate(assembler->open, &iterator);
	while ((entry = openxid_iterate(assembler->open, &iterator)) != NULL)
		if (entry->memory > 0 &&
			(largest == NULL || entry->memory > largest->memory))
			largest = entry;
	if (largest)
		forget_data(assembler, largest->places, largest->nplaces, &largest->memory);
}

static void
remove_entry(EvpubAssembler *assembler, OpenXid *entry)
{
	forget_data(assembler, entry->places, entry->nplaces, &entry->memory);
	pfree(entry->places);
	if (entry->prepared != InvalidTransactionId)
		assembler->prepared--;
	openxid_delete_item(assembler->open, entry);
}

static void
forget_xid(EvpubAssembler *assembler, TransactionId xid)
{
	OpenXid    *entry = openxid_lookup(assembler->open, xid);

	if (entry)
		remove_entry(assembler, entry);
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

static void
add_place(EvpubAssembler *assembler, TransactionId xid, Oid database,
		  XLogRecPtr lsn, const EvpubChunkInfo *info,
		  const char *data, Size length)
{
	bool		found;
	OpenXid    *entry = openxid_lookup(assembler->open, xid);
	EvpubPlace *place;

	if (!entry)
	{
		/* before the entry is there: none must be left without places */
		EvpubPlace *places = MemoryContextAlloc(assembler->context, sizeof(EvpubPlace));

		entry = openxid_insert(assembler->open, xid, &found);
		entry->prepared = InvalidTransactionId;
		entry->database = database;
		entry->nplaces = 0;
		entry->slots = 1;
		entry->memory = 0;
		entry->places = places;
	}
	else
	{
		place = &entry->places[entry->nplaces - 1];

		/*
		 * Numbers only rise within one xid, since a sub-transaction that is
		 * rolled back takes its xid along.  So this is a copy of a chunk of
		 * the same transaction, replayed by somebody who could read WAL.
		 */
		if (info->first < place->first + place->count || place->last)
		{
			count_forged(assembler, lsn, xid, "it repeats events of its transaction");
			return;
		}
	}

	if (entry->nplaces == entry->slots)
	{
		/* it counts when it is there: memory may lack */
		entry->places = repalloc_huge(entry->places,
									  (Size) entry->slots * 2 * sizeof(EvpubPlace));
		entry->slots *= 2;
	}
	place = &entry->places[entry->nplaces++];
	place->lsn = lsn;
	place->length = length;
	place->first = info->first;
	place->count = info->count;
	place->events = info->events;
	place->last = info->last;
	place->data = NULL;

	if (assembler->memory > 0 && assembler->memory + length > assembler->budget)
		relieve_memory(assembler);
	if (assembler->memory + length <= assembler->budget)
	{
		place->data = MemoryContextAlloc(assembler->context, length);
		memcpy(place->data, data, length);
		entry->memory += length;
		assembler->memory += length;
	}
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
			add_place(assembler, xid, message->dbId, xlog->ReadRecPtr, &info,
					  data, message->message_size);
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

/* Move an xid's chunks over to its transaction. */
static EvpubTransaction *
join_xid(EvpubAssembler *assembler, EvpubTransaction *transaction,
		 TransactionId xid)
{
	OpenXid    *entry = openxid_lookup(assembler->open, xid);

	if (!entry)
		return transaction;
	if (!transaction)
	{
		transaction = MemoryContextAllocZero(assembler->context,
											 sizeof(EvpubTransaction));
		transaction->database = entry->database;
		transaction->places = entry->places;
		transaction->first_lsn = entry->places[0].lsn;
	}
	else
	{
		Size		total = transaction->nplaces + entry->nplaces;

		transaction->places = repalloc_huge(transaction->places,
											total * sizeof(EvpubPlace));
		memcpy(transaction->places + transaction->nplaces, entry->places,
			   entry->nplaces * sizeof(EvpubPlace));
		transaction->first_lsn = Min(transaction->first_lsn, entry->places[0].lsn);
		pfree(entry->places);
	}
	transaction->nplaces += entry->nplaces;
	transaction->memory += entry->memory;
	if (entry->prepared != InvalidTransactionId)
		assembler->prepared--;
	openxid_delete_item(assembler->open, entry);
	return transaction;
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

	transaction = join_xid(assembler, transaction, xid);
	for (int i = 0; i < parsed.nsubxacts; i++)
		transaction = join_xid(assembler, transaction, parsed.subxacts[i]);
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
	uint32		before = assembler->open->members;

	ParseAbortRecord(XLogRecGetInfo(xlog),
					 (xl_xact_abort *) XLogRecGetData(xlog), &parsed);
	if ((XLogRecGetInfo(xlog) & XLOG_XACT_OPMASK) == XLOG_XACT_ABORT_PREPARED)
		xid = parsed.twophase_xid;
	forget_xid(assembler, xid);
	for (int i = 0; i < parsed.nsubxacts; i++)
		forget_xid(assembler, parsed.subxacts[i]);
	return before != assembler->open->members ? EVPUB_RECORD_OURS : EVPUB_RECORD_FOREIGN;
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
	openxid_iterator iterator;
	OpenXid    *entry;
	TransactionId *lost;
	int			nlost = 0;

	if (assembler->open->members == 0)
		return;

	/* the hash moves its entries when one is deleted: collect first */
	lost = palloc(assembler->open->members * sizeof(TransactionId));
	openxid_start_iterate(assembler->open, &iterator);
	while ((entry = openxid_iterate(assembler->open, &iterator)) != NULL)
		if (TransactionIdPrecedes(entry->xid, running->oldestRunningXid))
			lost[nlost++] = entry->xid;
	for (int i = 0; i < nlost; i++)
		forget_xid(assembler, lost[i]);
	pfree(lost);
}

static void
mark_prepared(EvpubAssembler *assembler, TransactionId xid, TransactionId top)
{
	OpenXid    *entry = openxid_lookup(assembler->open, xid);

	if (!entry || entry->prepared != InvalidTransactionId)
		return;
	entry->prepared = top;
	assembler->prepared++;
}

/* Its sub-transactions may have older chunks than it has. */
static void
feed_prepare(EvpubAssembler *assembler, XLogReaderState *xlog)
{
	xl_xact_parsed_prepare parsed;
	TransactionId xid = XLogRecGetXid(xlog);

	ParsePrepareRecord(XLogRecGetInfo(xlog),
					   (xl_xact_prepare *) XLogRecGetData(xlog), &parsed);
	mark_prepared(assembler, xid, xid);
	for (int i = 0; i < parsed.nsubxacts; i++)
		mark_prepared(assembler, parsed.subxacts[i], xid);
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
					if (assembler->open->members == 0)
						break;
					transaction = feed_commit(assembler, reader);
					if (transaction)
						*kind = EVPUB_RECORD_OURS;
					break;
				case XLOG_XACT_ABORT:
				case XLOG_XACT_ABORT_PREPARED:
					if (assembler->open->members > 0)
						*kind = feed_abort(assembler, xlog);
					break;
				case XLOG_XACT_PREPARE:
					if (assembler->open->members > 0)
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
	forget_data(assembler, transaction->places, transaction->nplaces,
				&transaction->memory);
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
	if (XLogRecGetRmid(assembler->again->xlog) != RM_LOGICALMSG_ID ||
		message->message_size != place->length)
		elog(ERROR, "record at %X/%X is not the chunk that was there",
			 LSN_FORMAT_ARGS(place->lsn));
	return message->message + message->prefix_size;
}

XLogRecPtr
evpub_assembler_oldest(EvpubAssembler *assembler)
{
	openxid_iterator iterator;
	OpenXid    *entry;
	XLogRecPtr	oldest = InvalidXLogRecPtr;

	openxid_start_iterate(assembler->open, &iterator);
	while ((entry = openxid_iterate(assembler->open, &iterator)) != NULL)
		if (oldest == InvalidXLogRecPtr || entry->places[0].lsn < oldest)
			oldest = entry->places[0].lsn;
	return oldest;
}

void
evpub_assembler_each(EvpubAssembler *assembler, EvpubOpenCallback callback, void *arg)
{
	openxid_iterator iterator;
	OpenXid    *entry;

	openxid_start_iterate(assembler->open, &iterator);
	while ((entry = openxid_iterate(assembler->open, &iterator)) != NULL)
		callback(entry->xid, entry->prepared, entry->places[0].lsn, arg);
}

bool
evpub_assembler_empty(EvpubAssembler *assembler)
{
	return assembler->open->members == 0;
}

int
evpub_assembler_prepared(EvpubAssembler *assembler)
{
	return assembler->prepared;
}

uint64
evpub_assembler_forged(EvpubAssembler *assembler)
{
	return assembler->forged;
}
