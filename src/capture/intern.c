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
	EvpubRoute *route;
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
same_route(const EvpubRoute *a, const EvpubRoute *b)
{
	return a->envelope == b->envelope && evpub_slice_equals(a->type, b->type) &&
		evpub_slice_equals(a->topic, b->topic) && evpub_slice_equals(a->source, b->source);
}

#define SH_PREFIX routes
#define SH_ELEMENT_TYPE RouteEntry
#define SH_KEY_TYPE EvpubRoute *
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

/* Marks a route that no event has named yet; there are never so many. */
#define NOT_NAMED PG_UINT32_MAX

void
evpub_intern_begin_sweep(void)
{
	routes_iterator i;
	RouteEntry *entry;

	routes_start_iterate(routes, &i);
	while ((entry = routes_iterate(routes, &i)) != NULL)
		entry->route->number = NOT_NAMED;
}

void
evpub_intern_keep(const EvpubRoute *route)
{
	/* all routes are made here, none is constant */
	unconstify(EvpubRoute *, route)->number = 0;
}

/*
 * The numbers of those that are kept begin at 0 again, without holes, since the
 * next new route gets their count.  A chunk that is being written would mix them
 * up, but none is: chunks are begun and finished by one function of the buffer.
 */
void
evpub_intern_end_sweep(void)
{
	routes_iterator i;
	RouteEntry *entry;
	uint32		kept = 0;

	routes_start_iterate(routes, &i);
	while ((entry = routes_iterate(routes, &i)) != NULL)
	{
		EvpubRoute *route = entry->route;

		if (route->number != NOT_NAMED)
		{
			route->number = kept++;
			continue;
		}
		/* simplehash lets an iteration delete the entry that it is at */
		routes_delete_item(routes, entry);
		pfree(route);
	}
	epoch++;
}

/*
 * A copy in one piece of memory: the struct, the type, and the route as it stands in a
 * chunk.  That has topic and source as they are, so they are not kept a second time.
 */
static EvpubRoute *
copy_route(const EvpubRoute *wanted)
{
	EvpubRoute *route = palloc(sizeof(EvpubRoute) + 2 * (Size) wanted->type.len +
							   wanted->topic.len + wanted->source.len + EVPUB_ROUTE_ROOM);
	char	   *type = (char *) (route + 1);
	char	   *encoded = type + wanted->type.len;

	/* others have no source, and none is encoded */
	Assert(wanted->source.len == 0 || wanted->envelope == EVPUB_ENVELOPE_CLOUDEVENTS ||
		   wanted->envelope == EVPUB_ENVELOPE_CLOUDEVENTS_BINARY);
	*route = *wanted;
	memcpy(type, wanted->type.data, wanted->type.len);
	route->type.data = type;
	route->encoded = (EvpubSlice) {encoded,
								   evpub_route_encode(wanted, encoded, &route->topic.data,
													  &route->source.data)};
	return route;
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

	entry = routes_lookup(routes, unconstify(EvpubRoute *, wanted));
	if (entry != NULL)
		return entry->route;

	caller = MemoryContextSwitchTo(context);
	route = copy_route(wanted);
	route->number = routes->members;
	MemoryContextSwitchTo(caller);
	entry = routes_insert(routes, route, &found);
	Assert(!found);
	return route;
}
