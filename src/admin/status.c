/*
 * status.c
 *		What evpub.status and evpub.topics show.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "commands/seclabel.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "admin/result.h"
#include "admin/status.h"
#include "names.h"
#include "publisher/statefile.h"
#include "reader/walreader.h"
#include "settings.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(evpub_status);
PG_FUNCTION_INFO_V1(evpub_topics);

#define STATUS_COLUMNS 23

static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL || text[0] == '\0';
	return *isnull ? (Datum) 0 : CStringGetTextDatum(text);
}

static Datum
lsn_or_null(XLogRecPtr lsn, bool *isnull)
{
	*isnull = lsn == InvalidXLogRecPtr;
	return LSNGetDatum(lsn);
}

static Datum
time_or_null(TimestampTz time, bool *isnull)
{
	*isnull = time == 0;
	return TimestampTzGetDatum(time);
}

/* Without the worker there is no state but this one. */
static void
describe_absence(EvpubStatus *status)
{
	memset(status, 0, sizeof(*status));
	status->state = EVPUB_UNCONFIGURED;
	strlcpy(status->reason, "evpub is not in shared_preload_libraries",
			sizeof(status->reason));
	strlcpy(status->hint,
			"Add evpub to shared_preload_libraries and restart the server.",
			sizeof(status->hint));
}

void
evpub_status_read(EvpubStatus *status)
{
	pid_t		worker;

	if (!EvpubShmem)
	{
		describe_absence(status);
		return;
	}
	SpinLockAcquire(&EvpubShmem->mutex);
	*status = EvpubShmem->status;
	worker = EvpubShmem->worker_pid;
	SpinLockRelease(&EvpubShmem->mutex);
	if (worker == 0)
		status->relay_pid = 0;
	if (worker == 0 && !status->failed)
	{
		status->state = EVPUB_STARTING;
		strlcpy(status->reason,
				"the evpub worker does not run; it starts within seconds, unless max_worker_processes leaves no room",
				sizeof(status->reason));
		strlcpy(status->hint,
				"See the server log. If there is no room for the worker, increase max_worker_processes and restart the server.",
				sizeof(status->hint));
	}
}

/* Bytes between two positions, NULL if there is no publisher. */
static Datum
distance(XLogRecPtr from, XLogRecPtr to, bool *isnull)
{
	*isnull = from == InvalidXLogRecPtr;
	return Int64GetDatum(to > from ? (int64) (to - from) : 0);
}

static Datum
lag_seconds(const EvpubStatus *status, bool *isnull)
{
	TimestampTz now = GetCurrentTimestamp();

	*isnull = status->publisher_id == 0;
	if (status->oldest_unconfirmed == 0 || status->oldest_unconfirmed > now)
		return Float8GetDatum(0);
	return Float8GetDatum((now - status->oldest_unconfirmed) / 1000000.0);
}

/*
 * The state's reason; in a database that is not registered also that, since it
 * publishes nothing in whatever state.
 */
static const char *
reason_here(const EvpubStatus *status)
{
	ObjectAddress database;

	ObjectAddressSet(database, DatabaseRelationId, MyDatabaseId);
	if (GetSecurityLabel(&database, EVPUB_NAME) != NULL)
		return status->reason;
	return psprintf("%s%sthis database is not registered: its changes are not published before SELECT evpub.register_database()",
					status->reason, status->reason[0] ? "; " : "");
}

/* The one row of evpub.status. */
Datum
evpub_status(PG_FUNCTION_ARGS)
{
	EvpubStatus status;
	TupleDesc	desc = evpub_result_row(fcinfo, STATUS_COLUMNS);
	Datum		values[STATUS_COLUMNS];
	bool		nulls[STATUS_COLUMNS];
	XLogRecPtr	flush = evpub_walreader_end(NULL);
	int			i = 0;

	memset(nulls, 0, sizeof(nulls));
	evpub_status_read(&status);

	values[i++] = CStringGetTextDatum(evpub_state_names[status.state]);
	values[i] = text_or_null(reason_here(&status), &nulls[i]);
	i++;
	values[i] = time_or_null(status.since, &nulls[i]);
	i++;
	if (status.publisher_id == 0)
		nulls[i++] = true;
	else
		values[i++] = CStringGetTextDatum(psprintf("%016llx",
												   (unsigned long long) status.publisher_id));
	values[i] = lsn_or_null(status.confirmed_lsn, &nulls[i]);
	i++;
	values[i] = lsn_or_null(status.read_lsn, &nulls[i]);
	i++;
	values[i] = lsn_or_null(flush, &nulls[i]);
	i++;
	values[i] = distance(status.confirmed_lsn, flush, &nulls[i]);
	i++;
	values[i] = lag_seconds(&status, &nulls[i]);
	i++;
	values[i] = distance(status.slot_lsn, flush, &nulls[i]);
	i++;
	values[i++] = Int64GetDatum(status.events_published);
	values[i++] = Int64GetDatum(status.transactions_published);
	values[i++] = Int64GetDatum(status.events_in_flight);
	values[i++] = Int64GetDatum(status.forged_dropped);
	values[i++] = Int64GetDatum(0); /* dead_lettered: no dead letters yet */
	values[i++] = Int64GetDatum(0); /* duplicates_dropped: no read-back yet */
	nulls[i] = status.relay_pid == 0;
	values[i++] = Int32GetDatum(status.relay_pid);
	values[i++] = Int64GetDatum(status.relay_restarts);
	values[i] = text_or_null(status.last_error, &nulls[i]);
	i++;
	values[i] = time_or_null(status.last_error_at, &nulls[i]);
	i++;
	values[i++] = CStringGetTextDatum(evpub_bootstrap_servers);
	values[i] = text_or_null(status.librdkafka_version, &nulls[i]);
	i++;
	values[i] = text_or_null(status.hint, &nulls[i]);
	i++;

	Assert(i == STATUS_COLUMNS);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

static Datum
offset_array(const EvpubTopic *topic)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(topic->partitions, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(topic->partitions, 1));
	int			dims[1] = {Max(topic->partitions, 0)};
	int			lower[1] = {0};

	for (int32 p = 0; p < topic->partitions; p++)
	{
		elements[p] = Int64GetDatum(topic->offsets[p]);
		nulls[p] = topic->offsets[p] < 0;
	}
	if (topic->partitions <= 0)
		return PointerGetDatum(construct_empty_array(INT8OID));
	return PointerGetDatum(construct_md_array(elements, nulls, 1, dims, lower,
											  INT8OID, sizeof(int64),
											  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Topics that were published to, from the state file. */
Datum
evpub_topics(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EvpubPosition position;
	char	   *problem;

	(void) evpub_result_row(fcinfo, 3);
	InitMaterializedSRF(fcinfo, 0);
	if (evpub_statefile_read(&position, &problem) != EVPUB_STATEFILE_FOUND)
	{
		if (problem)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("%s", problem),
					 errhint("evpub.status and evpub.check() say what to do.")));
		return (Datum) 0;
	}
	for (int i = 0; i < position.ntopics; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};
		int32		partitions;

		values[0] = CStringGetTextDatum(position.topics[i].name);
		/*
		 * Of a topic that was accepted as made again the new count is not known
		 * before something is published to it.  Until then the most that it
		 * has had is shown, which is the number of its places.
		 */
		partitions = position.topics[i].partitions > 0 ?
			position.topics[i].partitions : position.topics[i].nplaces;
		nulls[1] = partitions <= 0;
		values[1] = Int32GetDatum(partitions);
		values[2] = offset_array(&position.topics[i]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
