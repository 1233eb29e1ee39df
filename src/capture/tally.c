/*
 * tally.c
 *		How many events the current transaction has logged, by table and operation.
 *
 * Only what is logged counts: events that collapse, are taken back, or are rolled back
 * with a savepoint, are in no chunk that is published.  A chunk that a savepoint has
 * logged early is rolled back with it.  So the tally is a stack as the buffer is: a
 * (sub)transaction only changes what it has put there itself, and a rollback cuts it.
 *
 * At the end of the transaction all of it is added to shared memory, once.  The events
 * of a prepared transaction count when it is prepared: whoever commits it later knows
 * nothing of them.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "capture/captured.h"
#include "capture/chunks.h"
#include "capture/tally.h"
#include "tablefigures.h"

/* Look for the table and operation among so many newest entries. */
#define NEWEST 4

/* So many entries of one (sub)transaction are not worth being put together. */
#define FEW 256

static EvpubTableCount *entries = NULL;
static int	entry_count = 0;
static int	entry_slots = 0;

/* Entries of one (sub)transaction beyond which they are put together again. */
static int	merge_at = FEW;

StaticAssertDecl((int) EVPUB_TABLE_OPS == (int) EVPUB_OPS, "operations have changed");

int
evpub_tally_mark(void)
{
	return entry_count;
}

static int
compare_entries(const void *a, const void *b)
{
	const EvpubTableCount *x = a;
	const EvpubTableCount *y = b;

	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return (x->op > y->op) - (x->op < y->op);
}

/*
 * Leave one entry for each table and operation.  It is done again when there are twice
 * as many, so it costs each entry the logarithm of their number.
 */
static void
merge_entries(int from)
{
	int			kept = from;

	qsort(entries + from, entry_count - from, sizeof(EvpubTableCount), compare_entries);
	for (int i = from + 1; i < entry_count; i++)
	{
		if (compare_entries(&entries[kept], &entries[i]) == 0)
			entries[kept].events += entries[i].events;
		else
			entries[++kept] = entries[i];
	}
	entry_count = kept + 1;
	merge_at = Max(FEW, 2 * (entry_count - from));
}

/* The entry of an event, among the newest or a new one. */
static EvpubTableCount *
find_entry(const EvpubBuffered *event, int from)
{
	EvpubTableCount *entry;

	for (int i = entry_count; i-- > Max(from, entry_count - NEWEST);)
		if (entries[i].table == event->table && entries[i].op == event->op)
			return &entries[i];

	if (unlikely(entry_count - from >= merge_at))
		merge_entries(from);
	if (unlikely(entry_count == entry_slots))
	{
		int			slots = Max(16, 2 * entry_slots);

		if (entries == NULL)
			entries = MemoryContextAlloc(TopMemoryContext, slots * sizeof(EvpubTableCount));
		else
			entries = repalloc_huge(entries, (Size) slots * sizeof(EvpubTableCount));
		entry_slots = slots;
	}
	entry = &entries[entry_count++];
	entry->table = event->table;
	entry->op = event->op;
	entry->events = 0;
	return entry;
}

void
evpub_tally_take(const EvpubBuffered *events, Size count, int from)
{
	EvpubTableCount *entry = NULL;

	for (Size i = 0; i < count; i++)
	{
		if (events[i].dropped || !OidIsValid(events[i].table))
			continue;
		if (entry == NULL || entry->table != events[i].table || entry->op != events[i].op)
			entry = find_entry(&events[i], from);
		entry->events++;
	}
}

void
evpub_tally_cut(int mark)
{
	entry_count = mark;
}

void
evpub_tally_publish(void)
{
	evpub_tablefigures_add(entries, entry_count);
}

void
evpub_tally_end(void)
{
	entry_count = 0;
	merge_at = FEW;
	if (entry_slots * sizeof(EvpubTableCount) > EVPUB_KEEP_BYTES)
	{
		pfree(entries);
		entries = NULL;
		entry_slots = 0;
	}
}
