/*
 * buffer.c
 *		The events of the current transaction, until they are logged.
 *
 * Events wait here until just before commit (or PREPARE TRANSACTION) and are
 * then logged as chunks.  A transaction with many events logs some of them
 * earlier, so that memory stays bounded.
 *
 * Events lie in one array, their bytes in one arena, both in the order of
 * their numbers.  A stack of levels says where each open (sub)transaction
 * began: a rollback cuts array, arena and counter back to there, a release
 * gives the level to its parent.  Levels are pushed when the first event
 * comes, so savepoints without events cost nothing.
 *
 * A chunk logged inside a savepoint carries the subtransaction's xid and
 * vanishes with it; so an early chunk holds only events of the current level,
 * never one of a parent.  And it waits until that level has a good deal of
 * them: loops with an exception block per row would otherwise log a chunk per
 * event.  Memory is bounded by SPILL_BYTES for each open level that has
 * events.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "capture/buffer.h"
#include "compat.h"
#include "evpub.h"
#include "event.h"
#include "settings.h"

/* Bytes of one level's events beyond which they are logged at once. */
#define SPILL_BYTES (256 * 1024)

/* Encoded bytes after which a chunk is full. */
#define CHUNK_BYTES (128 * 1024)

/* What the buffer may keep from one transaction to the next. */
#define KEEP_BYTES (64 * 1024)
#define KEEP_ROUTES 64

/* Routes beyond which they are forgotten once no event needs them. */
#define MAX_ROUTES 1024

typedef struct BufferedEvent
{
	const EvpubRoute *route;
	Size		start;			/* in the arena: key, tenant, body, tail, headers */
	uint32		number;
	uint32		key_len;
	uint32		tenant_len;
	uint32		body_len;
	uint32		tail_len;
	uint32		headers_len;
	bool		has_key;
	bool		has_value;
} BufferedEvent;

/* An open (sub)transaction that has made events. */
typedef struct Level
{
	int			nest;			/* GetCurrentTransactionNestLevel() */
	Size		first_event;	/* what was there when it began */
	Size		arena_len;
	uint32		counter;
} Level;

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
		same_slice(a->topic, b->topic);
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

/* All memory below is in this context; NULL until the first event. */
static MemoryContext buffer_context = NULL;

static BufferedEvent *events = NULL;
static Size event_count = 0;
static Size event_slots = 0;

static char *arena = NULL;
static Size arena_len = 0;
static Size arena_size = 0;

static Level *levels = NULL;
static int	level_count = 0;
static int	level_slots = 0;

static StringInfoData chunk;	/* data NULL until it is needed */

static MemoryContext routes_context = NULL;
static routes_hash *routes = NULL;
static uint64 epoch = 1;

/* Number of the next event: how many the transaction has, with those logged. */
static uint32 counter = 0;

/* The last chunk is logged: no event may follow. */
static bool closed = false;

static EvpubSlice
copy_slice(EvpubSlice src)
{
	char	   *data = palloc(src.len + 1);

	memcpy(data, src.data, src.len);
	data[src.len] = '\0';
	return (EvpubSlice) {data, src.len};
}

/* Make the context and what is always there. */
static void
create_buffer(void)
{
	MemoryContext context;

	context = AllocSetContextCreate(TopMemoryContext, "evpub buffer",
									ALLOCSET_DEFAULT_SIZES);
	event_slots = 64;
	events = MemoryContextAlloc(context, event_slots * sizeof(BufferedEvent));
	arena_size = 4096;
	arena = MemoryContextAlloc(context, arena_size);
	level_slots = 8;
	levels = MemoryContextAlloc(context, level_slots * sizeof(Level));
	routes_context = AllocSetContextCreate(context, "evpub routes",
										   ALLOCSET_SMALL_SIZES);
	routes = NULL;
	chunk.data = NULL;
	epoch++;
	/* last, so that an error above leaves no half of it in use */
	buffer_context = context;
}

static void
destroy_buffer(void)
{
	MemoryContextDelete(buffer_context);
	buffer_context = NULL;
	events = NULL;
	arena = NULL;
	levels = NULL;
	routes = NULL;
	epoch++;
}

static void
forget_routes(void)
{
	epoch++;
	routes = NULL;
	MemoryContextReset(routes_context);
}

/* End of the transaction, however it ended. */
static void
reset_buffer(void)
{
	event_count = 0;
	arena_len = 0;
	level_count = 0;
	counter = 0;
	closed = false;

	if (buffer_context != NULL &&
		((routes != NULL && routes->members > KEEP_ROUTES) ||
		 arena_size > KEEP_BYTES ||
		 event_slots * sizeof(BufferedEvent) > KEEP_BYTES ||
		 (chunk.data != NULL && chunk.maxlen > KEEP_BYTES)))
		destroy_buffer();
}

bool
evpub_buffer_in_use(void)
{
	return counter > 0;
}

uint64
evpub_buffer_epoch(void)
{
	return epoch;
}

const EvpubRoute *
evpub_buffer_route(EvpubEnvelope envelope, EvpubSlice topic, EvpubSlice type)
{
	EvpubRoute	wanted = {.envelope = envelope,.topic = topic,.type = type};
	RouteEntry *entry;
	EvpubRoute *route;
	MemoryContext caller;
	bool		found;

	if (buffer_context == NULL)
		create_buffer();
	if (routes == NULL)
		routes = routes_create(routes_context, 8, NULL);

	entry = routes_lookup(routes, &wanted);
	if (entry != NULL)
		return entry->route;

	caller = MemoryContextSwitchTo(routes_context);
	route = palloc(sizeof(EvpubRoute));
	route->number = routes->members;
	route->envelope = envelope;
	route->topic = copy_slice(topic);
	route->type = copy_slice(type);
	MemoryContextSwitchTo(caller);
	entry = routes_insert(routes, route, &found);
	Assert(!found);
	return route;
}

/* ---- logging chunks ---- */

static void
fill_event(EvpubEvent *dst, const BufferedEvent *src)
{
	const char *p = arena + src->start;

	dst->number = src->number;
	dst->route = src->route;
	dst->has_key = src->has_key;
	dst->has_value = src->has_value;
	dst->key = (EvpubSlice) {p, src->key_len};
	p += src->key_len;
	dst->tenant = (EvpubSlice) {p, src->tenant_len};
	p += src->tenant_len;
	dst->body = (EvpubSlice) {p, src->body_len};
	p += src->body_len;
	dst->tail = (EvpubSlice) {p, src->tail_len};
	p += src->tail_len;
	dst->headers = (EvpubSlice) {p, src->headers_len};
}

static void
log_chunk(EvpubChunkWriter *writer, TransactionId xid, uint32 end, bool last)
{
	evpub_chunk_finish(writer, MyDatabaseId, xid, end, last);
	evpub_log_message(EVPUB_MESSAGE_PREFIX, chunk.data, chunk.len, true);
}

static void
begin_chunk(EvpubChunkWriter *writer, uint32 first)
{
	if (chunk.data == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(buffer_context);

		initStringInfo(&chunk);
		MemoryContextSwitchTo(caller);
	}
	evpub_chunk_begin(writer, &chunk, first);
}

/*
 * Log the events from "first" on under the current xid and drop them from the
 * buffer.  The ranges of chunks must join without a hole, so a chunk ends
 * where the numbers jump, because a subtransaction logged its own in between.
 * "final": this is the end of the transaction, tell the reader so.
 */
static void
log_events(Size first, Size arena_start, bool final)
{
	/* first assign the xid: the MAC is bound to that of the record */
	TransactionId xid = GetCurrentTransactionId();
	EvpubChunkWriter writer;
	EvpubEvent	event;
	bool		told_last = false;
	Size		i = first;

	while (i < event_count)
	{
		uint32		end = events[i].number;

		begin_chunk(&writer, end);
		do
		{
			fill_event(&event, &events[i]);
			evpub_chunk_add(&writer, &event);
			end++;
			i++;
		} while (i < event_count && events[i].number == end &&
				 evpub_chunk_size(&writer) < CHUNK_BYTES);

		told_last = final && end == counter;
		log_chunk(&writer, xid, end, told_last);
	}
	if (final && !told_last)
	{
		begin_chunk(&writer, counter);
		log_chunk(&writer, xid, counter, true);
	}

	event_count = first;
	arena_len = arena_start;
	if (!final && event_count == 0 && routes != NULL &&
		routes->members > MAX_ROUTES)
		forget_routes();
}

/* ---- adding events ---- */

/* Where the current (sub)transaction's events begin. */
static Level *
current_level(void)
{
	int			nest = GetCurrentTransactionNestLevel();
	Level	   *level;

	if (level_count > 0 && levels[level_count - 1].nest == nest)
		return &levels[level_count - 1];

	Assert(level_count == 0 || levels[level_count - 1].nest < nest);
	if (level_count == level_slots)
	{
		levels = repalloc(levels, 2 * level_slots * sizeof(Level));
		level_slots *= 2;
	}
	level = &levels[level_count++];
	level->nest = nest;
	level->first_event = event_count;
	level->arena_len = arena_len;
	level->counter = counter;
	return level;
}

static inline void
put_slice(char **p, EvpubSlice slice)
{
	if (slice.len > 0)
	{
		memcpy(*p, slice.data, slice.len);
		*p += slice.len;
	}
}

static void
check_append(const EvpubEvent *event)
{
	Size		size;

	if (unlikely(closed))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot add an event to a transaction that is being committed"),
				 errdetail("The events of the transaction are already written."),
				 errhint("Another extension changes a captured table in its pre-commit callback; let it do so earlier.")));
	if (unlikely(counter == PG_UINT32_MAX))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("cannot have more than %u events in a transaction",
						PG_UINT32_MAX),
				 errhint("Split the work into several transactions.")));

	size = evpub_event_max_size(event);
	if (unlikely(size > (Size) evpub_max_event_bytes))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event is too large"),
				 errdetail("Key, value and headers may take %zu bytes, the limit is %d.",
						   size, evpub_max_event_bytes),
				 errhint("Leave data out of the event, or raise evpub.max_event_bytes if the brokers and consumers take larger messages.")));
}

void
evpub_buffer_append(const EvpubEvent *event)
{
	Level	   *level;
	BufferedEvent *added;
	Size		bytes;
	char	   *p;

	Assert(buffer_context != NULL);
	check_append(event);
	level = current_level();

	bytes = (Size) event->key.len + event->tenant.len + event->body.len +
		event->tail.len + event->headers.len;
	if (unlikely(arena_len + bytes > arena_size))
	{
		Size		size = Max(2 * arena_size, arena_len + bytes);

		arena = repalloc_huge(arena, size);
		arena_size = size;
	}
	if (unlikely(event_count == event_slots))
	{
		events = repalloc_huge(events, 2 * event_slots * sizeof(BufferedEvent));
		event_slots *= 2;
	}

	added = &events[event_count++];
	added->route = event->route;
	added->start = arena_len;
	added->number = counter++;
	added->key_len = event->key.len;
	added->tenant_len = event->tenant.len;
	added->body_len = event->body.len;
	added->tail_len = event->tail.len;
	added->headers_len = event->headers.len;
	added->has_key = event->has_key;
	added->has_value = event->has_value;

	p = arena + arena_len;
	put_slice(&p, event->key);
	put_slice(&p, event->tenant);
	put_slice(&p, event->body);
	put_slice(&p, event->tail);
	put_slice(&p, event->headers);
	arena_len += bytes;

	if (unlikely(arena_len - level->arena_len +
				 (event_count - level->first_event) * sizeof(BufferedEvent) >=
				 SPILL_BYTES))
		log_events(level->first_event, level->arena_len, false);
}

/* ---- transaction callbacks ---- */

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId subid,
					  SubTransactionId parent, void *arg)
{
	int			nest;
	Level	   *top;

	(void) subid;
	(void) parent;
	(void) arg;

	if (level_count == 0 ||
		(event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB))
		return;

	nest = GetCurrentTransactionNestLevel();
	top = &levels[level_count - 1];
	if (top->nest < nest)
		return;					/* it made no events */
	Assert(top->nest == nest);

	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		event_count = top->first_event;
		arena_len = top->arena_len;
		counter = top->counter;
		level_count--;
	}
	else if (level_count > 1 && top[-1].nest == nest - 1)
		level_count--;			/* the parent's range includes it */
	else
		top->nest = nest - 1;
}

static void
end_of_transaction(XactEvent event, void *arg)
{
	(void) arg;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (counter > 0)
			{
				Assert(level_count == 1 && levels[0].nest == 1);
				log_events(0, 0, true);
			}
			closed = true;
			break;
		case XACT_EVENT_COMMIT:
			if (counter > 0)
				evpub_wake_publisher(XactLastCommitEnd);
			reset_buffer();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			reset_buffer();
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;				/* parallel workers change no rows */
	}
}

void
evpub_buffer_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}
