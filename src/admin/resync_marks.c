/*
 * resync_marks.c
 *		The tenants that evpub.resync() tells of, and the marks before and after
 *		their rows.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "admin/resync.h"
#include "capture/row.h"

typedef struct Tenant
{
	EvpubSlice	name;
	uint32		hash;
	char		status;
} Tenant;

#define SH_PREFIX tenants
#define SH_ELEMENT_TYPE Tenant
#define SH_KEY_TYPE EvpubSlice
#define SH_KEY name
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key).data, (key).len)
#define SH_EQUAL(tb, a, b) ((a).len == (b).len && memcmp((a).data, (b).data, (a).len) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct TenantSet
{
	MemoryContext context;		/* of the list */
	List	   *list;			/* EvpubSlice * */
	tenants_hash *seen;
} TenantSet;

static int
compare_tenants(const ListCell *a, const ListCell *b)
{
	const EvpubSlice *x = lfirst(a);
	const EvpubSlice *y = lfirst(b);
	int			order = memcmp(x->data, y->data, Min(x->len, y->len));

	return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static void
add_tenant(TenantSet *set, EvpubSlice name)
{
	MemoryContext caller = CurrentMemoryContext;
	EvpubSlice *kept;
	bool		found;

	if (tenants_lookup(set->seen, name) != NULL)
		return;
	MemoryContextSwitchTo(set->context);
	kept = palloc(sizeof(EvpubSlice));
	kept->data = memcpy(palloc(name.len + 1), name.data, name.len);
	kept->len = name.len;
	set->list = lappend(set->list, kept);
	MemoryContextSwitchTo(caller);
	tenants_insert(set->seen, *kept, &found);
}

/* The tenants of the rows that are there. */
static void
read_tenants(TenantSet *set, EvpubResyncTable *table)
{
	EvpubCapture *capture = table->capture;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext per_row = AllocSetContextCreate(caller, "evpub tenants",
												  ALLOCSET_DEFAULT_SIZES);
	EvpubResyncQuery query;
	Portal		portal;

	evpub_resync_query_tenants(&query, table);
	portal = evpub_resync_open_query(&query);
	for (;;)
	{
		SPITupleTable *rows;
		uint64		count;

		SPI_cursor_fetch(portal, true, EVPUB_RESYNC_FETCH);
		rows = SPI_tuptable;
		count = SPI_processed;
		MemoryContextSwitchTo(per_row);
		for (uint64 i = 0; i < count; i++)
		{
			char		small[EVPUB_SMALL_TEXT];
			bool		isnull;
			Datum		value = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull);

			/* a row that has none at all is an error later, if it is told of */
			if (!isnull)
				add_tenant(set, evpub_column_text(&capture->tenant_column, value, small));
			else if (capture->has_tenant)
				add_tenant(set, capture->tenant);
		}
		MemoryContextSwitchTo(caller);
		MemoryContextReset(per_row);
		SPI_freetuptable(rows);
		if (count == 0)
			break;
	}
	SPI_cursor_close(portal);
	MemoryContextDelete(per_row);
}

List *
evpub_resync_tenants(EvpubResyncTable *table, MemoryContext context)
{
	TenantSet	set = {context, NIL, tenants_create(CurrentMemoryContext, 64, NULL)};

	if (table->resync->tenant != NULL)
	{
		/* also if it has no rows: consumers may have some */
		if (!table->no_such_tenant)
			add_tenant(&set, table->tenant);
	}
	else if (table->capture->has_tenant_column)
		read_tenants(&set, table);
	else
		add_tenant(&set, table->capture->tenant);
	tenants_destroy(set.seen);
	list_sort(set.list, compare_tenants);
	return set.list;
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
		EvpubRow	row;
		StringInfoData json;

		CHECK_FOR_INTERRUPTS();
		memset(&row, 0, sizeof(row));
		initStringInfo(&json);
		row.has_tenant = true;
		row.tenant = *(EvpubSlice *) lfirst(cell);
		evpub_json_string(&json, row.tenant);
		row.tenant_json = (EvpubSlice) {json.data, json.len};
		row.pk_json = (EvpubSlice) {"null", 4};
		row.pk_text = (EvpubSlice) {"", 0};
		row.data_json = (EvpubSlice) {data, strlen(data)};
		ItemPointerSetInvalid(&row.place);
		evpub_row_event(capture, EVPUB_CHANGE_RESYNC, &row);
		MemoryContextReset(per_mark);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(per_mark);
}
