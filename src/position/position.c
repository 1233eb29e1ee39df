/*
 * position.c
 *		What edits a position in memory: publisher ids and their lineage, the
 *		open gap, and the gaps that were accepted.
 *
 * Whatever is put into a position is copied into TopMemoryContext, and nothing
 * that it held before is changed or freed: a caller that cannot make the new
 * position durable goes back to the old one.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "position/position.h"

uint64
evpub_position_publisher(const EvpubPosition *position)
{
	if (position->nlineage == 0)
		return 0;
	return position->lineage[position->nlineage - 1].publisher_id;
}

uint64
evpub_position_publisher_at(const EvpubPosition *position, XLogRecPtr lsn)
{
	for (int i = position->nlineage - 1; i > 0; i--)
		if (position->lineage[i].from_lsn <= lsn)
			return position->lineage[i].publisher_id;
	return position->nlineage > 0 ? position->lineage[0].publisher_id : 0;
}

XLogRecPtr
evpub_position_left(const EvpubPosition *position, int entry)
{
	XLogRecPtr	left = PG_UINT64_MAX;

	/* that entry is about commit records that begin there */
	for (int i = entry + 1; i < position->nlineage; i++)
		left = Min(left, position->lineage[i].from_lsn);
	return left;
}

void
evpub_position_add_lineage(EvpubPosition *position, uint64 publisher_id,
						   TimeLineID timeline, XLogRecPtr from_lsn)
{
	EvpubLineage *grown = MemoryContextAlloc(TopMemoryContext,
											 sizeof(EvpubLineage) * (position->nlineage + 1));

	if (position->nlineage > 0)
		memcpy(grown, position->lineage, sizeof(EvpubLineage) * position->nlineage);
	grown[position->nlineage].publisher_id = publisher_id;
	grown[position->nlineage].timeline = timeline;
	grown[position->nlineage].from_lsn = from_lsn;
	position->lineage = grown;
	position->nlineage++;
}

/*
 * The oldest gaps that are announced are forgotten.  Nothing of the old array is
 * changed or freed: the caller may go back to it.
 */
void
evpub_position_add_gap(EvpubPosition *position, const EvpubGap *gap)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	int			kept = position->ngaps;
	EvpubGap   *first = position->gaps;
	EvpubGap   *grown;
	EvpubGap	copy = *gap;

	/*
	 * All are looked at, since any of them may end where this one does.  Gaps end
	 * in rising order only as long as the server keeps its history: take_over()
	 * goes back in it, and gaps that are accepted then may end before those of the
	 * history that was left.
	 */
	copy.repeat = 0;
	copy.next_number = 0;
	for (int i = 0; i < kept; i++)
		if (first[i].to_lsn == gap->to_lsn)
			copy.repeat = Max(copy.repeat, first[i].repeat + 1);
	for (; kept >= EVPUB_GAPS_KEPT && first->announced; kept--)
		first++;
	grown = palloc(sizeof(EvpubGap) * (kept + 1));
	if (kept > 0)
		memcpy(grown, first, sizeof(EvpubGap) * kept);
	copy.reason = pstrdup(gap->reason);
	copy.cut = palloc(sizeof(TransactionId) * Max(gap->ncut, 1));
	if (gap->ncut > 0)
		memcpy(copy.cut, gap->cut, sizeof(TransactionId) * gap->ncut);
	grown[kept] = copy;
	position->gaps = grown;
	position->ngaps = kept + 1;
	MemoryContextSwitchTo(old);
}

EvpubGap *
evpub_position_find_gap(const EvpubPosition *position, XLogRecPtr to_lsn,
						uint32 repeat)
{
	for (int i = 0; i < position->ngaps; i++)
		if (position->gaps[i].to_lsn == to_lsn && position->gaps[i].repeat == repeat)
			return &position->gaps[i];
	return NULL;
}

void
evpub_position_set_open_gap(EvpubPosition *position, const EvpubOpenGap *gap)
{
	EvpubOpenGap copy = *gap;

	if (gap->reason)
		copy.reason = MemoryContextStrdup(TopMemoryContext, gap->reason);
	if (gap->ncut > 0)
	{
		copy.cut = MemoryContextAlloc(TopMemoryContext,
									  sizeof(TransactionId) * gap->ncut);
		memcpy(copy.cut, gap->cut, sizeof(TransactionId) * gap->ncut);
	}
	position->gap = copy;
}

bool
evpub_position_replaces(const EvpubPosition *position, uint64 publisher_id)
{
	for (int i = 0; i < position->nreplaced; i++)
		if (position->replaced[i] == publisher_id)
			return true;
	return false;
}

void
evpub_position_add_replaced(EvpubPosition *position, uint64 publisher_id)
{
	int			kept = Min(position->nreplaced, EVPUB_REPLACED_KEPT - 1);
	uint64	   *grown = MemoryContextAlloc(TopMemoryContext, sizeof(uint64) * (kept + 1));

	/* the oldest is forgotten */
	if (kept > 0)
		memcpy(grown, position->replaced + position->nreplaced - kept,
			   sizeof(uint64) * kept);
	grown[kept] = publisher_id;
	position->replaced = grown;
	position->nreplaced = kept + 1;
}

static uint32
random_half(void)
{
	uint32		half = 0;

	while (half == 0)
		if (!pg_strong_random(&half, sizeof(half)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate a publisher id")));
	return half;
}

uint64
evpub_position_new_publisher(const EvpubPosition *position)
{
	uint64		root = position->nlineage > 0 ?
		position->lineage[0].publisher_id >> 32 : random_half();

	return root << 32 | random_half();
}
