/*
 * latency.c
 *		The figures of evpub.stat: quantiles are near the exact ones, and only of the
 *		last minute; topics and codes beyond their bounds are counted together.
 */
#include "lib/backend.h"

#include "utils/timestamp.h"

#include "../../src/latency.c"
#include "../../src/figures.c"

#define SAMPLES 10000

static LWLock lock;
static int	held = 0;

bool
LWLockAcquire(LWLock *wanted, LWLockMode mode)
{
	(void) mode;
	if (wanted != &lock || held++ != 0)
		abort();
	return true;
}

void
LWLockRelease(LWLock *wanted)
{
	if (wanted != &lock || --held != 0)
		abort();
}

TimestampTz
GetCurrentTimestamp(void)
{
	return 4711;
}

static int
compare(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* Every bucket's middle is in it, and no time is further away than a sixteenth. */
static bool
buckets_fit(void)
{
	for (int i = 0; i < EVPUB_LATENCY_BUCKETS; i++)
		if (bucket_of((int64) middle_of(i)) != i)
			return false;
	for (uint64 time = 1; time < LONGEST; time += time / 37 + 1)
	{
		double		middle = middle_of(bucket_of((int64) time));

		if (fabs(middle - (double) time) > (double) time / 16)
			return false;
	}
	return bucket_of(-5) == 0 && bucket_of(PG_INT64_MAX) == EVPUB_LATENCY_BUCKETS - 1;
}

static bool
near_exact(void)
{
	static EvpubLatency latency;
	static int64 samples[SAMPLES];
	static const double shares[] = {0, 0.5, 0.95, 0.99, 1};
	double		seconds[lengthof(shares)];
	bool		right = true;

	for (int i = 0; i < SAMPLES; i++)
	{
		samples[i] = (int64) (next_random() >> (24 + next_random() % 30));
		evpub_latency_add(&latency, 1000000 + i, samples[i], 1);
	}
	qsort(samples, SAMPLES, sizeof(samples[0]), compare);
	if (!evpub_latency_quantiles(&latency, 1000000 + SAMPLES, shares, lengthof(shares),
								 seconds))
		return false;
	for (int i = 0; i < (int) lengthof(shares); i++)
	{
		int			rank = Max((int) (shares[i] * SAMPLES + 0.5), 1);
		double		exact = (double) samples[rank - 1] / 1000000;

		right = right && fabs(seconds[i] - exact) <= exact / 16 + 1e-6;
	}
	return right;
}

/* What is a minute old is still there, and not 5 s later, be something added or not. */
static bool
forgets(bool add)
{
	static EvpubLatency latency;
	EvpubMsec	begin = 777 * EVPUB_LATENCY_SLICE;
	double		share = 0.5;
	double		seconds;
	bool		right;

	memset(&latency, 0, sizeof(latency));
	evpub_latency_add(&latency, begin, 3000000, 10);
	right = evpub_latency_quantiles(&latency, begin + 60000, &share, 1, &seconds) &&
		seconds > 2.8 && seconds < 3.2;
	if (add)
		for (int i = 1; i <= 13; i++)
			evpub_latency_add(&latency, begin + i * EVPUB_LATENCY_SLICE, 1000, 1);
	if (evpub_latency_quantiles(&latency, begin + 65000, &share, 1, &seconds) != add)
		return false;

	/* of a machine that has started anew nothing is taken over */
	return right && (!add || seconds < 0.0011) &&
		!evpub_latency_quantiles(&latency, 5000, &share, 1, &seconds);
}

/* As many topics as have a place, then others; and again after a reset. */
static bool
topics_fit(void)
{
	static EvpubFigurePlace places[EVPUB_FIGURE_TOPICS + 10];
	static EvpubFigures copy;

	for (int round = 0; round < 4; round++)
	{
		EvpubFigures *figures = evpub_figures_lock();

		for (int i = 0; i < (int) lengthof(places); i++)
		{
			char		name[EVPUB_TOPIC_LENGTH];

			/* a worker that begins anew knows no place */
			if (round == 1)
				places[i].generation = 0;
			snprintf(name, sizeof(name), "topic%d", i);
			evpub_figures_topic(figures, name, &places[i], 2, 10, round + 1);
		}
		evpub_figures_unlock();
		evpub_figures_copy(&copy);
		if (copy.ntopics != EVPUB_FIGURE_TOPICS ||
			copy.totals.all.events != (round % 2 + 1) * 2 * lengthof(places) ||
			copy.totals.others.events != (uint64) (round % 2 + 1) * 20 ||
			copy.topics[7].counts.bytes != (uint64) (round % 2 + 1) * 10 ||
			copy.topics[7].counts.acknowledged_at != round + 1 ||
			strcmp(copy.topics[7].name, "topic7") != 0)
			return false;
		if (round == 1)
			evpub_figures_reset();
	}
	evpub_figures_reset();
	evpub_figures_copy(&copy);
	return copy.ntopics == 0 && copy.totals.all.events == 0 && copy.totals.reset_at == 4711;
}

static bool
codes_fit(void)
{
	static EvpubFigures copy;

	for (int round = 0; round < 2; round++)
		for (int code = -5; code < EVPUB_FIGURE_CODES; code++)
			evpub_figures_refused(code);
	evpub_figures_copy(&copy);
	for (int i = 0; i < EVPUB_FIGURE_CODES; i++)
		if (copy.totals.codes[i] != i - 5 || copy.totals.refusals[i] != 2)
			return false;
	return copy.totals.ncodes == EVPUB_FIGURE_CODES && copy.totals.other_refusals == 10;
}

static uint64
gaps(void)
{
	static EvpubFigures copy;

	evpub_figures_copy(&copy);
	return copy.totals.gaps;
}

/* The same one counts once, also over a reset. */
static bool
gaps_count_once(void)
{
	bool		right;

	evpub_figures_gap(5000);
	evpub_figures_gap(5000);
	right = gaps() == 1;
	evpub_figures_reset();
	evpub_figures_gap(5000);
	right = right && gaps() == 0;
	evpub_figures_gap(6000);
	evpub_figures_gap(0);
	evpub_figures_gap(0);
	right = right && gaps() == 2;
	evpub_figures_no_gap();
	evpub_figures_gap(0);
	return right && gaps() == 3;
}

int
main(void)
{
	EvpubFigures *figures = malloc(sizeof(EvpubFigures));

	memset(figures, 0x7f, sizeof(EvpubFigures));
	evpub_figures_attach(figures, false, &lock);
	ok(buckets_fit(), "each time has its bucket");
	ok(near_exact(), "quantiles are within a sixteenth of the exact ones");
	ok(forgets(false), "after a minute there is nothing");
	ok(forgets(true), "... or only what came later");
	ok(topics_fit(), "topics beyond the bound count together");
	ok(codes_fit(), "so do codes");
	ok(gaps_count_once(), "a gap counts once");
	free(figures);
	return done_testing();
}
