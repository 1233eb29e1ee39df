/*
 * arguments.h
 *		Arguments that several functions take.
 */
#ifndef EVPUB_ADMIN_ARGUMENTS_H
#define EVPUB_ADMIN_ARGUMENTS_H

#include "postgres.h"

#include "access/htup.h"
#include "catalog/pg_class.h"
#include "fmgr.h"

/* Refuse a null for an argument of this name. */
extern void evpub_refuse_null(const char *argument);

/*
 * An interval as milliseconds, at most INT_MAX; a month has 30 days, as
 * everywhere in PostgreSQL.  Null and negative ones are errors.
 */
extern long evpub_timeout_argument(FunctionCallInfo fcinfo, int number);

/* The row of pg_class; ERROR if there is no such relation.  For ReleaseSysCache(). */
extern HeapTuple evpub_relation_argument(Oid relid);

/* ERROR unless the current user owns it. */
extern void evpub_check_owner(Form_pg_class form);

#endif							/* EVPUB_ADMIN_ARGUMENTS_H */
