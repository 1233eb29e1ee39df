/*
 * relay.h
 *		What all parts of evpub-relay share: clock, memory, and the one way out.
 */
#ifndef EVPUB_RELAY_H
#define EVPUB_RELAY_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "frame.h"

/* Longest text of a TROUBLE or FAILED frame, its NUL included. */
#define RELAY_TEXT_MAX 1024

/* "Never", for deadlines in milliseconds of relay_now(). */
#define RELAY_NEVER INT64_MAX

/* Milliseconds of a clock that only goes forward. */
static inline int64_t
relay_now(void)
{
	return evpub_clock_now();
}

static inline int64_t
relay_earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/*
 * Reports a failure to the worker before the relay ends.  text: RELAY_TEXT_MAX
 * bytes, which may be changed.
 */
typedef void (*RelayFarewell) (const EvpubFrameFailed *failed, char *text);

/* Registers what relay_fail() does first. */
extern void relay_at_failure(RelayFarewell farewell);

/*
 * Calls the farewell, which reports what was acknowledged so far and sends a
 * FAILED frame with this text, and ends the process.  librdkafka is not
 * destroyed: that may wait for a broker that does not answer.
 */
extern void relay_fail(EvpubFrameFailure failure, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/* The same, with all that there is to say of the failure. */
extern void relay_fail_as(const EvpubFrameFailed *failed, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/*
 * Starts a thread that no signal interrupts; ends the process if that is not possible.
 * Returns a descriptor (eventfd) by which it can wake the event loop.  The thread may run
 * before the caller has stored that, so it writes there only after a first question, which
 * it gets under a lock.
 */
extern int	relay_start_thread(void *(*run) (void *));

/* realloc() that ends the process when there is no memory. */
extern void *relay_realloc(void *old, size_t size);

#endif							/* EVPUB_RELAY_H */
