/*
 * move.c
 *		Rows on their way from one partition to another.
 *
 * An UPDATE that moves a row fires DELETE triggers of the one partition and
 * INSERT triggers of the other; no trigger sees the update.  So the DELETE
 * remembers the row here, and the INSERT finds it and publishes the update.
 *
 * The DELETE of a move is known by the mark that PostgreSQL leaves in the row.  The
 * INSERT has no mark.  It is known by its command, which is that of the UPDATE, and
 * by its place in the queue of triggers, which is right behind the DELETE: what
 * fires in between belongs to statements that other triggers run, and those are
 * other commands.  But if a BEFORE trigger of the new partition suppresses the row,
 * no INSERT follows.  Then the next INSERT of the same command (MERGE, or WITH) is
 * taken for it, and published as an update to the key that it has.  Where updates
 * are not published, that would lose both rows.  So there, if partitions have such
 * triggers at all, an INSERT with another key is taken for a row of its own.
 *
 * A worker of logical replication deletes and inserts by itself and leaves no
 * mark.  But each change that it applies is a command of its own, so one that
 * does both can only be a move.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "capture/catalog.h"
#include "capture/move.h"
#include "compat.h"

/*
 * Rows that have not arrived yet, in the order of their commands.  There are as
 * many as there are triggers, one inside the other, that move rows, times the
 * captures of the table.  Rows that never arrive stay until there is no room.  Then
 * the oldest is forgotten; if it arrives later, it is published as a new row.
 */
#define MAX_MOVES 32

static EvpubMove moves[MAX_MOVES];
static int	move_count = 0;

static void
free_row(EvpubMove *move)
{
	/* what an earlier transaction had is gone with its memory */
	if (move->row != NULL && move->transaction == evpub_local_transaction())
		heap_freetuple(move->row);
	move->row = NULL;
}

static void
forget(int i)
{
	memmove(&moves[i], &moves[i + 1], (move_count - i - 1) * sizeof(EvpubMove));
	move_count--;
}

/*
 * Forget what cannot arrive any more: rows of other transactions, and those of
 * later commands than the one whose triggers fire, since they ran inside it.
 */
static void
forget_older(CommandId command)
{
	for (int i = move_count; i-- > 0;)
	{
		if (moves[i].transaction == evpub_local_transaction() &&
			moves[i].command <= command)
			continue;
		free_row(&moves[i]);
		forget(i);
	}
}

/* Of captures that a partition has from above: a move leads out of any other. */
static bool
may_move(const EvpubCapture *capture, const TriggerData *trigdata)
{
	return capture->root != capture->relation &&
		trigdata->tg_relation->rd_rel->relam == HEAP_TABLE_AM_OID;
}

EvpubMove *
evpub_move_begin(const EvpubCapture *capture, const TriggerData *trigdata)
{
	HeapTuple	row = trigdata->tg_trigtuple;
	MemoryContext caller;
	CommandId	command;
	EvpubMove  *move;

	if (!may_move(capture, trigdata) ||
		!(HeapTupleHeaderIndicatesMovedPartitions(row->t_data) || IsLogicalWorker()))
		return NULL;
	command = HeapTupleHeaderGetCmax(row->t_data);
	forget_older(command);
	for (int i = move_count; i-- > 0 && moves[i].command == command;)
	{
		if (moves[i].identity != capture->identity)
			continue;
		if (moves[i].partition == capture->relation &&
			ItemPointerEquals(&moves[i].tid, &row->t_self))
			return &moves[i];

		/* an earlier row of the statement, which did not arrive */
		free_row(&moves[i]);
		forget(i);
		break;
	}
	if (move_count == MAX_MOVES)
	{
		free_row(&moves[0]);
		forget(0);
	}

	move = &moves[move_count];
	memset(move, 0, sizeof(EvpubMove));
	caller = MemoryContextSwitchTo(TopTransactionContext);
	move->row = heap_copytuple(row);
	MemoryContextSwitchTo(caller);
	move->identity = capture->identity;
	move->transaction = evpub_local_transaction();
	move->command = command;
	move->partition = capture->relation;
	move->tid = row->t_self;
	move_count++;
	return move;
}

bool
evpub_move_end(const EvpubCapture *capture, const TriggerData *trigdata,
			   EvpubMove *move)
{
	HeapTupleHeader header = trigdata->tg_trigtuple->t_data;
	CommandId	command;

	/* the usual case: nothing moves */
	if (likely(move_count == 0) || !may_move(capture, trigdata) ||
		HeapTupleHeaderXminFrozen(header))
		return false;
	command = HeapTupleHeaderGetCmin(header);
	forget_older(command);
	for (int i = move_count; i-- > 0 && moves[i].command == command;)
	{
		if (moves[i].identity != capture->identity ||
			moves[i].partition == capture->relation)
			continue;
		*move = moves[i];
		forget(i);
		return true;
	}
	return false;
}

/* ---- rows that do not arrive ---- */

/* Looks into the catalog, since the statement need not have locked the partition. */
static bool
has_before_insert(Oid partition)
{
	List	   *triggers;
	ListCell   *cell;
	bool		found = false;

	if (get_rel_relkind(partition) == RELKIND_FOREIGN_TABLE)
		return true;			/* its server may let rows go */
	triggers = evpub_catalog_triggers(partition);
	foreach(cell, triggers)
	{
		int16		type = ((Form_pg_trigger) lfirst(cell))->tgtype;

		if (TRIGGER_FOR_ROW(type) && TRIGGER_FOR_BEFORE(type) && TRIGGER_FOR_INSERT(type))
			found = true;
	}
	list_free_deep(triggers);
	return found;
}

/*
 * Asked once for a command: it may move any number of rows, and the table may have
 * any number of partitions.  Partitions that a command inserts into do not get
 * triggers while it runs.
 */
bool
evpub_move_may_vanish(const EvpubCapture *capture, const EvpubMove *move)
{
	static Oid	root = InvalidOid;
	static LocalTransactionId transaction;
	static CommandId command;
	static bool answer;
	bool		found = false;
	ListCell   *cell;

	if (root == capture->root && transaction == move->transaction && command == move->command)
		return answer;
	foreach(cell, find_all_inheritors(capture->root, NoLock, NULL))
	{
		CHECK_FOR_INTERRUPTS();
		found = has_before_insert(lfirst_oid(cell));
		if (found)
			break;
	}
	root = capture->root;
	transaction = move->transaction;
	command = move->command;
	answer = found;
	return answer;
}

TupleTableSlot *
evpub_move_old_row(const EvpubMove *move, Relation partition)
{
	/* the statement has it locked */
	Relation	from = table_open(move->partition, NoLock);
	TupleTableSlot *old = MakeSingleTupleTableSlot(RelationGetDescr(from),
												   &TTSOpsHeapTuple);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(partition),
													&TTSOpsVirtual);
	TupleConversionMap *map = convert_tuples_by_name(RelationGetDescr(from),
													 RelationGetDescr(partition));

	ExecStoreHeapTuple(move->row, old, false);
	if (map != NULL)
		slot = execute_attr_map_slot(map->attrMap, old, slot);
	else
		ExecCopySlot(slot, old);
	ExecMaterializeSlot(slot);
	slot->tts_tid = move->tid;
	ExecDropSingleTupleTableSlot(old);
	table_close(from, NoLock);
	return slot;
}
