/*
 * resync_rows.c
 *		Telling of the rows of one page.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteManip.h"

#include "admin/resync.h"
#include "capture/row.h"

/* What telling the rows of one page needs. */
typedef struct Teller
{
	EvpubResyncTable *table;
	AttrNumber *columns;
	TupleTableSlot *slot;
	EState	   *estate;
	ExprContext *econtext;		/* its per-tuple memory is that of one row */
	ExprState  *condition;
	Datum	   *values;
	bool	   *nulls;
} Teller;

static void
begin_telling(Teller *teller, EvpubResyncTable *table, AttrNumber *columns)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	MemoryContext caller = CurrentMemoryContext;
	EvpubResyncAs as;

	teller->table = table;
	teller->columns = columns;
	teller->slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	teller->estate = CreateExecutorState();
	teller->econtext = CreateExprContext(teller->estate);
	teller->condition = NULL;
	teller->values = palloc(desc->natts * sizeof(Datum));
	teller->nulls = palloc(desc->natts * sizeof(bool));
	if (table->condition == NULL)
		return;

	/* a row at rest is old and new; what is constant is evaluated here */
	evpub_resync_as_owner(table, &as);
	MemoryContextSwitchTo(teller->estate->es_query_cxt);
	ChangeVarNodes(table->condition, PRS2_OLD_VARNO, INNER_VAR, 0);
	ChangeVarNodes(table->condition, PRS2_NEW_VARNO, OUTER_VAR, 0);
	teller->condition = ExecPrepareQual(make_ands_implicit((Expr *) table->condition),
										teller->estate);
	teller->econtext->ecxt_innertuple = teller->slot;
	teller->econtext->ecxt_outertuple = teller->slot;
	MemoryContextSwitchTo(caller);
	evpub_resync_as_caller(&as);
}

static void
end_telling(Teller *teller)
{
	ExecDropSingleTupleTableSlot(teller->slot);
	FreeExecutorState(teller->estate);
}

/* Put the row where its table has it; columns that nobody needs are null. */
static void
store_row(Teller *teller, HeapTuple tuple, TupleDesc desc)
{
	TupleTableSlot *slot = teller->slot;

	ExecClearTuple(slot);
	heap_deform_tuple(tuple, desc, teller->values, teller->nulls);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (int i = 0; i < desc->natts; i++)
	{
		slot->tts_values[teller->columns[i] - 1] = teller->values[i];
		slot->tts_isnull[teller->columns[i] - 1] = teller->nulls[i];
	}
	ExecStoreVirtualTuple(slot);
}

/* False if the row is none of ours. */
static bool
tell_row(Teller *teller, HeapTuple tuple, TupleDesc desc)
{
	EvpubResyncTable *table = teller->table;
	EvpubRow	row;

	store_row(teller, tuple, desc);
	if (teller->condition != NULL && !ExecQual(teller->condition, teller->econtext))
		return false;
	if (table->resync->tenant != NULL)
	{
		evpub_row_tenant(&row, table->capture, teller->slot);
		if (row.tenant.len != table->tenant.len ||
			memcmp(row.tenant.data, table->tenant.data, row.tenant.len) != 0)
			return false;
	}
	evpub_row_render(&row, table->capture, table->rel, teller->slot);
	evpub_row_event(table->capture, EVPUB_CHANGE_RESYNC, &row);
	return true;
}

uint64
evpub_resync_tell(EvpubResyncTable *table, EvpubResyncKey after,
				  EvpubResyncKey end, bool wait)
{
	MemoryContext caller = CurrentMemoryContext;
	EvpubResyncQuery query;
	AttrNumber *columns;
	Teller		teller;
	EvpubResyncCursor cursor;
	uint64		told = 0;

	EvpubResyncAs as;

	evpub_resync_query_rows(&query, table, after, end, wait, &columns);
	begin_telling(&teller, table, columns);
	evpub_resync_open_query(&cursor, table, &query);
	for (;;)
	{
		SPITupleTable *rows;
		uint64		count;

		evpub_resync_fetch(&cursor, EVPUB_RESYNC_FETCH);
		rows = SPI_tuptable;
		count = SPI_processed;
		evpub_resync_as_owner(table, &as);
		for (uint64 i = 0; i < count; i++)
		{
			CHECK_FOR_INTERRUPTS();
			ResetExprContext(teller.econtext);
			MemoryContextSwitchTo(teller.econtext->ecxt_per_tuple_memory);
			if (tell_row(&teller, rows->vals[i], rows->tupdesc))
				told++;
			MemoryContextSwitchTo(caller);
		}
		evpub_resync_as_caller(&as);
		ExecClearTuple(teller.slot);
		SPI_freetuptable(rows);
		if (count == 0)
			break;
	}
	evpub_resync_close_query(&cursor);
	end_telling(&teller);
	return told;
}
