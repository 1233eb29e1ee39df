/*
 * arguments.h
 *		Arguments that several functions take.
 */
#ifndef EVPUB_ADMIN_ARGUMENTS_H
#define EVPUB_ADMIN_ARGUMENTS_H

#include "postgres.h"

#include "fmgr.h"

/* Refuse a null for an argument of this name. */
extern void evpub_refuse_null(const char *argument);

/*
 * An interval as milliseconds, at most INT_MAX; a month has 30 days, as
 * everywhere in PostgreSQL.  Null and negative ones are errors.
 */
extern long evpub_timeout_argument(FunctionCallInfo fcinfo, int number);

#endif							/* EVPUB_ADMIN_ARGUMENTS_H */
