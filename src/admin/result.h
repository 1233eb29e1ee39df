/*
 * result.h
 *		The rows that functions return, filled in by the names of their columns.
 */
#ifndef EVPUB_ADMIN_RESULT_H
#define EVPUB_ADMIN_RESULT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"

/* A row that is being filled in; no column is set. */
typedef struct EvpubResult EvpubResult;

/* For a function that returns one row; in the current memory context. */
extern EvpubResult *evpub_result_row(FunctionCallInfo fcinfo);

/* For a function that returns a set of rows, materialized. */
extern EvpubResult *evpub_result_rows(FunctionCallInfo fcinfo);

/*
 * Set a column.  ERROR if the function is declared without a column of this
 * name, or with one of another type.
 */
extern void evpub_result_set(EvpubResult *result, const char *column, Oid type,
							 Datum value);

/* The same for text, in the database's encoding; NULL is null. */
extern void evpub_result_set_text(EvpubResult *result, const char *column,
								  const char *text);

extern void evpub_result_set_count(EvpubResult *result, const char *column, uint64 count);

/* A timestamptz; 0 is null. */
extern void evpub_result_set_time(EvpubResult *result, const char *column,
								  TimestampTz time);

extern void evpub_result_set_null(EvpubResult *result, const char *column);

/* The row, as what the function returns.  ERROR if a column was not set. */
extern Datum evpub_result_datum(EvpubResult *result);

/* Append the row to the set, and begin another.  ERROR as above. */
extern void evpub_result_put(EvpubResult *result);

#endif							/* EVPUB_ADMIN_RESULT_H */
