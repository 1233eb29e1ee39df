/*
 * latency.c
 *		How long something took in the last minute: a histogram of fixed size.
 *
 * The bounds of the buckets lie at the powers of two, in microseconds, with seven
 * more at even distances between two of them.  So a bucket is at most an eighth of
 * its lower bound wide, and its middle is at most a sixteenth away from what was
 * added.  Below 8 microseconds each has its own bucket.
 *
 * There is such a row of buckets for each slice of the last minute.  A slice is
 * emptied when the ring comes to its place again, by whoever adds something then; who
 * reads passes over those that are too old, so nothing has to be done while nothing
 * happens.
 */
#include "postgres.h"

#include <math.h>

#include "port/pg_bitutils.h"

#include "latency.h"

/* Buckets from one power of two to the next: 2^3. */
#define FINE_BITS 3
#define FINE (1 << FINE_BITS)

#define LONGEST ((UINT64CONST(1) << 42) - 1)

StaticAssertDecl((42 - FINE_BITS + 1) * FINE == EVPUB_LATENCY_BUCKETS,
				 "there is a bucket for each time");

static int
bucket_of(int64 microseconds)
{
	uint64		time = microseconds > 0 ? Min((uint64) microseconds, LONGEST) : 0;
	int			top;

	if (time < FINE)
		return (int) time;
	top = pg_leftmost_one_pos64(time);
	return (top - FINE_BITS + 1) * FINE + (int) ((time >> (top - FINE_BITS)) & (FINE - 1));
}

/* In microseconds. */
static double
middle_of(int bucket)
{
	int			row = bucket / FINE;
	double		width;

	if (row == 0)
		return bucket;
	width = ldexp(1, row - 1);
	return (FINE + bucket % FINE) * width + (width - 1) / 2;
}

void
evpub_latency_add(EvpubLatency *latency, EvpubMsec now, int64 microseconds,
				  uint32 count)
{
	int64		number = now / EVPUB_LATENCY_SLICE + 1;
	EvpubLatencySlice *slice = &latency->slices[number % EVPUB_LATENCY_SLICES];

	if (slice->number != number)
	{
		memset(slice, 0, sizeof(*slice));
		slice->number = number;
	}
	slice->counts[bucket_of(microseconds)] += count;
}

bool
evpub_latency_quantiles(const EvpubLatency *latency, EvpubMsec now,
						const double *shares, int nshares, double *seconds)
{
	int64		number = now / EVPUB_LATENCY_SLICE + 1;
	uint64		counts[EVPUB_LATENCY_BUCKETS] = {0};
	uint64		total = 0;
	uint64		below = 0;
	int			bucket = 0;

	for (int s = 0; s < EVPUB_LATENCY_SLICES; s++)
	{
		const EvpubLatencySlice *slice = &latency->slices[s];

		if (slice->number <= number - EVPUB_LATENCY_SLICES || slice->number > number)
			continue;
		for (int i = 0; i < EVPUB_LATENCY_BUCKETS; i++)
		{
			counts[i] += slice->counts[i];
			total += slice->counts[i];
		}
	}
	if (total == 0)
		return false;
	for (int i = 0; i < nshares; i++)
	{
		double		share = shares[i] * (double) total;
		uint64		rank = (uint64) share;

		if ((double) rank < share || rank == 0)
			rank++;
		rank = Min(rank, total);
		while (below + counts[bucket] < rank)
			below += counts[bucket++];
		seconds[i] = middle_of(bucket) / 1000000.0;
	}
	return true;
}
