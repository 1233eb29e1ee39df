/*
 * failures.h
 *		What has gone wrong lately, for view evpub.failures.
 */
#ifndef EVPUB_FAILURES_H
#define EVPUB_FAILURES_H

#include "postgres.h"

#include "position/failurefile.h"

/* Take over what the worker before has written. */
extern void evpub_failures_load(void);

/*
 * Something has failed: kind, done and text, and topic, partition (-1: none), id and
 * code, as far as there are such.  "text" may carry a hint, which is left out.
 */
extern void evpub_failures_note(EvpubFailure what, const char *text);

/* Of a kind, and about nothing in particular. */
extern EvpubFailure evpub_failures_of(EvpubFailureKind kind, EvpubFailureDone done);

/*
 * Write what is new, at most once a second; "now" without that pause.  Never throws.
 */
extern void evpub_failures_save(bool now);

#endif							/* EVPUB_FAILURES_H */
