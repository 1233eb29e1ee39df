/*
 * resync_rows.c
 *		Publishes the rows of one page.
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

/* What is needed for the rows of one page. */
typedef struct RowPage
{
	EvpubResyncTable *table;
	AttrNumber *columns;
	TupleTableSlot *slot;
	EState	   *estate;
	ExprContext *econtext;		/* its per-tuple memory is that of one row */
	ExprState  *condition;
	Datum	   *values;
	bool	   *nulls;
} RowPage;

static void
begin_page(RowPage *page, EvpubResyncTable *table, AttrNumber *columns)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	MemoryContext caller = CurrentMemoryContext;
	EvpubResyncAs as;

	page->table = table;
	page->columns = columns;
	page->slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	page->estate = CreateExecutorState();
	page->econtext = CreateExprContext(page->estate);
	page->condition = NULL;
	page->values = palloc(desc->natts * sizeof(Datum));
	page->nulls = palloc(desc->natts * sizeof(bool));
	if (table->condition == NULL)
		return;

	/* a row at rest is old and new; what is constant is evaluated here */
	evpub_resync_as_owner(table, &as);
	MemoryContextSwitchTo(page->estate->es_query_cxt);
	ChangeVarNodes(table->condition, PRS2_OLD_VARNO, INNER_VAR, 0);
	ChangeVarNodes(table->condition, PRS2_NEW_VARNO, OUTER_VAR, 0);
	page->condition = ExecPrepareQual(make_ands_implicit((Expr *) table->condition),
										page->estate);
	page->econtext->ecxt_innertuple = page->slot;
	page->econtext->ecxt_outertuple = page->slot;
	MemoryContextSwitchTo(caller);
	evpub_resync_as_caller(&as);
}

static void
end_page(RowPage *page)
{
	ExecDropSingleTupleTableSlot(page->slot);
	FreeExecutorState(page->estate);
}

/* Put the row where its table has it; columns that nobody needs are null. */
static void
store_row(RowPage *page, HeapTuple tuple, TupleDesc desc)
{
	TupleTableSlot *slot = page->slot;

	ExecClearTuple(slot);
	heap_deform_tuple(tuple, desc, page->values, page->nulls);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (int i = 0; i < desc->natts; i++)
	{
		slot->tts_values[page->columns[i] - 1] = page->values[i];
		slot->tts_isnull[page->columns[i] - 1] = page->nulls[i];
	}
	ExecStoreVirtualTuple(slot);
}

/* False if the row is not among those that were asked for. */
static bool
publish_row(RowPage *page, HeapTuple tuple, TupleDesc desc)
{
	EvpubResyncTable *table = page->table;
	EvpubRow	row;

	store_row(page, tuple, desc);
	if (page->condition != NULL && !ExecQual(page->condition, page->econtext))
		return false;
	if (table->resync->tenant != NULL)
	{
		evpub_row_tenant(&row, table->capture, page->slot);
		if (row.tenant.len != table->tenant.len ||
			memcmp(row.tenant.data, table->tenant.data, row.tenant.len) != 0)
			return false;
	}
	evpub_row_render(&row, table->capture, table->rel, page->slot);
	evpub_row_event(table->capture, EVPUB_CHANGE_RESYNC, &row);
	return true;
}

uint64
evpub_resync_publish(EvpubResyncTable *table, EvpubResyncKey after,
					 EvpubResyncKey end, bool wait)
{
	MemoryContext caller = CurrentMemoryContext;
	EvpubResyncQuery query;
	AttrNumber *columns;
	RowPage		page;
	EvpubResyncCursor cursor;
	uint64		published = 0;
	EvpubResyncAs as;

	evpub_resync_query_rows(&query, table, after, end, wait, &columns);
	begin_page(&page, table, columns);
	evpub_resync_open_query(&cursor, table, &query);
	for (;;)
	{
		SPITupleTable *rows = evpub_resync_fetch(&cursor, EVPUB_RESYNC_FETCH);
		uint64		count = rows->numvals;

		evpub_resync_as_owner(table, &as);
		for (uint64 i = 0; i < count; i++)
		{
			CHECK_FOR_INTERRUPTS();
			ResetExprContext(page.econtext);
			MemoryContextSwitchTo(page.econtext->ecxt_per_tuple_memory);
			if (publish_row(&page, rows->vals[i], rows->tupdesc))
				published++;
			MemoryContextSwitchTo(caller);
		}
		evpub_resync_as_caller(&as);
		ExecClearTuple(page.slot);
		SPI_freetuptable(rows);
		if (count == 0)
			break;
	}
	evpub_resync_close_query(&cursor);
	end_page(&page);
	return published;
}
