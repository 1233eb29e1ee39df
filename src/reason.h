/*
 * reason.h
 *		A reason, with a hint that says what to do about it.
 *
 * Why the publisher stands still travels as one text through relay, worker and
 * verdicts: "reason", or "reason\nhint".  A reason holds no line feed itself.
 */
#ifndef EVPUB_REASON_H
#define EVPUB_REASON_H

#include "postgres.h"

#include "shmem.h"

/* A buffer for both, the line feed and the NUL included. */
#define EVPUB_REASON_LENGTH (2 * EVPUB_TEXT_LENGTH)

/* Both parts; "hint" is NULL if there is none.  In the current context. */
extern char *evpub_reason_split(const char *text, char **hint);

/* The reason alone, in the current context; NULL stays NULL. */
extern char *evpub_reason_only(const char *text);

/* An error as a reason, with its hint, in the current context. */
extern char *evpub_reason_of_error(const ErrorData *error);

#endif							/* EVPUB_REASON_H */
