/*
 * arguments.c
 *		Arguments that several functions take.
 */
#include "postgres.h"

#include <limits.h>

#include "access/htup_details.h"
#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "admin/arguments.h"

void
evpub_refuse_null(const char *argument)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s must not be null", argument),
			 errhint("Give a value for argument \"%s\".", argument)));
}

long
evpub_timeout_argument(FunctionCallInfo fcinfo, int number)
{
	Interval   *interval;
	double		ms;

	if (PG_ARGISNULL(number))
		evpub_refuse_null("timeout");
	interval = PG_GETARG_INTERVAL_P(number);
	ms = interval->time / 1000.0 +
		(interval->day + interval->month * (double) DAYS_PER_MONTH) * SECS_PER_DAY * 1000.0;
	if (ms < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative"),
				 errhint("Use '0 s' to ask without waiting.")));
	return (long) Min(ms, (double) INT_MAX);
}

HeapTuple
evpub_relation_argument(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid),
				 errhint("Name an existing table.")));
	return tuple;
}

void
evpub_check_owner(Form_pg_class form)
{
	if (!has_privs_of_role(GetUserId(), form->relowner))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, NameStr(form->relname));
}
