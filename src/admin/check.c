/*
 * check.c
 *		What evpub.check() cannot learn from a catalog or from evpub.status.
 *
 * Nothing here throws for what the check is to report: a damaged file or a
 * missing library is an answer.
 */
#include "postgres.h"

#include <sys/statvfs.h>

#include "access/xlog_internal.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

#include "admin/result.h"
#include "publisher/statefile.h"
#include "settings.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(evpub_check_server);
PG_FUNCTION_INFO_V1(evpub_open_transactions);
PG_FUNCTION_INFO_V1(evpub_small_topics);

#define SERVER_COLUMNS 7

/* The worker's process id and its status; false if it does not run. */
static bool
read_worker(EvpubStatus *status, pid_t *pid)
{
	if (!EvpubShmem)
		return false;
	SpinLockAcquire(&EvpubShmem->mutex);
	*status = EvpubShmem->status;
	*pid = EvpubShmem->worker_pid;
	SpinLockRelease(&EvpubShmem->mutex);
	return *pid != 0;
}

static const char *
role_name(EvpubRole role)
{
	switch (role)
	{
		case EVPUB_ROLE_CREATING:
			return "creating";
		case EVPUB_ROLE_ACTIVE:
			return "active";
		case EVPUB_ROLE_FOLLOWING:
			return "following";
		case EVPUB_ROLE_GAP:
			return "gap";
		case EVPUB_ROLE_FENCED:
			return "fenced";
		case EVPUB_ROLE_RETIRED:
			return "retired";
		case EVPUB_ROLE_NONE:
			break;
	}
	return "unknown";
}

/* What the state file is: "found", with its role, "absent", or "damaged". */
static const char *
state_file(const char **detail)
{
	EvpubPosition position;
	char	   *problem;

	*detail = NULL;
	switch (evpub_statefile_read(&position, &problem))
	{
		case EVPUB_STATEFILE_ABSENT:
			return "absent";
		case EVPUB_STATEFILE_FOUND:
			*detail = role_name(position.role);
			return "found";
		case EVPUB_STATEFILE_DAMAGED:
			break;
	}
	*detail = problem;
	return "damaged";
}

/* One row: whether evpub is preloaded, its worker, its file, and pg_wal's disk. */
Datum
evpub_check_server(PG_FUNCTION_ARGS)
{
	TupleDesc	desc = evpub_result_row(fcinfo, SERVER_COLUMNS);
	Datum		values[SERVER_COLUMNS];
	bool		nulls[SERVER_COLUMNS];
	EvpubStatus status;
	pid_t		worker = 0;
	const char *detail;
	struct statvfs disk;

	memset(nulls, 0, sizeof(nulls));

	values[0] = BoolGetDatum(evpub_preloaded());
	nulls[1] = !read_worker(&status, &worker);
	values[1] = Int32GetDatum(worker);
	values[2] = CStringGetTextDatum(state_file(&detail));
	nulls[3] = detail == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(detail);

	/* as the worker counts (limits.c) */
	if (statvfs(XLOGDIR, &disk) == 0)
	{
		uint64		total = (uint64) disk.f_blocks * disk.f_frsize;

		values[4] = Int64GetDatum((uint64) disk.f_bavail * disk.f_frsize);
		values[5] = Int64GetDatum(total);
		values[6] = Int64GetDatum(evpub_min_disk_free_bytes(total));
	}
	else
		nulls[4] = nulls[5] = nulls[6] = true;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/* The oldest open transactions with events, as the worker last saw them. */
Datum
evpub_open_transactions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EvpubStatus status;
	pid_t		worker;

	(void) evpub_result_row(fcinfo, 3);
	InitMaterializedSRF(fcinfo, 0);
	if (!read_worker(&status, &worker))
		return (Datum) 0;
	for (int i = 0; i < status.nholders; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = TransactionIdGetDatum(status.holders[i].xid);
		values[1] = LSNGetDatum(status.holders[i].lsn);
		values[2] = BoolGetDatum(status.holders[i].prepared);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* Topics that do not take every event, as the worker knows; NULL: none. */
Datum
evpub_small_topics(PG_FUNCTION_ARGS)
{
	EvpubStatus status;
	pid_t		worker;

	if (!read_worker(&status, &worker) || !status.small_topics[0])
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(status.small_topics));
}
