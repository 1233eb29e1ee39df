/*
 * replayed.c
 *		evpub.wait_replayed(): for readers of a replica.
 *
 * An event is published when its row can be read on the primary.  On a standby
 * the row is there when replay has come to the event's lsn.  Nobody announces
 * how far replay is, so it is looked at again and again, first after a
 * millisecond, later more seldom.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/pg_lsn.h"

#include "admin/arguments.h"
#include "clock.h"
#include "compat.h"
#include "reader/walreader.h"

PG_FUNCTION_INFO_V1(evpub_wait_replayed);

/* Milliseconds between two looks. */
#define FIRST_PAUSE 1
#define LONGEST_PAUSE 50

/* A primary has what it has flushed; a standby may be promoted while we wait. */
static bool
is_replayed(XLogRecPtr lsn)
{
	if (RecoveryInProgress())
		return GetXLogReplayRecPtr(NULL) >= lsn;
	return GetFlushRecPtr(NULL) >= lsn;
}

Datum
evpub_wait_replayed(PG_FUNCTION_ARGS)
{
	EvpubMsec	started = evpub_clock_now();
	long		pause = FIRST_PAUSE;
	long		timeout;
	XLogRecPtr	lsn;

	if (PG_ARGISNULL(0))
		evpub_refuse_null("lsn");
	lsn = evpub_walreader_before_header(PG_GETARG_LSN(0));
	timeout = evpub_timeout_argument(fcinfo, 1);

	while (!is_replayed(lsn))
	{
		long		left = timeout - (evpub_clock_now() - started);

		if (left <= 0)
			PG_RETURN_BOOL(false);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(left, pause), evpub_wait_event("EvpubWaitReplayed"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		pause = Min(pause * 2, LONGEST_PAUSE);
	}
	PG_RETURN_BOOL(true);
}
