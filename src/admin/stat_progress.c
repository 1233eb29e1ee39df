/*
 * stat_progress.c
 *		What evpub.stat_progress_resync and evpub.stat_progress_catchup show.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "admin/result.h"
#include "admin/status.h"
#include "progress.h"
#include "reader/walreader.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(evpub_stat_progress_resync);
PG_FUNCTION_INFO_V1(evpub_stat_progress_catchup);

/* The rate at which the publisher moves is that of so many ms. */
#define RATE_WINDOW 10000

/* A rate of less than this, in ms, says nothing. */
#define RATE_SHORTEST 1000

/* Nobody waits for longer, in seconds: that is not known. */
#define TIME_LEFT_MOST 1e9

/*
 * What is left, at a rate in the same unit for each second; NULL if it never ends.
 * In whole seconds.
 */
static void
set_time_left(EvpubResult *row, double left, double rate)
{
	Interval   *interval;

	if (rate <= 0 || left / rate > TIME_LEFT_MOST)
	{
		evpub_result_set_null(row, "time_left");
		return;
	}
	interval = palloc0(sizeof(Interval));
	interval->time = (TimeOffset) ceil(left / rate) * USECS_PER_SEC;
	evpub_result_set(row, "time_left", INTERVALOID, IntervalPGetDatum(interval));
}

/* ---- calls of evpub.resync() ---- */

static void
set_name(EvpubResult *row, const char *column, const char *name)
{
	if (name == NULL)
		evpub_result_set_null(row, column);
	else
		evpub_result_set(row, column, NAMEOID,
						 DirectFunctionCall1(namein, CStringGetDatum(name)));
}

/* Rows of the table at which a call is now. */
static void
set_rows(EvpubResult *row, const EvpubResyncProgress *progress)
{
	EvpubMsec	elapsed = progress->rows_since == 0 ? 0 :
		evpub_clock_now() - progress->rows_since;
	double		rate = elapsed == 0 ? 0 : progress->rows_done * 1000.0 / elapsed;
	double		left = (double) progress->rows_total - progress->rows_done;

	evpub_result_set_count(row, "rows_done", progress->rows_done);
	if (progress->rows_total < 0)
		evpub_result_set_null(row, "rows_total");
	else
		evpub_result_set_count(row, "rows_total", progress->rows_total);
	if (elapsed == 0)
		evpub_result_set_null(row, "rows_per_second");
	else
		evpub_result_set(row, "rows_per_second", FLOAT8OID,
						 Float8GetDatum(rint(rate * 10) / 10));

	/* where there are more rows than were estimated, nobody knows how many more */
	set_time_left(row, left, progress->rows_total >= 0 && left >= 0 &&
				  progress->phase != EVPUB_RESYNC_FINISHING ? rate : 0);
}

static void
hide_details(EvpubResult *row)
{
	static const char *const columns[] = {
		"relid", "phase", "rows_done", "rows_total", "tables_done", "tables_total",
		"started_at", "rows_per_second", "time_left"
	};

	for (int i = 0; i < (int) lengthof(columns); i++)
		evpub_result_set_null(row, columns[i]);
}

static void
set_details(EvpubResult *row, const EvpubResyncProgress *progress)
{
	if (OidIsValid(progress->relid))
		evpub_result_set(row, "relid", OIDOID, ObjectIdGetDatum(progress->relid));
	else
		evpub_result_set_null(row, "relid");
	evpub_result_set_text(row, "phase", evpub_resync_phases[progress->phase]);
	set_rows(row, progress);
	evpub_result_set(row, "tables_done", INT4OID, Int32GetDatum(progress->tables_done));
	evpub_result_set(row, "tables_total", INT4OID, Int32GetDatum(progress->tables_total));
	evpub_result_set_time(row, "started_at", progress->started_at);
}

Datum
evpub_stat_progress_resync(PG_FUNCTION_ARGS)
{
	EvpubResult *row = evpub_result_rows(fcinfo);
	EvpubResyncProgress calls[EVPUB_RESYNC_PLACES];
	int			count = evpub_progress_resyncs(calls);

	for (int i = 0; i < count; i++)
	{
		evpub_result_set(row, "pid", INT4OID, Int32GetDatum(calls[i].pid));
		set_name(row, "datname", get_database_name(calls[i].database));

		/* as pg_stat_get_progress_info() has it */
		if (has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
			has_privs_of_role(GetUserId(), calls[i].role))
			set_details(row, &calls[i]);
		else
			hide_details(row);
		evpub_result_put(row);
	}
	return (Datum) 0;
}

/* ---- the publisher, while it catches up ---- */

/* Where it was about ten seconds ago, or when the first sample was taken. */
static const EvpubCatchupSample *
before(const EvpubCatchup *catchup, EvpubMsec now)
{
	int			i = 0;

	while (i + 1 < catchup->nsamples && now - catchup->samples[i + 1].at >= RATE_WINDOW)
		i++;
	return &catchup->samples[i];
}

static uint64
distance(XLogRecPtr from, XLogRecPtr to)
{
	return to > from ? to - from : 0;
}

/*
 * WAL is written meanwhile: so what is left ends at the rate at which it shrinks, and
 * not at the one at which the publisher moves.  Only a publisher that streams is on
 * its way; while it stands still, what it did a few seconds ago says nothing.
 */
static void
set_rates(EvpubResult *row, const EvpubCatchup *catchup, const EvpubStatus *status,
		  XLogRecPtr end)
{
	EvpubMsec	now = evpub_clock_now();
	const EvpubCatchupSample *past = before(catchup, now);
	double		seconds = (now - past->at) / 1000.0;
	uint64		left = distance(status->confirmed_lsn, end);
	uint64		left_then = distance(past->confirmed_lsn, past->end_lsn);

	if (now - past->at < RATE_SHORTEST)
	{
		evpub_result_set_null(row, "bytes_per_second");
		evpub_result_set_null(row, "time_left");
		return;
	}
	evpub_result_set_count(row, "bytes_per_second",
						   (uint64) rint(distance(past->confirmed_lsn, status->confirmed_lsn) / seconds));
	set_time_left(row, (double) left, status->state == EVPUB_STREAMING && left < left_then ?
				  (left_then - left) / seconds : 0);
}

/* One row, or none. */
Datum
evpub_stat_progress_catchup(PG_FUNCTION_ARGS)
{
	EvpubResult *row = evpub_result_rows(fcinfo);
	EvpubCatchup catchup;
	EvpubStatus status;
	XLogRecPtr	end;

	/* in this order: what is confirmed is never behind its past, nor before the end */
	evpub_progress_read_catchup(&catchup);
	if (!catchup.behind)
		return (Datum) 0;
	evpub_status_read(&status);
	end = evpub_walreader_end(NULL);

	evpub_result_set_text(row, "state", evpub_state_names[status.state]);
	evpub_result_set_time(row, "behind_since", catchup.behind_since);
	evpub_result_set(row, "from_lsn", PG_LSNOID, LSNGetDatum(catchup.from_lsn));
	evpub_result_set(row, "confirmed_lsn", PG_LSNOID, LSNGetDatum(status.confirmed_lsn));
	evpub_result_set(row, "target_lsn", PG_LSNOID, LSNGetDatum(end));
	evpub_result_set_count(row, "done_bytes", distance(catchup.from_lsn, status.confirmed_lsn));
	evpub_result_set_count(row, "left_bytes", distance(status.confirmed_lsn, end));
	set_rates(row, &catchup, &status, end);
	evpub_result_put(row);
	return (Datum) 0;
}
