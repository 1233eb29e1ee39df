/*
 * figurekeep.c
 *		Keeps the figures of evpub.stat over a restart of the server.
 *
 * While the server runs they are in shared memory, which outlives the worker.  The
 * worker writes them now and then, and when it ends.  So a crash of the server, which a
 * kill of the worker causes, brings back those of some seconds before; what is
 * published in between is not counted.  What a relay finds in Kafka counts as a
 * duplicate alone.  With at_least_once nothing is looked for: what is sent again after
 * such a crash counts again, if these figures were newer than the position.
 *
 * A file that cannot be read may be readable later, so it is tried again now and then,
 * what is counted meanwhile is added then, and it is not replaced before.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "position/figurefile.h"
#include "publisher/figurekeep.h"
#include "publisher/rescue.h"

/* Between two writes, or tries to read, in ms, also when the last one has failed. */
#define SAVE_INTERVAL 10000

static uint64 saved_changes = 0;	/* figures->changes, when they were written */
static uint64 saved_generation = 0;
static uint64 saved_table_changes = 0;
static EvpubMsec saved_at = 0;
static bool complained = false;

static bool
is_loaded(void)
{
	volatile EvpubFigures *figures = EvpubFiguresShared;

	return figures->loaded;
}

static void
load(void)
{
	EvpubFigures *kept = palloc(sizeof(EvpubFigures));
	EvpubFigureTables tables;
	char	   *problem;

	switch (evpub_figurefile_read(kept, &tables, &problem))
	{
		case EVPUB_CHECKEDFILE_UNREADABLE:
			if (!complained)
				ereport(LOG,
						(errmsg("evpub: %s", problem),
						 errdetail("It is tried again every %d seconds. Until then, view evpub.stat has what was counted since the start of the server, and nothing is written.",
								   SAVE_INTERVAL / 1000)));
			complained = true;
			saved_at = evpub_clock_now();
			return;
		case EVPUB_CHECKEDFILE_DAMAGED:
			ereport(LOG,
					(errmsg("evpub: %s", problem),
					 errdetail("The figures of view evpub.stat begin anew.")));
			break;
		case EVPUB_CHECKEDFILE_ABSENT:
		case EVPUB_CHECKEDFILE_FOUND:
			break;
	}
	complained = false;
	saved_generation = evpub_figures_load(kept);
	evpub_tablefigures_load(tables.tables, tables.count);
}

void
evpub_figurekeep_load(void)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;

	/* a reset of before this worker may not be written yet, so it is written soon */
	if (is_loaded())
		return;
	context = AllocSetContextCreate(caller, "evpub figures", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(context);
	load();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

void
evpub_figurekeep_save(bool now)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	volatile uint64 changes = EvpubFiguresShared->changes;
	volatile uint64 generation = EvpubFiguresShared->generation;
	volatile uint64 table_changes = evpub_tablefigures_changes();

	if (!is_loaded())
	{
		if (!now && evpub_clock_passed(saved_at, SAVE_INTERVAL))
			evpub_figurekeep_load();
		/* not before what is in the file is here, too: also after an error at the start */
		return;
	}

	/*
	 * All are read without a lock: what is missed now is seen in the next round, and
	 * the worker itself makes all changes but resets and those of tables.
	 */
	if ((changes == saved_changes && table_changes == saved_table_changes) ||
		(!now && generation == saved_generation &&
		 !evpub_clock_passed(saved_at, SAVE_INTERVAL)))
		return;
	saved_at = evpub_clock_now();
	saved_generation = generation;

	/* a full disk brings us here for hours, and an error leaves memory behind */
	context = AllocSetContextCreate(caller, "evpub figures", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		EvpubFigures *copy = palloc(sizeof(EvpubFigures));
		EvpubFigureTables tables;

		evpub_figures_copy(copy);
		changes = copy->changes;
		tables.tables = evpub_tablefigures_copy(&tables.count);
		evpub_figurefile_write(copy, &tables);
		saved_changes = changes;
		saved_table_changes = table_changes;
		complained = false;
	}
	PG_CATCH();
	{
		ErrorData  *error = evpub_rescue(context);

		if (!complained)
			ereport(LOG,
					(errmsg("evpub: the figures of view evpub.stat could not be written: %s",
							error->message)));
		complained = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}
