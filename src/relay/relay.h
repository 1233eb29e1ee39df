/*
 * relay.h
 *		What all parts of evpub-relay share: the clock, and the one way out.
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

/*
 * Reports what was acknowledged so far, then a FAILED frame with this text,
 * and ends the process.  librdkafka is not destroyed: that may wait for a
 * broker that does not answer.
 */
extern void relay_fail(EvpubFrameFailure failure, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/* The same, with all that there is to say of the failure. */
extern void relay_fail_as(const EvpubFrameFailed *failed, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/* A line for the server's log about what the relay has done. */
extern void relay_note(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));

/* realloc() that ends the process when there is no memory. */
extern void *relay_realloc(void *old, size_t size);

#endif							/* EVPUB_RELAY_H */
