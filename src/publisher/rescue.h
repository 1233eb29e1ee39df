/*
 * rescue.h
 *		Going on after an error.
 */
#ifndef EVPUB_RESCUE_H
#define EVPUB_RESCUE_H

#include "postgres.h"

/*
 * To be called in PG_CATCH(), where the error ends: the error, in "context",
 * which is current afterwards.  Locks, and a WAL record that was begun, are let
 * go.  A transaction stays open: it is the caller's.
 */
extern ErrorData *evpub_rescue(MemoryContext context);

/* The same, where no transaction may stay open: the worker's round goes on. */
extern ErrorData *evpub_rescue_and_abort(MemoryContext context);

#endif							/* EVPUB_RESCUE_H */
