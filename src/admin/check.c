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
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

#include "admin/result.h"
#include "position/statefile.h"
#include "settings.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(evpub_check_server);
PG_FUNCTION_INFO_V1(evpub_open_transactions);
PG_FUNCTION_INFO_V1(evpub_small_topics);

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
	EvpubResult *row = evpub_result_row(fcinfo);
	EvpubStatus status;
	pid_t		worker = 0;
	const char *detail;
	struct statvfs disk;

	evpub_result_set(row, "preloaded", BOOLOID, BoolGetDatum(evpub_preloaded()));
	if (read_worker(&status, &worker))
		evpub_result_set(row, "worker_pid", INT4OID, Int32GetDatum(worker));
	else
		evpub_result_set_null(row, "worker_pid");
	evpub_result_set_text(row, "file", state_file(&detail));
	evpub_result_set_text(row, "file_detail", detail);

	/* as the worker counts (limits.c) */
	if (statvfs(XLOGDIR, &disk) == 0)
	{
		uint64		total = (uint64) disk.f_blocks * disk.f_frsize;

		evpub_result_set(row, "disk_free", INT8OID,
						 Int64GetDatum((uint64) disk.f_bavail * disk.f_frsize));
		evpub_result_set(row, "disk_total", INT8OID, Int64GetDatum(total));
		evpub_result_set(row, "disk_reserved", INT8OID,
						 Int64GetDatum(evpub_min_disk_free_bytes(total)));
	}
	else
	{
		evpub_result_set_null(row, "disk_free");
		evpub_result_set_null(row, "disk_total");
		evpub_result_set_null(row, "disk_reserved");
	}
	PG_RETURN_DATUM(evpub_result_datum(row));
}

/* The oldest open transactions with events, as the worker last saw them. */
Datum
evpub_open_transactions(PG_FUNCTION_ARGS)
{
	EvpubResult *row = evpub_result_rows(fcinfo);
	EvpubStatus status;
	pid_t		worker;

	if (!read_worker(&status, &worker))
		return (Datum) 0;
	for (int i = 0; i < status.nholders; i++)
	{
		evpub_result_set(row, "xid", XIDOID, TransactionIdGetDatum(status.holders[i].xid));
		evpub_result_set(row, "first_lsn", PG_LSNOID, LSNGetDatum(status.holders[i].lsn));
		evpub_result_set(row, "prepared", BOOLOID, BoolGetDatum(status.holders[i].prepared));
		evpub_result_put(row);
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
