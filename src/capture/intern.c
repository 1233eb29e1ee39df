/*
 * intern.c
 *		Routes of the transaction's events, each of them once.
 *
 * Events point to their route, so that a chunk holds it once.  Routes outlive
 * the transaction, since the next one mostly has the same; the buffer says when
 * there are too many.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "capture/intern.h"

typedef struct RouteEntry
{
	const EvpubRoute *route;
	uint32		hash;
	char		status;
} RouteEntry;

static uint32
hash_route(const EvpubRoute *route)
{
	return hash_combine(hash_bytes((const unsigned char *) route->topic.data,
								   route->topic.len),
						hash_bytes((const unsigned char *) route->type.data,
								   route->type.len) + route->envelope);
}

static bool
same_slice(EvpubSlice a, EvpubSlice b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static bool
same_route(const EvpubRoute *a, const EvpubRoute *b)
{
	return a->envelope == b->envelope && same_slice(a->type, b->type) &&
		same_slice(a->topic, b->topic) && same_slice(a->source, b->source);
}

#define SH_PREFIX routes
#define SH_ELEMENT_TYPE RouteEntry
#define SH_KEY_TYPE const EvpubRoute *
#define SH_KEY route
#define SH_HASH_KEY(tb, key) hash_route(key)
#define SH_EQUAL(tb, a, b) same_route(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static MemoryContext context = NULL;	/* of all routes */
static routes_hash *routes = NULL;
static uint64 epoch = 1;

uint64
evpub_intern_epoch(void)
{
	return epoch;
}

uint32
evpub_interned_routes(void)
{
	return routes != NULL ? routes->members : 0;
}

void
evpub_intern_forget(void)
{
	epoch++;
	routes = NULL;
	MemoryContextReset(context);
}

static EvpubSlice
copy_slice(EvpubSlice src)
{
	char	   *data = palloc(src.len + 1);

	memcpy(data, src.data, src.len);
	data[src.len] = '\0';
	return (EvpubSlice) {data, src.len};
}

const EvpubRoute *
evpub_intern_route(const EvpubRoute *wanted)
{
	RouteEntry *entry;
	EvpubRoute *route;
	MemoryContext caller;
	bool		found;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "evpub routes",
										ALLOCSET_SMALL_SIZES);
	if (routes == NULL)
		routes = routes_create(context, 8, NULL);

	entry = routes_lookup(routes, wanted);
	if (entry != NULL)
		return entry->route;

	caller = MemoryContextSwitchTo(context);
	route = palloc(sizeof(EvpubRoute));
	route->number = routes->members;
	route->envelope = wanted->envelope;
	route->topic = copy_slice(wanted->topic);
	route->type = copy_slice(wanted->type);
	route->source = copy_slice(wanted->source);
	MemoryContextSwitchTo(caller);
	entry = routes_insert(routes, route, &found);
	Assert(!found);
	return route;
}
