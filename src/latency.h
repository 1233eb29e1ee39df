/*
 * latency.h
 *		How long something took in the last minute: a histogram of fixed size.
 */
#ifndef EVPUB_LATENCY_H
#define EVPUB_LATENCY_H

#include "postgres.h"

#include "clock.h"

/* Up to 2^42 microseconds, which is 50 days; longer ones count as that. */
#define EVPUB_LATENCY_BUCKETS 320

/* A slice has 5 s.  The current one is not full, so what is shown is of 60 to 65 s. */
#define EVPUB_LATENCY_SLICE 5000
#define EVPUB_LATENCY_SLICES 13

typedef struct EvpubLatencySlice
{
	int64		number;			/* of the slice, since the machine began; 0: none */
	uint32		counts[EVPUB_LATENCY_BUCKETS];
} EvpubLatencySlice;

/* All zero: nothing has taken anything yet. */
typedef struct EvpubLatency
{
	EvpubLatencySlice slices[EVPUB_LATENCY_SLICES];
} EvpubLatency;

/* So many have taken so long, in microseconds; "now" as of evpub_clock_now(). */
extern void evpub_latency_add(EvpubLatency *latency, EvpubMsec now,
							  int64 microseconds, uint32 count);

/*
 * The times, in seconds, below or at which these shares (0 to 1, rising) of the last
 * minute's are; they are right within 1/16.  False: there were none.
 */
extern bool evpub_latency_quantiles(const EvpubLatency *latency, EvpubMsec now,
									const double *shares, int nshares,
									double *seconds);

#endif							/* EVPUB_LATENCY_H */
