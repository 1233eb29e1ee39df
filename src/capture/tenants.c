/*
 * tenants.c
 *		Tenants that were met, and events that are of a tenant as a whole.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "nodes/pg_list.h"
#include "utils/memutils.h"

#include "capture/tenants.h"

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

struct EvpubTenants
{
	MemoryContext context;
	tenants_hash *seen;			/* moves its elements, so */
	List	   *names;			/* EvpubSlice * stay where they are */
};

EvpubTenants *
evpub_tenants_create(void)
{
	EvpubTenants *set = palloc(sizeof(EvpubTenants));

	set->context = CurrentMemoryContext;
	set->seen = tenants_create(CurrentMemoryContext, 64, NULL);
	set->names = NIL;
	return set;
}

uint32
evpub_tenants_count(const EvpubTenants *set)
{
	return set->seen->members;
}

const EvpubSlice *
evpub_tenants_add(EvpubTenants *set, EvpubSlice name)
{
	MemoryContext caller;
	EvpubSlice *kept;
	bool		found;

	if (tenants_lookup(set->seen, name) != NULL)
		return NULL;
	caller = MemoryContextSwitchTo(set->context);
	kept = palloc(sizeof(EvpubSlice));
	kept->data = memcpy(palloc(name.len + 1), name.data, name.len);
	kept->len = name.len;
	set->names = lappend(set->names, kept);
	tenants_insert(set->seen, *kept, &found);
	MemoryContextSwitchTo(caller);
	return kept;
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	const EvpubSlice *x = lfirst(a);
	const EvpubSlice *y = lfirst(b);
	int			order = memcmp(x->data, y->data, Min(x->len, y->len));

	return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

List *
evpub_tenants_sorted(EvpubTenants *set)
{
	tenants_destroy(set->seen);
	set->seen = NULL;
	list_sort(set->names, compare_names);
	return set->names;
}

void
evpub_tenant_event(EvpubCapture *capture, EvpubChangeKind kind, EvpubSlice tenant,
				   EvpubSlice data_json)
{
	EvpubRow	row;
	StringInfoData json;

	memset(&row, 0, sizeof(row));
	initStringInfo(&json);
	evpub_json_string(&json, tenant);
	row.has_tenant = true;
	row.tenant = tenant;
	row.tenant_json = (EvpubSlice) {json.data, json.len};
	row.pk_json = (EvpubSlice) {"null", 4};
	row.pk_text = (EvpubSlice) {"", 0};
	row.data_json = data_json;
	ItemPointerSetInvalid(&row.tid);
	evpub_row_event(capture, kind, &row);
}
