/*
 * clock.h
 *		The clock by which evpub measures intervals.
 *
 * Somebody sets the wall clock back by an hour, or NTP steps it: an interval
 * that is measured with it then lasts an hour longer, or ends at once.  So
 * pauses, time-outs and "at most once a second" are measured with this clock,
 * which only goes forward.  The wall clock (GetCurrentTimestamp) is for what
 * people and events see.
 *
 * Its values mean nothing to another machine, nor after a restart of this
 * one: they never get into a file, WAL, or what a user sees.
 *
 * This header is plain C: the relay uses it, too.
 */
#ifndef EVPUB_CLOCK_H
#define EVPUB_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Milliseconds, or a point of time in milliseconds; 0 is never now. */
typedef int64_t EvpubMsec;

static inline int64_t
evpub_clock_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Begins at 1 with the machine, so that 0 can stand for "never". */
static inline EvpubMsec
evpub_clock_now(void)
{
	return evpub_clock_now_us() / 1000 + 1;
}

/* Has so much passed since then?  Since "never" (0) any time has passed. */
static inline bool
evpub_clock_passed(EvpubMsec since, EvpubMsec interval)
{
	return since == 0 || evpub_clock_now() - since >= interval;
}

/* Milliseconds until then, 0 if it is past. */
static inline EvpubMsec
evpub_clock_left(EvpubMsec until)
{
	EvpubMsec	left = until - evpub_clock_now();

	return left > 0 ? left : 0;
}

#endif							/* EVPUB_CLOCK_H */
