/*
 * result.c
 *		The rows that functions return.
 *
 * Their columns are declared by the extension's script, in each database, and
 * filled in by the library, of which a server has one.  After an installation
 * of another version the two differ until ALTER EXTENSION, and nothing may be
 * read or written beyond what both know.
 */
#include "postgres.h"

#include "utils/lsyscache.h"

#include "admin/result.h"

TupleDesc
evpub_result_row(FunctionCallInfo fcinfo, int columns)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != columns)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("function %s() is of another version of evpub than the library",
						get_func_name(fcinfo->flinfo->fn_oid)),
				 errdetail("The library returns %d columns.", columns),
				 errhint("ALTER EXTENSION evpub UPDATE.")));
	return desc;
}
