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
#include "position/failurefile.h"
#include "position/statefile.h"
#include "reader/walreader.h"
#include "settings.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(evpub_status);
PG_FUNCTION_INFO_V1(evpub_topics);
PG_FUNCTION_INFO_V1(evpub_failures);

/* In status, a text that is empty says that there is none. */
static void
set_text(EvpubResult *row, const char *column, const char *text)
{
	evpub_result_set_text(row, column, text[0] ? text : NULL);
}

static void
set_lsn(EvpubResult *row, const char *column, XLogRecPtr lsn)
{
	if (lsn == InvalidXLogRecPtr)
		evpub_result_set_null(row, column);
	else
		evpub_result_set(row, column, PG_LSNOID, LSNGetDatum(lsn));
}

/* Bytes between two positions, NULL if there is no publisher. */
static void
set_distance(EvpubResult *row, const char *column, XLogRecPtr from, XLogRecPtr to)
{
	if (from == InvalidXLogRecPtr)
		evpub_result_set_null(row, column);
	else
		evpub_result_set_count(row, column, to > from ? to - from : 0);
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

static void
set_lag(EvpubResult *row, const char *column, const EvpubStatus *status)
{
	TimestampTz now = GetCurrentTimestamp();
	float8		seconds = 0;

	if (status->publisher_id == 0)
	{
		evpub_result_set_null(row, column);
		return;
	}
	if (status->oldest_unconfirmed != 0 && status->oldest_unconfirmed <= now)
		seconds = (now - status->oldest_unconfirmed) / 1000000.0;
	evpub_result_set(row, column, FLOAT8OID, Float8GetDatum(seconds));
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

/* The first thing to do here, where it is not registered: the state may be fine. */
static const char *
hint_here(const EvpubStatus *status)
{
	ObjectAddress database;

	ObjectAddressSet(database, DatabaseRelationId, MyDatabaseId);
	if (status->hint[0] || GetSecurityLabel(&database, EVPUB_NAME) != NULL)
		return status->hint;
	return "SELECT evpub.register_database();";
}

/* The one row of evpub.status. */
Datum
evpub_status(PG_FUNCTION_ARGS)
{
	EvpubResult *row = evpub_result_row(fcinfo);
	EvpubStatus status;
	XLogRecPtr	flush = evpub_walreader_end(NULL);

	evpub_status_read(&status);

	evpub_result_set_text(row, "state", evpub_state_names[status.state]);
	set_text(row, "state_reason", reason_here(&status));
	evpub_result_set_time(row, "since", status.since);
	evpub_result_set_text(row, "publisher_id", status.publisher_id == 0 ? NULL :
						  psprintf("%016llx", (unsigned long long) status.publisher_id));
	set_lsn(row, "confirmed_lsn", status.confirmed_lsn);
	set_lsn(row, "read_lsn", status.read_lsn);
	set_lsn(row, "flush_lsn", flush);
	set_distance(row, "lag_bytes", status.confirmed_lsn, flush);
	set_lag(row, "lag_seconds", &status);
	set_distance(row, "retained_bytes", status.slot_lsn, flush);
	evpub_result_set_count(row, "events_published", status.events_published);
	evpub_result_set_count(row, "transactions_published", status.transactions_published);
	evpub_result_set_count(row, "events_in_flight", status.events_in_flight);
	evpub_result_set_count(row, "forged_dropped", status.forged_dropped);
	evpub_result_set_count(row, "dead_lettered", status.dead_lettered);
	evpub_result_set_count(row, "duplicates_dropped", status.duplicates_dropped);
	evpub_result_set_count(row, "events_skipped", status.events_skipped);
	if (status.relay_pid == 0)
		evpub_result_set_null(row, "relay_pid");
	else
		evpub_result_set(row, "relay_pid", INT4OID, Int32GetDatum(status.relay_pid));
	evpub_result_set_count(row, "relay_restarts", status.relay_restarts);
	set_text(row, "last_error", status.last_error);
	evpub_result_set_time(row, "last_error_at", status.last_error_at);
	evpub_result_set_text(row, "bootstrap_servers", evpub_bootstrap_servers);
	set_text(row, "librdkafka_version", status.librdkafka_version);
	set_text(row, "hint", hint_here(&status));
	PG_RETURN_DATUM(evpub_result_datum(row));
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
		/* without an id, the offset says where the partition ended when it was pinned */
		elements[p] = Int64GetDatum(topic->last[p].offset);
		nulls[p] = topic->last[p].offset < 0 || !evpub_id_known(&topic->last[p].id);
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
	EvpubResult *row = evpub_result_rows(fcinfo);
	EvpubPosition position;
	char	   *problem;

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
		const EvpubTopic *topic = &position.topics[i];

		/*
		 * Of a topic that was accepted as made again the new count is not known
		 * before something is published to it.  Until then the most that it
		 * has had is shown, which is the number of its places.
		 */
		int32		partitions = topic->partitions > 0 ? topic->partitions : topic->nnumbers;

		evpub_result_set_text(row, "topic", topic->name);
		if (partitions > 0)
			evpub_result_set(row, "partitions", INT4OID, Int32GetDatum(partitions));
		else
			evpub_result_set_null(row, "partitions");
		evpub_result_set(row, "last_offsets", INT8ARRAYOID, offset_array(topic));
		evpub_result_put(row);
	}
	return (Datum) 0;
}

/* What went wrong lately, from its file. */
Datum
evpub_failures(PG_FUNCTION_ARGS)
{
	EvpubResult *row = evpub_result_rows(fcinfo);
	EvpubFailures *failures = palloc(sizeof(EvpubFailures));
	char	   *problem;

	switch (evpub_failurefile_read(failures, &problem))
	{
		case EVPUB_CHECKEDFILE_DAMAGED:
			ereport(WARNING,
					(errmsg("%s", problem),
					 errhint("It is written anew with the next failure.")));
			break;
		case EVPUB_CHECKEDFILE_UNREADABLE:
			ereport(WARNING, (errmsg("%s", problem)));
			break;
		case EVPUB_CHECKEDFILE_ABSENT:
		case EVPUB_CHECKEDFILE_FOUND:
			break;
	}
	for (int i = 0; i < failures->count; i++)
	{
		const EvpubFailure *failure = &failures->list[i];

		evpub_result_set_time(row, "first_at", failure->first_at);
		evpub_result_set_time(row, "last_at", failure->last_at);
		evpub_result_set_count(row, "count", failure->count);
		evpub_result_set_text(row, "kind", evpub_failure_kind(failure->kind));
		set_text(row, "topic", failure->topic);
		if (failure->partition < 0)
			evpub_result_set_null(row, "partition");
		else
			evpub_result_set(row, "partition", INT4OID, Int32GetDatum(failure->partition));
		set_text(row, "id", failure->id);
		if (failure->code == 0)
			evpub_result_set_null(row, "code");
		else
			evpub_result_set(row, "code", INT4OID, Int32GetDatum(failure->code));
		evpub_result_set_text(row, "text", failure->text);
		evpub_result_set_text(row, "done", evpub_failure_done(failure->done));
		evpub_result_put(row);
	}
	return (Datum) 0;
}
