/*
 * figures.c
 *		What was published, refused and lost since a reset: views evpub.stat and
 *		evpub.stat_topics.
 *
 * These counters go on over restarts of worker and server (figurekeep.c has them
 * in a file), and begin anew with a reset.  Those of evpub.status are of the worker
 * and begin anew with the server.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "figures.h"

/* That a gap is open of which it is not known where it begins. */
#define GAP_ANYWHERE 1

const char *const evpub_start_causes[] = {
	[EVPUB_START_WORKER] = "worker",
	[EVPUB_START_SETTINGS] = "settings",
	[EVPUB_START_REFUSED] = "refused",
	[EVPUB_START_KAFKA] = "kafka",
	[EVPUB_START_CONFIGURATION] = "configuration",
	[EVPUB_START_TOPIC] = "topic",
	[EVPUB_START_DIED] = "died",
	[EVPUB_START_HUNG] = "hung",
	[EVPUB_START_SERVER] = "server",
	[EVPUB_START_ASKED] = "asked",
};

EvpubFigures *EvpubFiguresShared = NULL;
static LWLock *figures_lock = NULL;

Size
evpub_figures_size(void)
{
	return MAXALIGN(sizeof(EvpubFigures));
}

void
evpub_figures_attach(EvpubFigures *figures, bool found, LWLock *lock)
{
	EvpubFiguresShared = figures;
	figures_lock = lock;
	if (found)
		return;
	memset(figures, 0, sizeof(EvpubFigures));
	figures->generation = 1;
}

EvpubFigures *
evpub_figures_lock(void)
{
	LWLockAcquire(figures_lock, LW_EXCLUSIVE);
	EvpubFiguresShared->changes++;
	return EvpubFiguresShared;
}

void
evpub_figures_unlock(void)
{
	LWLockRelease(figures_lock);
}

/* The place of this name, which gets one if there is room; -1: there is none. */
static int32
find_place(EvpubFigures *figures, const char *name)
{
	for (int i = 0; i < figures->ntopics; i++)
		if (strcmp(figures->topics[i].name, name) == 0)
			return i;
	if (figures->ntopics == EVPUB_FIGURE_TOPICS)
		return -1;
	memset(&figures->topics[figures->ntopics], 0, sizeof(EvpubFigureTopic));
	strlcpy(figures->topics[figures->ntopics].name, name, EVPUB_TOPIC_LENGTH);
	return figures->ntopics++;
}

static void
count(EvpubFigureCounts *counts, uint64 events, uint64 bytes, TimestampTz now)
{
	counts->events += events;
	counts->bytes += bytes;
	counts->acknowledged_at = now;
}

static void
add_counts(EvpubFigureCounts *counts, const EvpubFigureCounts *kept)
{
	count(counts, kept->events, kept->bytes,
		  Max(counts->acknowledged_at, kept->acknowledged_at));
}

void
evpub_figures_topic(EvpubFigures *figures, const char *name, EvpubFigurePlace *place,
					uint64 events, uint64 bytes, TimestampTz now)
{
	if (place->generation != figures->generation)
	{
		place->place = find_place(figures, name);
		place->generation = figures->generation;
	}
	count(&figures->totals.all, events, bytes, now);
	count(place->place < 0 ? &figures->totals.others :
		  &figures->topics[place->place].counts, events, bytes, now);
}

void
evpub_figures_relay_started(EvpubStartCause cause)
{
	evpub_figures_lock()->totals.starts[cause]++;
	evpub_figures_unlock();
}

static void
add_refusals(EvpubFigureTotals *totals, int32 code, uint64 refusals)
{
	int			i = 0;

	while (i < totals->ncodes && totals->codes[i] != code)
		i++;
	if (i < EVPUB_FIGURE_CODES)
	{
		totals->codes[i] = code;
		totals->refusals[i] += refusals;
		totals->ncodes = Max(totals->ncodes, i + 1);
	}
	else
		totals->other_refusals += refusals;
}

void
evpub_figures_refused(int32 code)
{
	add_refusals(&evpub_figures_lock()->totals, code, 1);
	evpub_figures_unlock();
}

void
evpub_figures_dead_letter(void)
{
	evpub_figures_lock()->totals.dead_letters++;
	evpub_figures_unlock();
}

/*
 * A gap for want of WAL is found anew by each worker, at the place up to which all is
 * confirmed; that does not move while the gap is open.
 */
void
evpub_figures_gap(uint64 from_lsn)
{
	EvpubFigureTotals *totals = &evpub_figures_lock()->totals;
	uint64		from = from_lsn == 0 ? GAP_ANYWHERE : from_lsn;

	if (totals->last_gap != from)
		totals->gaps++;
	totals->last_gap = from;
	evpub_figures_unlock();
}

void
evpub_figures_no_gap(void)
{
	EvpubFigureTotals *totals = &evpub_figures_lock()->totals;

	if (totals->last_gap == GAP_ANYWHERE)
		totals->last_gap = 0;
	evpub_figures_unlock();
}

static void
add_totals(EvpubFigureTotals *totals, const EvpubFigureTotals *kept)
{
	totals->reset_at = kept->reset_at;
	add_counts(&totals->all, &kept->all);
	add_counts(&totals->others, &kept->others);
	totals->transactions += kept->transactions;
	totals->counted_lsn = Max(totals->counted_lsn, kept->counted_lsn);
	totals->duplicates += kept->duplicates;

	/* a gap that is still open was counted by that worker and by this one */
	totals->gaps += kept->gaps;
	if (totals->last_gap == 0)
		totals->last_gap = kept->last_gap;
	else if (totals->last_gap == kept->last_gap)
		totals->gaps--;
	totals->dead_letters += kept->dead_letters;
	for (int i = 0; i < EVPUB_START_CAUSES; i++)
		totals->starts[i] += kept->starts[i];
	for (int i = 0; i < kept->ncodes; i++)
		add_refusals(totals, kept->codes[i], kept->refusals[i]);
	totals->other_refusals += kept->other_refusals;
}

uint64
evpub_figures_load(const EvpubFigures *kept)
{
	EvpubFigures *figures = evpub_figures_lock();
	uint64		generation = figures->generation;

	if (!figures->loaded)
	{
		add_totals(&figures->totals, &kept->totals);
		for (int i = 0; i < kept->ntopics; i++)
		{
			int32		place = find_place(figures, kept->topics[i].name);

			add_counts(place < 0 ? &figures->totals.others :
					   &figures->topics[place].counts, &kept->topics[i].counts);
		}
		if (figures->totals.reset_at == 0)
			figures->totals.reset_at = GetCurrentTimestamp();
		figures->loaded = true;
	}
	evpub_figures_unlock();
	return generation;
}

void
evpub_figures_copy(EvpubFigures *copy)
{
	if (!EvpubFiguresShared)
	{
		memset(copy, 0, sizeof(EvpubFigures));
		return;
	}

	/* of the topics, which come last, only those that there are */
	LWLockAcquire(figures_lock, LW_SHARED);
	memcpy(copy, EvpubFiguresShared, offsetof(EvpubFigures, topics));
	memcpy(copy->topics, EvpubFiguresShared->topics,
		   sizeof(EvpubFigureTopic) * copy->ntopics);
	LWLockRelease(figures_lock);
}

/*
 * A gap that is open stays counted, and is not counted again; nor is a transaction that
 * a crash brings back.  Before the worker has read the file, what is in it is not wanted
 * any more.
 */
void
evpub_figures_reset(void)
{
	EvpubFigures *figures = evpub_figures_lock();
	uint64		last_gap = figures->totals.last_gap;
	uint64		counted_lsn = figures->totals.counted_lsn;

	memset(&figures->totals, 0, sizeof(figures->totals));
	figures->totals.last_gap = last_gap;
	figures->totals.counted_lsn = counted_lsn;
	figures->totals.reset_at = GetCurrentTimestamp();
	memset(&figures->latency, 0, sizeof(figures->latency));
	figures->ntopics = 0;
	figures->generation++;
	figures->loaded = true;
	evpub_figures_unlock();
}
