/*
 * twin.c
 *		Another row that has the key of one that is gone.
 *
 * With a deferrable key two rows may have the same key until the transaction
 * ends.  UPDATE t SET id = id + 1 makes 1 a second 2, and then 2 to 3.  If "2 is
 * deleted" were published last, a consumer would lose the row that is 2 now.  The
 * events do not say whether another row has the key, since that may be a row that
 * nobody touched.  So the index is asked, each time that a row goes, and the row
 * that stays is published, with its own data.
 *
 * Triggers run when the statement has changed all of its rows, so what is found
 * has this key until a later trigger publishes something else.
 *
 * Under any key, the row may have been put back meanwhile by a statement that a
 * trigger or function ran, whose events came first (find_late() in trigger.c).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "capture/filter.h"
#include "capture/twin.h"
#include "compat.h"

/* Conditions on the columns of the index; all of them are key columns. */
static void
fill_keys(ScanKey keys, Relation index, TupleTableSlot *slot)
{
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
	{
		AttrNumber	number = index->rd_index->indkey.values[i];
		Oid			type = index->rd_opcintype[i];
		Oid			operator = get_opfamily_member(index->rd_opfamily[i], type, type,
												   BTEqualStrategyNumber);

		if (!OidIsValid(operator))
			elog(ERROR, "missing equality operator of type %u in opfamily %u",
				 type, index->rd_opfamily[i]);
		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   index->rd_indcollation[i], get_opcode(operator),
							   slot->tts_values[number - 1]);
	}
}

/*
 * As consumers see it: values that are equal may not print the same, and a row
 * outside the filter is not there.
 */
static bool
is_twin(EvpubCapture *capture, const EvpubRow *gone, TupleTableSlot *found)
{
	EvpubRow	row;

	evpub_row_render_unchecked(&row, capture, found);
	return row.has_tenant && evpub_slice_equals(row.tenant, gone->tenant) &&
		evpub_slice_equals(row.pk_json, gone->pk_json) && evpub_filter_meets(capture, found);
}

TupleTableSlot *
evpub_twin_find(EvpubCapture *capture, Relation rel, const EvpubRow *gone,
				TupleTableSlot *slot)
{
	ScanKeyData keys[INDEX_MAX_KEYS];
	TupleTableSlot *found;
	Relation	index;
	IndexScanDesc scan;
	bool		is_found = false;

	if (!OidIsValid(capture->key_index))
		return NULL;

	found = table_slot_create(rel, NULL);
	index = index_open(capture->key_index, AccessShareLock);
	fill_keys(keys, index, slot);
	scan = evpub_index_beginscan(rel, index, SnapshotSelf,
								 IndexRelationGetNumberOfKeyAttributes(index));
	index_rescan(scan, keys, scan->numberOfKeys, NULL, 0);
	while (!is_found && index_getnext_slot(scan, ForwardScanDirection, found))
	{
		/* what is rendered points into the slot, which must not need its page */
		ExecMaterializeSlot(found);
		is_found = is_twin(capture, gone, found);
	}
	index_endscan(scan);
	index_close(index, NoLock);
	if (is_found)
		return found;
	ExecDropSingleTupleTableSlot(found);
	return NULL;
}
