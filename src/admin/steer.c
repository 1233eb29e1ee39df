/*
 * steer.c
 *		Waiting for the publisher, and pausing it.
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "evpub.h"
#include "publisher/shmem.h"
#include "publisher/walreader.h"

PG_FUNCTION_INFO_V1(evpub_wait_published);
PG_FUNCTION_INFO_V1(evpub_pause);
PG_FUNCTION_INFO_V1(evpub_resume);

/* How long pause() and resume() wait for the worker, in ms. */
#define STEER_TIMEOUT 15000

static void
check_preloaded(void)
{
	if (!evpub_preloaded())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("evpub must be loaded via shared_preload_libraries"),
				 errhint("Add evpub to shared_preload_libraries and restart the server.")));
}

static long
interval_to_ms(const Interval *interval)
{
	double		ms = interval->time / 1000.0 +
		(interval->day + interval->month * (double) DAYS_PER_MONTH) * SECS_PER_DAY * 1000.0;

	if (ms < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative")));
	return (long) Min(ms, (double) INT_MAX);
}

/*
 * Wait until everything up to an LSN is in Kafka.  Without one: all that was
 * committed before the call, asynchronous commits included, so the worker is
 * asked to flush and read up to the end of WAL.
 */
Datum
evpub_wait_published(PG_FUNCTION_ARGS)
{
	long		timeout;
	TimestampTz started = GetCurrentTimestamp();
	XLogRecPtr	target;
	bool		published = false;

	check_preloaded();
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("recovery is in progress"),
				 errhint("Wait on the server that publishes.")));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("timeout must not be null")));
	timeout = interval_to_ms(PG_GETARG_INTERVAL_P(1));
	target = PG_ARGISNULL(0) ? evpub_walreader_insert_end() :
		evpub_walreader_before_header(PG_GETARG_LSN(0));
	evpub_wake_publisher(Min(target, evpub_walreader_insert_end()));

	ConditionVariablePrepareToSleep(&EvpubShmem->changed);
	for (;;)
	{
		EvpubStatus status;
		long		left;

		evpub_shmem_status(&status);
		published = status.publisher_id != 0 && status.confirmed_lsn >= target;
		left = timeout - TimestampDifferenceMilliseconds(started, GetCurrentTimestamp());
		if (published || left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&EvpubShmem->changed, Min(left, 1000),
										   evpub_wait_event("EvpubWaitPublished"));
	}
	ConditionVariableCancelSleep();
	PG_RETURN_BOOL(published);
}

/* Ask the worker, and wait until it has made the answer durable. */
static void
request(EvpubPauseRequest what)
{
	TimestampTz started = GetCurrentTimestamp();
	EvpubStatus status;

	check_preloaded();
	evpub_shmem_status(&status);
	if (status.publisher_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no publisher on this server"),
				 errdetail("State is \"%s\": %s.", evpub_state_names[status.state],
						   status.reason)));
	pg_atomic_write_u32(&EvpubShmem->pause_request, what);
	evpub_shmem_wake();

	ConditionVariablePrepareToSleep(&EvpubShmem->changed);
	while (pg_atomic_read_u32(&EvpubShmem->pause_request) == (uint32) what)
	{
		if (TimestampDifferenceExceeds(started, GetCurrentTimestamp(), STEER_TIMEOUT))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the evpub worker does not answer"),
					 errhint("The request stays and takes effect when it does; see evpub.status and the server log.")));
		(void) ConditionVariableTimedSleep(&EvpubShmem->changed, 1000,
										   evpub_wait_event("EvpubSteer"));
	}
	ConditionVariableCancelSleep();
	ereport(LOG,
			(errmsg("evpub: publishing was %s by user request",
					what == EVPUB_REQUEST_PAUSE ? "paused" : "resumed")));
}

Datum
evpub_pause(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	request(EVPUB_REQUEST_PAUSE);
	PG_RETURN_VOID();
}

Datum
evpub_resume(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	request(EVPUB_REQUEST_RESUME);
	PG_RETURN_VOID();
}
