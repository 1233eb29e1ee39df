/*
 * openxids.c
 *		Chunks of transactions that have not ended yet, by xid.
 *
 * What is known of a chunk is kept until its transaction ends.  Its bytes are
 * kept only while all of them fit into a budget; beyond it they are read again
 * from WAL when the transaction is published.  So memory is bounded however
 * much the open transactions have logged.
 */
#include "postgres.h"

#include "access/transam.h"
#include "common/hashfn.h"
#include "utils/memutils.h"

#include "reader/openxids.h"

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

struct EvpubOpenXids
{
	MemoryContext context;
	openxid_hash *hash;
	Size		budget;
	Size		memory;			/* of all chunks held */
	int			prepared;
};

EvpubOpenXids *
evpub_openxids_create(MemoryContext context, Size memory)
{
	EvpubOpenXids *xids = MemoryContextAllocZero(context, sizeof(*xids));

	xids->context = context;
	xids->hash = openxid_create(context, 128, NULL);
	xids->budget = memory;
	return xids;
}

void
evpub_openxids_set_memory(EvpubOpenXids *xids, Size memory)
{
	xids->budget = memory;
}

void
evpub_openxids_forget_data(EvpubOpenXids *xids, EvpubPlace *places, int nplaces,
						   Size *memory)
{
	for (int i = 0; i < nplaces; i++)
	{
		if (places[i].data)
			pfree(places[i].data);
		places[i].data = NULL;
	}
	xids->memory -= *memory;
	*memory = 0;
}

/*
 * Get below the budget: the open transaction that holds most loses its
 * chunks' bytes, and keeps their places.  Large transactions pay with a
 * second read; small ones beside them stay in memory.
 */
static void
relieve_memory(EvpubOpenXids *xids)
{
	openxid_iterator iterator;
	OpenXid    *entry;
	OpenXid    *largest = NULL;

	openxid_start_iterate(xids->hash, &iterator);
	while ((entry = openxid_iterate(xids->hash, &iterator)) != NULL)
		if (entry->memory > 0 &&
			(largest == NULL || entry->memory > largest->memory))
			largest = entry;
	if (largest)
		evpub_openxids_forget_data(xids, largest->places, largest->nplaces,
								   &largest->memory);
}

static void
remove_entry(EvpubOpenXids *xids, OpenXid *entry)
{
	evpub_openxids_forget_data(xids, entry->places, entry->nplaces, &entry->memory);
	pfree(entry->places);
	if (entry->prepared != InvalidTransactionId)
		xids->prepared--;
	openxid_delete_item(xids->hash, entry);
}

bool
evpub_openxids_forget(EvpubOpenXids *xids, TransactionId xid)
{
	OpenXid    *entry = openxid_lookup(xids->hash, xid);

	if (!entry)
		return false;
	remove_entry(xids, entry);
	return true;
}

/* The hash moves its entries when one is deleted: collect first. */
void
evpub_openxids_forget_before(EvpubOpenXids *xids, TransactionId oldest)
{
	openxid_iterator iterator;
	OpenXid    *entry;
	TransactionId *lost;
	int			nlost = 0;

	if (xids->hash->members == 0)
		return;
	lost = palloc(xids->hash->members * sizeof(TransactionId));
	openxid_start_iterate(xids->hash, &iterator);
	while ((entry = openxid_iterate(xids->hash, &iterator)) != NULL)
		if (TransactionIdPrecedes(entry->xid, oldest))
			lost[nlost++] = entry->xid;
	for (int i = 0; i < nlost; i++)
		(void) evpub_openxids_forget(xids, lost[i]);
	pfree(lost);
}

/*
 * The bytes of a chunk, if the budget has room for them; NULL: they are read again
 * from WAL.
 */
static char *
copy_chunk(EvpubOpenXids *xids, const char *data, Size length)
{
	char	   *copy;

	if (xids->memory > 0 && xids->memory + length > xids->budget)
		relieve_memory(xids);
	if (xids->memory + length > xids->budget)
		return NULL;
	copy = MemoryContextAlloc(xids->context, length);
	memcpy(copy, data, length);
	return copy;
}

/*
 * Where memory lacks, nothing is added, and the caller reads again from the start of
 * the transaction, with another set of open xids.
 */
bool
evpub_openxids_add(EvpubOpenXids *xids, TransactionId xid, Oid database,
				   XLogRecPtr lsn, const EvpubChunkInfo *info,
				   const char *data, Size length)
{
	bool		found;
	OpenXid    *entry = openxid_lookup(xids->hash, xid);
	EvpubPlace *place;
	char	   *copy;

	if (entry)
	{
		place = &entry->places[entry->nplaces - 1];

		/*
		 * Numbers only rise within one xid, since a sub-transaction that is
		 * rolled back takes its xid along.  So this is a copy of a chunk of
		 * the same transaction, replayed by somebody who could read WAL.
		 */
		if (info->first < place->first + place->count || place->last)
			return false;
	}
	copy = copy_chunk(xids, data, length);
	if (!entry)
	{
		/* before the entry is there: none must be left without places */
		EvpubPlace *places = MemoryContextAlloc(xids->context, sizeof(EvpubPlace));

		entry = openxid_insert(xids->hash, xid, &found);
		entry->prepared = InvalidTransactionId;
		entry->database = database;
		entry->nplaces = 0;
		entry->slots = 1;
		entry->memory = 0;
		entry->places = places;
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
	place->data = copy;
	if (copy)
	{
		entry->memory += length;
		xids->memory += length;
	}
	return true;
}

EvpubTransaction *
evpub_openxids_join(EvpubOpenXids *xids, EvpubTransaction *transaction,
					TransactionId xid)
{
	OpenXid    *entry = openxid_lookup(xids->hash, xid);

	if (!entry)
		return transaction;
	if (!transaction)
	{
		transaction = MemoryContextAllocZero(xids->context,
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
		xids->prepared--;
	openxid_delete_item(xids->hash, entry);
	return transaction;
}

void
evpub_openxids_mark_prepared(EvpubOpenXids *xids, TransactionId xid, TransactionId top)
{
	OpenXid    *entry = openxid_lookup(xids->hash, xid);

	if (!entry || entry->prepared != InvalidTransactionId)
		return;
	entry->prepared = top;
	xids->prepared++;
}

bool
evpub_openxids_empty(const EvpubOpenXids *xids)
{
	return xids->hash->members == 0;
}

int
evpub_openxids_prepared(const EvpubOpenXids *xids)
{
	return xids->prepared;
}

XLogRecPtr
evpub_openxids_oldest(EvpubOpenXids *xids)
{
	openxid_iterator iterator;
	OpenXid    *entry;
	XLogRecPtr	oldest = InvalidXLogRecPtr;

	openxid_start_iterate(xids->hash, &iterator);
	while ((entry = openxid_iterate(xids->hash, &iterator)) != NULL)
		if (oldest == InvalidXLogRecPtr || entry->places[0].lsn < oldest)
			oldest = entry->places[0].lsn;
	return oldest;
}

void
evpub_openxids_each(EvpubOpenXids *xids, EvpubOpenCallback callback, void *arg)
{
	openxid_iterator iterator;
	OpenXid    *entry;

	openxid_start_iterate(xids->hash, &iterator);
	while ((entry = openxid_iterate(xids->hash, &iterator)) != NULL)
		callback(entry->xid, entry->prepared, entry->places[0].lsn, arg);
}
