/*
 * result.h
 *		The rows that functions return.
 */
#ifndef EVPUB_ADMIN_RESULT_H
#define EVPUB_ADMIN_RESULT_H

#include "funcapi.h"

/*
 * The row type that the running function is declared to return.  ERROR if it
 * has another number of columns than the caller fills in.
 */
extern TupleDesc evpub_result_row(FunctionCallInfo fcinfo, int columns);

#endif							/* EVPUB_ADMIN_RESULT_H */
