/*
 * count.c
 *		Counts the transactions with events in a range of WAL.
 *
 * A person who is to accept a gap wants to know what that costs.  A reader and
 * an assembler of its own read the range once more, as the stream would, and
 * keep nothing but places of chunks, so the memory budget of the stream is not
 * touched.  The publisher does nothing else meanwhile; therefore the caller
 * gives a budget of time.
 */
#include "postgres.h"

#include "postmaster/interrupt.h"
#include "utils/memutils.h"

#include "position/position.h"
#include "publisher/count.h"
#include "reader/assembler.h"
#include "reader/walfind.h"
#include "reader/walreader.h"

/* Look at the clock after so many records, and after so many bytes of one. */
#define RECORDS_BETWEEN 64
#define BYTES_BETWEEN (1024 * 1024)

typedef struct Counter
{
	const EvpubCountRange *range;
	EvpubMsec	deadline;
	MemoryContext context;
	EvpubWalReader *reader;
	EvpubAssembler *assembler;
	uint32		next_event;		/* 0 when the first transaction has been met */
	uint64		transactions;
	uint64		events;
	bool		part;			/* something could not be read */
	bool		events_part;	/* ... of a transaction that is counted */
	bool		stopped;		/* before the end */
} Counter;

static bool
out_of_time(const Counter *counter)
{
	return ShutdownRequestPending || evpub_clock_left(counter->deadline) == 0;
}

/* Events of a transaction with numbers below "next". */
static uint32
events_before(Counter *counter, EvpubTransaction *transaction, uint32 next)
{
	EvpubWalReader *reader = counter->reader;
	uint32		before = 0;

	for (int i = 0; i < transaction->nplaces; i++)
	{
		EvpubPlace *place = &transaction->places[i];
		EvpubChunkReader chunk;
		EvpubEvent	event;

		if (place->first >= next)
			continue;
		if ((uint64) place->first + place->count <= next)
		{
			before += place->events;
			continue;
		}
		evpub_chunk_open(&chunk,
						 evpub_assembler_chunk(counter->assembler, transaction, i,
											   reader->limit, reader->timeline),
						 place->length);
		while (evpub_chunk_next(&chunk, &event) && event.number < next)
			before++;
		evpub_chunk_close(&chunk);
	}
	return before;
}

static void
take(Counter *counter, EvpubTransaction *transaction)
{
	uint32		before;

	if (transaction->commit.lsn <= counter->range->from ||
		transaction->commit.lsn > counter->range->to)
		return;
	before = events_before(counter, transaction, counter->next_event);
	counter->next_event = 0;
	counter->transactions++;
	counter->events += transaction->commit.events - before;
	if (transaction->problem)
		counter->events_part = true;
}

/* Read up to the end of the range, or of the time. */
static void
count_records(Counter *counter)
{
	EvpubWalReader *reader = counter->reader;
	uint64		records = 0;

	for (;;)
	{
		EvpubRecordKind kind;
		EvpubTransaction *transaction;

		if (records++ % RECORDS_BETWEEN == 0 && out_of_time(counter))
			break;
		if (!evpub_walreader_next(reader))
		{
			if (out_of_time(counter))
				break;
			if (reader->yielded)
				continue;
			return;
		}
		transaction = evpub_assembler_feed(counter->assembler, reader, &kind);
		if (!transaction)
			continue;
		take(counter, transaction);
		evpub_assembler_release(counter->assembler, transaction);
	}
	counter->stopped = true;
}

/*
 * The reader stands at a record that is missing or damaged.  Go on behind it,
 * if there is WAL of the range: false if not.
 */
static bool
pass_break(Counter *counter)
{
	XLogRecPtr	found;

	counter->part = true;
	found = evpub_walfind_record_until(counter->reader->position, counter->deadline);
	if (found == InvalidXLogRecPtr || found >= counter->range->to)
		return false;
	evpub_walreader_seek(counter->reader, found);
	return true;
}

/*
 * True if reading ended at a break, behind which it can go on.  Whatever else
 * is wrong (memory, files, a message of a newer version) ends the count, since
 * the assembler may have half of what it was taking in.
 */
static bool
count_to_break(Counter *counter)
{
	MemoryContext caller = CurrentMemoryContext;
	bool		at_break;

	PG_TRY();
	{
		count_records(counter);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		at_break = evpub_walreader_no_wal(geterrcode());
		FlushErrorState();
		counter->part = true;
		return at_break;
	}
	PG_END_TRY();
	return false;
}

static void
begin(Counter *counter)
{
	TimeLineID	timeline;
	XLogRecPtr	end = evpub_walreader_end(&timeline);

	counter->reader = evpub_walreader_create();
	counter->reader->slice = BYTES_BETWEEN;
	counter->assembler = evpub_assembler_create(0);
	evpub_assembler_count_only(counter->assembler);
	evpub_walreader_set_limit(counter->reader, Min(end, counter->range->to), timeline);
	evpub_walreader_seek(counter->reader, counter->range->start);
}

static void
count(Counter *counter)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		counter->context = AllocSetContextCreate(caller, "evpub count",
												 ALLOCSET_DEFAULT_SIZES);
		MemoryContextSwitchTo(counter->context);
		begin(counter);
		while (count_to_break(counter) && pass_break(counter))
			;
	}
	PG_CATCH();
	{
		FlushErrorState();
		counter->part = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);

	/* both hold a file descriptor, which no context closes */
	if (counter->assembler)
		evpub_assembler_free(counter->assembler);
	if (counter->reader)
		evpub_walreader_free(counter->reader);
	if (counter->context)
		MemoryContextDelete(counter->context);
}

static EvpubLostKnown
what_is_known(const Counter *counter)
{
	bool		part = counter->part || counter->range->cut;

	if ((part || counter->stopped) && counter->transactions == 0)
		return EVPUB_LOST_UNKNOWN;
	if (part)
		return EVPUB_LOST_PART;
	if (counter->stopped)
		return EVPUB_LOST_STOPPED;
	return counter->events_part ? EVPUB_LOST_EVENTS_PART : EVPUB_LOST_ALL;
}

EvpubLost
evpub_count(const EvpubCountRange *range)
{
	Counter		counter;
	EvpubLost	lost;

	memset(&counter, 0, sizeof(counter));
	counter.range = range;
	counter.next_event = evpub_position_first_event(range->next_event);
	counter.deadline = evpub_clock_now() + range->budget;
	count(&counter);
	lost.known = what_is_known(&counter);
	lost.transactions = counter.transactions;
	lost.events = counter.events;
	return lost;
}
