/*
 * figures.h
 *		What was published, refused and lost since a reset: views evpub.stat and
 *		evpub.stat_topics.
 *
 * The figures are in shared memory, and one lock of their own guards all of them.
 * The worker counts there, once for each acknowledgement that moves the position.
 * A reset is done by whoever asks for it.  Nobody who holds the lock takes another
 * one, waits, or reads or writes a file; so it may be taken whatever else is held.
 */
#ifndef EVPUB_FIGURES_H
#define EVPUB_FIGURES_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "storage/lwlock.h"

#include "latency.h"
#include "names.h"

/* So many topics have figures of their own; all others have theirs together. */
#define EVPUB_FIGURE_TOPICS 1000

/* The same for codes of Kafka. */
#define EVPUB_FIGURE_CODES 40

/* Why a relay was started.  Names of these, for users: evpub_start_causes. */
typedef enum EvpubStartCause
{
	EVPUB_START_WORKER,			/* the first one of a worker */
	EVPUB_START_SETTINGS,		/* settings, or the files that they name, have changed */
	EVPUB_START_REFUSED,		/* a record was refused */
	EVPUB_START_KAFKA,			/* the one before gave up, over anything else of Kafka's */
	EVPUB_START_CONFIGURATION,	/* ... over settings that it cannot use */
	EVPUB_START_TOPIC,			/* ... over a topic that was deleted and made again */
	EVPUB_START_DIED,			/* the one before was killed, or has crashed */
	EVPUB_START_HUNG,			/* ... was ended, since it was silent */
	EVPUB_START_SERVER,			/* ... was ended after an error of this server */
	EVPUB_START_ASKED			/* after skip_event(), take_over(), a gap and the like */
} EvpubStartCause;

#define EVPUB_START_CAUSES (EVPUB_START_ASKED + 1)

extern const char *const evpub_start_causes[];

typedef struct EvpubFigureCounts
{
	uint64		events;			/* acknowledged to a relay of this server */
	uint64		bytes;			/* of their keys, values and headers */
	TimestampTz acknowledged_at;	/* the last of them; 0: never */
} EvpubFigureCounts;

typedef struct EvpubFigureTopic
{
	char		name[EVPUB_TOPIC_LENGTH];
	EvpubFigureCounts counts;
} EvpubFigureTopic;

/* What is kept in a file, as it is here: see figurefile.h. */
typedef struct EvpubFigureTotals
{
	TimestampTz reset_at;		/* 0: nothing is known yet */
	EvpubFigureCounts all;
	EvpubFigureCounts others;	/* of topics that have no place of their own */
	uint64		transactions;
	uint64		counted_lsn;	/* those that end up to here are counted */
	uint64		duplicates;		/* found in Kafka by read-back */
	uint64		gaps;
	uint64		last_gap;		/* where that began; 0: there was none */
	uint64		dead_letters;
	uint64		starts[EVPUB_START_CAUSES];
	uint64		refusals[EVPUB_FIGURE_CODES];	/* by place in "codes" */
	uint64		other_refusals;
	int32		codes[EVPUB_FIGURE_CODES];
	int64		ncodes;
} EvpubFigureTotals;

typedef struct EvpubFigures
{
	uint64		generation;		/* rises when topics lose their places */
	uint64		changes;		/* rises with each change */
	bool		loaded;			/* the file's are added, or none of them is wanted */
	EvpubFigureTotals totals;
	EvpubLatency latency;		/* from commit to acknowledgement, of each event */
	int			ntopics;
	EvpubFigureTopic topics[EVPUB_FIGURE_TOPICS];
} EvpubFigures;

/* Where a topic's figures are, as the worker remembers it; all zero: unknown. */
typedef struct EvpubFigurePlace
{
	uint64		generation;
	int32		place;			/* -1: among the others */
} EvpubFigurePlace;

/* NULL when not preloaded. */
extern EvpubFigures *EvpubFiguresShared;

/* For shmem.c: how much room, and what it is. */
extern Size evpub_figures_size(void);
extern void evpub_figures_attach(EvpubFigures *figures, bool found, LWLock *lock);

/* ---- the worker counts ---- */

/* The figures, to be changed; until evpub_figures_unlock(). */
extern EvpubFigures *evpub_figures_lock(void);
extern void evpub_figures_unlock(void);

/* Between these two: events of a topic were acknowledged now. */
extern void evpub_figures_topic(EvpubFigures *figures, const char *name,
								EvpubFigurePlace *place, uint64 events, uint64 bytes,
								TimestampTz now);

/* Each of these takes the lock by itself. */
extern void evpub_figures_relay_started(EvpubStartCause cause);
extern void evpub_figures_refused(int32 code);
extern void evpub_figures_dead_letter(void);

/* A gap begins there (0: that is not known).  The same one counts once. */
extern void evpub_figures_gap(uint64 from_lsn);

/* There is no gap of which it is not known where it begins. */
extern void evpub_figures_no_gap(void);

/*
 * What was kept is added to what has been counted since, and is loaded; unless somebody
 * has reset the figures, and so wanted none of it.  Returns their generation.
 */
extern uint64 evpub_figures_load(const EvpubFigures *kept);

/* ---- for everybody ---- */

/* A consistent copy; not preloaded: all zero. */
extern void evpub_figures_copy(EvpubFigures *copy);

/* Count anew from now on. */
extern void evpub_figures_reset(void);

#endif							/* EVPUB_FIGURES_H */
