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
 * event.  Events that can be collapsed wait for each other until all levels
 * together hold evpub.collapse_memory.  Beyond that, memory is bounded by
 * SPILL_BYTES for each open level that has events.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "utils/memutils.h"

#include "capture/buffer.h"
#include "capture/chunks.h"
#include "capture/collapse.h"
#include "capture/compact.h"
#include "capture/intern.h"
#include "capture/render.h"
#include "capture/tally.h"
#include "event/event.h"
#include "settings.h"
#include "shmem.h"

/*
 * Bytes of one level's events beyond which they may be logged early, to make
 * chunks of some size.
 */
#define SPILL_BYTES (256 * 1024)

/* Routes that may be kept from one transaction to the next. */
#define KEEP_ROUTES 64

/* Routes that are kept within a transaction although no event needs them. */
#define UNUSED_ROUTES 1024

/* An open (sub)transaction that has made events. */
typedef struct Level
{
	int			nest;			/* GetCurrentTransactionNestLevel() */
	Size		first_event;	/* what was there when it began */
	Size		arena_len;
	uint32		counter;
	int			tally;			/* evpub_tally_mark() */
} Level;

/* All memory below is in this context; NULL until the first event. */
static MemoryContext buffer_context = NULL;

static EvpubBuffered *events = NULL;
static Size event_count = 0;
static Size event_slots = 0;

static char *arena = NULL;
static Size arena_len = 0;
static Size arena_size = 0;

static Level *levels = NULL;
static int	level_count = 0;
static int	level_slots = 0;

/*
 * Of events with lower numbers it is not known whether later events of the same
 * rows were logged already, and have left the buffer.  (After a rollback it may be
 * too high; then less is collapsed.)
 */
static uint32 logged_behind = 0;

/* Some event in the buffer may be collapsed with others. */
static bool collapsible = false;

/* Number of the next event: how many the transaction has, with those logged. */
static uint32 counter = 0;

/* The last chunk is logged: no event may follow. */
static bool closed = false;

/* The next event may be taken back: it does not make its level log its events. */
static bool keep_next = false;

/* Make the context and what is always there. */
static void
create_buffer(void)
{
	MemoryContext context;

	context = AllocSetContextCreate(TopMemoryContext, "evpub buffer",
									ALLOCSET_DEFAULT_SIZES);
	event_slots = 64;
	events = MemoryContextAlloc(context, event_slots * sizeof(EvpubBuffered));
	arena_size = 4096;
	arena = MemoryContextAlloc(context, arena_size);
	level_slots = 8;
	levels = MemoryContextAlloc(context, level_slots * sizeof(Level));
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
	keep_next = false;
	collapsible = false;
	logged_behind = 0;

	evpub_chunks_end();
	evpub_tally_end();
	if (evpub_interned_routes() > KEEP_ROUTES)
		evpub_intern_forget();
	if (buffer_context != NULL &&
		(arena_size > EVPUB_KEEP_BYTES ||
		 event_slots * sizeof(EvpubBuffered) > EVPUB_KEEP_BYTES))
		destroy_buffer();
}

bool
evpub_buffer_in_use(void)
{
	return counter > 0;
}

/* ---- making room ---- */

/*
 * Collapse the events from "first" on, whose bytes begin at "start", and close
 * the gaps in array and arena.  What is below them belongs to other levels.
 */
static void
collapse_events(Size first, Size start)
{
	/* a single one, as most transactions have it, has nothing to collapse with */
	if (!collapsible || event_count - first < 2)
		return;
	evpub_collapse(events, first, event_count, arena, logged_behind);
	event_count = evpub_compact(events, first, event_count, arena, start, &arena_len);
}

/*
 * Log the events from "first" on and drop them from the buffer.  "final": this is
 * the end of the transaction.
 */
static void
log_events(Size first, Size arena_start, bool final)
{
	evpub_chunks_log(events + first, event_count - first, arena, counter, final);
	evpub_tally_take(events + first, event_count - first, levels[level_count - 1].tally);
	if (!final)
		logged_behind = counter;
	event_count = first;
	arena_len = arena_start;
}

/* Has everything collapsed to nothing? */
static bool
nothing_left(void)
{
	for (Size i = 0; i < event_count; i++)
	{
		if (!events[i].dropped)
			return false;
	}
	return true;
}

/*
 * A level has enough for a chunk.  Log it, unless its events may still
 * collapse with later ones and there is memory for that.
 */
static void
relieve_level(const Level *level)
{
	Size		budget = (Size) evpub_collapse_memory * 1024;

	if (collapsible)
	{
		if (arena_len + event_count * sizeof(EvpubBuffered) < budget)
			return;
		collapse_events(level->first_event, level->arena_len);

		/* else it would be done again for every few events */
		if (arena_len + event_count * sizeof(EvpubBuffered) < budget / 2)
			return;
	}
	log_events(level->first_event, level->arena_len, false);
}

/* Are its events enough for a chunk? */
static inline bool
has_enough(const Level *level)
{
	return arena_len - level->arena_len +
		(event_count - level->first_event) * sizeof(EvpubBuffered) >= SPILL_BYTES;
}

/*
 * Events that were logged, collapsed or rolled back leave their routes behind.
 * An event needs two routes at most.  So if there are more than UNUSED_ROUTES and
 * three for each event, a third of them or more is of no use, and is swept.  Hence
 * routes never take much more memory than the events do.  To look through all
 * events for their routes costs a constant time for each event that was added.
 */
static void
sweep_routes(void)
{
	if (likely(evpub_interned_routes() <= UNUSED_ROUTES) ||
		evpub_interned_routes() <= UNUSED_ROUTES + 3 * event_count)
		return;
	evpub_intern_begin_sweep();
	for (Size i = 0; i < event_count; i++)
	{
		evpub_intern_keep(events[i].route);
		if (events[i].change.kind != EVPUB_CHANGE_NONE &&
			events[i].change.as_update != NULL)
			evpub_intern_keep(events[i].change.as_update);
	}
	evpub_intern_end_sweep();
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
	level->tally = evpub_tally_mark();
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
check_room(void)
{
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
}

void
evpub_buffer_append(const EvpubEvent *event, EvpubOrigin origin,
					const EvpubChange *change, EvpubSlice pk)
{
	Level	   *level;
	EvpubBuffered *added;
	Size		bytes;
	char	   *p;

	if (unlikely(buffer_context == NULL))
		create_buffer();
	check_room();
	evpub_check_bytes(evpub_event_max_size(event));
	level = current_level();

	bytes = (Size) event->key.len + event->tenant.len + event->subject.len +
		event->body.len + event->tail.len + event->headers.len + pk.len;
	if (unlikely(arena_len + bytes > arena_size))
	{
		Size		size = Max(2 * arena_size, arena_len + bytes);

		arena = repalloc_huge(arena, size);
		arena_size = size;
	}
	if (unlikely(event_count == event_slots))
	{
		events = repalloc_huge(events, 2 * event_slots * sizeof(EvpubBuffered));
		event_slots *= 2;
	}

	added = &events[event_count++];
	added->route = event->route;
	added->start = arena_len;
	added->first = counter;
	added->number = counter++;
	added->end = counter;
	added->dropped = false;
	added->absorbed = false;
	added->op = origin.op;
	added->table = origin.table;
	if (change != NULL)
	{
		added->change = *change;
		collapsible = true;
	}
	else
		added->change.kind = EVPUB_CHANGE_NONE;
	added->key_len = event->key.len;
	added->tenant_len = event->tenant.len;
	added->subject_len = event->subject.len;
	added->body_len = event->body.len;
	added->tail_len = event->tail.len;
	added->headers_len = event->headers.len;
	added->pk_len = pk.len;
	added->has_key = event->has_key;
	added->has_value = event->has_value;

	p = arena + arena_len;
	put_slice(&p, event->key);
	put_slice(&p, event->tenant);
	put_slice(&p, event->subject);
	put_slice(&p, event->body);
	put_slice(&p, event->tail);
	put_slice(&p, event->headers);
	put_slice(&p, pk);
	arena_len += bytes;

	if (unlikely(has_enough(level)) && !keep_next)
		relieve_level(level);
	keep_next = false;

	/* all events of the buffer are whole, and the caller is done with its routes */
	sweep_routes();
}

void
evpub_buffer_keep_next(void)
{
	if (level_count > 0 && has_enough(&levels[level_count - 1]) &&
		levels[level_count - 1].nest == GetCurrentTransactionNestLevel())
		relieve_level(&levels[level_count - 1]);
	keep_next = true;
}

uint32
evpub_buffer_next_number(void)
{
	return counter;
}

/*
 * The number of the event stays: numbers may have holes, but not the ranges of
 * chunks.  Where memory was short meanwhile, a delete may stand for an update as
 * well.  Such a delete is not taken back, since the update would be lost with it.
 */
bool
evpub_buffer_take_back(uint32 number)
{
	for (Size i = event_count; i-- > 0 && events[i].number >= number;)
	{
		if (events[i].number != number || events[i].dropped)
			continue;
		if (events[i].absorbed)
			return false;
		events[i].dropped = true;
		return true;
	}
	return false;
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
		evpub_tally_cut(top->tally);
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
				collapse_events(0, 0);
				if (evpub_chunks_logged() || !nothing_left())
					log_events(0, 0, true);
				else
					counter = 0;
			}
			closed = true;
			break;
		case XACT_EVENT_COMMIT:
			if (counter > 0)
			{
				evpub_wake_publisher(XactLastCommitEnd);
				evpub_tally_publish();
			}
			reset_buffer();
			break;
		case XACT_EVENT_PREPARE:
			evpub_tally_publish();
			reset_buffer();
			break;
		case XACT_EVENT_ABORT:
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
