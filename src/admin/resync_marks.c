/*
 * resync_marks.c
 *		The tenants whose rows evpub.resync() publishes, and the marks before
 *		and after these rows.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "admin/resync.h"
#include "capture/tenants.h"

/* The tenants of the rows that are there. */
static void
read_tenants(EvpubTenants *set, EvpubResyncTable *table)
{
	EvpubCapture *capture = table->capture;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext per_row = AllocSetContextCreate(caller, "evpub tenants",
												  ALLOCSET_DEFAULT_SIZES);
	EvpubResyncQuery query;
	EvpubResyncCursor cursor;

	evpub_resync_query_tenants(&query, table);
	evpub_resync_open_query(&cursor, table, &query);
	for (;;)
	{
		SPITupleTable *rows = evpub_resync_fetch(&cursor, EVPUB_RESYNC_FETCH);
		uint64		count = rows->numvals;

		MemoryContextSwitchTo(per_row);
		for (uint64 i = 0; i < count; i++)
		{
			char		small[EVPUB_SMALL_TEXT];
			bool		isnull;
			Datum		value = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull);

			/* a row that has none at all is an error when it is published */
			if (!isnull)
				evpub_tenants_add(set, evpub_column_text(&capture->tenant_column, value, small));
			else if (capture->has_tenant)
				evpub_tenants_add(set, capture->tenant);
		}
		MemoryContextSwitchTo(caller);
		MemoryContextReset(per_row);
		SPI_freetuptable(rows);
		if (count == 0)
			break;
	}
	evpub_resync_close_query(&cursor);
	MemoryContextDelete(per_row);
}

List *
evpub_resync_tenants(EvpubResyncTable *table, MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	EvpubTenants *set = evpub_tenants_create();

	MemoryContextSwitchTo(caller);
	if (table->resync->tenant != NULL)
	{
		/* also if it has no rows: consumers may have some */
		if (!table->no_such_tenant)
			evpub_tenants_add(set, table->tenant);
	}
	else if (table->capture->has_tenant_column)
		read_tenants(set, table);
	else
		evpub_tenants_add(set, table->capture->tenant);
	return evpub_tenants_sorted(set);
}

/*
 * Put a mark for each tenant.  One of a part of the rows says so: consumers
 * must not forget the others.
 */
void
evpub_resync_put_marks(EvpubResyncTable *table, List *tenants, const char *event)
{
	EvpubCapture *capture = evpub_resync_mark(table, event);
	char	   *data = psprintf("{\"run\":\"%s\"%s}", table->resync->run,
								table->resync->filter ? ",\"partial\":true" : "");
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext per_mark;
	ListCell   *cell;

	if (capture == NULL)
		return;
	per_mark = AllocSetContextCreate(caller, "evpub mark", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(per_mark);
	foreach(cell, tenants)
	{
		CHECK_FOR_INTERRUPTS();
		evpub_tenant_event(capture, EVPUB_CHANGE_RESYNC, *(EvpubSlice *) lfirst(cell),
						   (EvpubSlice) {data, strlen(data)});
		MemoryContextReset(per_mark);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(per_mark);
}
