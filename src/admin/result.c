/*
 * result.c
 *		The rows that functions return, filled in by the names of their columns.
 *
 * Their columns are declared by the extension's script, in each database, and
 * filled in by the library, of which a server has one.  After an installation
 * of another version the two differ until ALTER EXTENSION.  So a column is found
 * by its name, never by its place, and nothing is read as what it is not.
 *
 * A column that the script does not have is left out, since a newer library has to
 * serve the views of an older script: between the restart and ALTER EXTENSION people
 * look at evpub.status.  One that the library does not fill in is an error: the script
 * is newer, and NULL would be taken for an answer.  So a name that is misspelled here is
 * found as well.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "admin/result.h"

struct EvpubResult
{
	Oid			function;
	TupleDesc	desc;
	Tuplestorestate *store;		/* NULL: one row */
	Datum	   *values;
	bool	   *nulls;
	bool	   *set;			/* is the column set in this row? */
};

static void
refuse_version(const EvpubResult *result, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("function %s() is of another version of evpub than the library",
					get_func_name(result->function)),
			 errdetail_internal("%s", detail),
			 errhint("%s", hint)));
}

static EvpubResult *
create(FunctionCallInfo fcinfo, TupleDesc desc, Tuplestorestate *store)
{
	EvpubResult *result = palloc(sizeof(EvpubResult));

	result->function = fcinfo->flinfo->fn_oid;
	result->desc = desc;
	result->store = store;
	result->values = palloc0(sizeof(Datum) * desc->natts);
	result->nulls = palloc0(sizeof(bool) * desc->natts);
	result->set = palloc0(sizeof(bool) * desc->natts);
	return result;
}

EvpubResult *
evpub_result_row(FunctionCallInfo fcinfo)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "function %u does not return a row", fcinfo->flinfo->fn_oid);
	return create(fcinfo, BlessTupleDesc(desc), NULL);
}

EvpubResult *
evpub_result_rows(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	return create(fcinfo, set->setDesc, set->setResult);
}

/* -1: the script is older than this column. */
static int
find_column(const EvpubResult *result, const char *column)
{
	for (int i = 0; i < result->desc->natts; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(result->desc, i)->attname), column) == 0)
			return i;
	}
	return -1;
}

void
evpub_result_set(EvpubResult *result, const char *column, Oid type, Datum value)
{
	int			i = find_column(result, column);

	if (i < 0)
		return;
	if (TupleDescAttr(result->desc, i)->atttypid != type)
		refuse_version(result,
					   psprintf("Its column \"%s\" is not of type %s.", column,
								format_type_be(type)),
					   "ALTER EXTENSION evpub UPDATE.");
	result->values[i] = value;
	result->nulls[i] = false;
	result->set[i] = true;
}

void
evpub_result_set_count(EvpubResult *result, const char *column, uint64 count)
{
	evpub_result_set(result, column, INT8OID, Int64GetDatum(count));
}

void
evpub_result_set_time(EvpubResult *result, const char *column, TimestampTz time)
{
	if (time == 0)
		evpub_result_set_null(result, column);
	else
		evpub_result_set(result, column, TIMESTAMPTZOID, TimestampTzGetDatum(time));
}

void
evpub_result_set_null(EvpubResult *result, const char *column)
{
	int			i = find_column(result, column);

	if (i < 0)
		return;
	result->values[i] = (Datum) 0;
	result->nulls[i] = true;
	result->set[i] = true;
}

void
evpub_result_set_text(EvpubResult *result, const char *column, const char *text)
{
	if (text == NULL)
		evpub_result_set_null(result, column);
	else
		evpub_result_set(result, column, TEXTOID, CStringGetTextDatum(text));
}

static void
check_complete(const EvpubResult *result)
{
	for (int i = 0; i < result->desc->natts; i++)
	{
		if (!result->set[i])
			refuse_version(result,
						   psprintf("The library does not know its column \"%s\".",
									NameStr(TupleDescAttr(result->desc, i)->attname)),
						   "Install the version of evpub that extversion in pg_extension names, and restart the server.");
	}
}

Datum
evpub_result_datum(EvpubResult *result)
{
	Assert(result->store == NULL);
	check_complete(result);
	return HeapTupleGetDatum(heap_form_tuple(result->desc, result->values,
											 result->nulls));
}

void
evpub_result_put(EvpubResult *result)
{
	Assert(result->store != NULL);
	check_complete(result);
	tuplestore_putvalues(result->store, result->desc, result->values, result->nulls);
	memset(result->set, 0, sizeof(bool) * result->desc->natts);
}
