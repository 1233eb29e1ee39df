/*
 * progress.c
 *		How far long work is, in shared memory.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "progress.h"

typedef struct ResyncPlace
{
	slock_t		mutex;
	EvpubResyncProgress progress;
} ResyncPlace;

typedef struct ProgressShared
{
	ResyncPlace resyncs[EVPUB_RESYNC_PLACES];
	slock_t		mutex;			/* of catchup */
	EvpubCatchup catchup;
} ProgressShared;

const char *const evpub_resync_phases[] = {
	[EVPUB_RESYNC_CHECKING] = "checking",
	[EVPUB_RESYNC_STARTING] = "starting",
	[EVPUB_RESYNC_SETTLING] = "waiting for commits to be visible",
	[EVPUB_RESYNC_PUBLISHING] = "publishing rows",
	[EVPUB_RESYNC_LOCKED] = "waiting for a locked row",
	[EVPUB_RESYNC_FINISHING] = "finishing",
};

/* NULL when not preloaded. */
static ProgressShared *shared = NULL;

/* This backend's; NULL: it has none. */
static ResyncPlace *mine = NULL;

Size
evpub_progress_size(void)
{
	return MAXALIGN(sizeof(ProgressShared));
}

void
evpub_progress_attach(void *memory, bool found)
{
	shared = memory;
	if (found)
		return;
	memset(shared, 0, sizeof(ProgressShared));
	for (int i = 0; i < EVPUB_RESYNC_PLACES; i++)
		SpinLockInit(&shared->resyncs[i].mutex);
	SpinLockInit(&shared->mutex);
}

/* ---- calls of evpub.resync() ---- */

/* A session that is terminated comes here alone: no error is caught on its way. */
static void
give_back(int code, Datum argument)
{
	(void) code;
	(void) argument;
	evpub_progress_resync_end();
}

void
evpub_progress_resync_begin(int tables)
{
	static bool registered = false;
	EvpubResyncProgress progress = {
		.pid = MyProcPid,
		.role = GetSessionUserId(),
		.database = MyDatabaseId,
		.tables_total = tables,
		.started_at = GetCurrentTimestamp(),
		.phase = EVPUB_RESYNC_CHECKING,
		.rows_total = -1,
	};

	if (!shared)
		return;
	if (!registered)
		on_shmem_exit(give_back, (Datum) 0);
	registered = true;
	for (int i = 0; i < EVPUB_RESYNC_PLACES && mine == NULL; i++)
	{
		ResyncPlace *place = &shared->resyncs[i];

		SpinLockAcquire(&place->mutex);
		if (place->progress.pid == 0)
		{
			place->progress = progress;
			mine = place;
		}
		SpinLockRelease(&place->mutex);
	}
}

void
evpub_progress_resync_end(void)
{
	if (mine == NULL)
		return;
	SpinLockAcquire(&mine->mutex);
	mine->progress.pid = 0;
	SpinLockRelease(&mine->mutex);
	mine = NULL;
}

void
evpub_progress_resync_table(Oid relid, int64 rows_total)
{
	if (mine == NULL)
		return;
	SpinLockAcquire(&mine->mutex);
	mine->progress.relid = relid;
	mine->progress.rows_total = rows_total;
	mine->progress.rows_done = 0;
	mine->progress.rows_since = 0;
	mine->progress.phase = EVPUB_RESYNC_STARTING;
	SpinLockRelease(&mine->mutex);
}

void
evpub_progress_resync_phase(EvpubResyncPhase phase, uint64 rows_done)
{
	EvpubMsec	now = evpub_clock_now();

	if (mine == NULL)
		return;
	SpinLockAcquire(&mine->mutex);
	mine->progress.phase = phase;
	mine->progress.rows_done = rows_done;
	if (phase == EVPUB_RESYNC_PUBLISHING && mine->progress.rows_since == 0)
		mine->progress.rows_since = now;
	SpinLockRelease(&mine->mutex);
}

void
evpub_progress_resync_table_done(void)
{
	if (mine == NULL)
		return;
	SpinLockAcquire(&mine->mutex);
	mine->progress.tables_done++;
	SpinLockRelease(&mine->mutex);
}

int
evpub_progress_resyncs(EvpubResyncProgress copies[EVPUB_RESYNC_PLACES])
{
	int			count = 0;

	for (int i = 0; shared && i < EVPUB_RESYNC_PLACES; i++)
	{
		ResyncPlace *place = &shared->resyncs[i];

		SpinLockAcquire(&place->mutex);
		copies[count] = place->progress;
		SpinLockRelease(&place->mutex);
		if (copies[count].pid != 0)
			count++;
	}
	return count;
}

/* ---- the publisher, while it catches up ---- */

void
evpub_progress_write_catchup(const EvpubCatchup *catchup)
{
	SpinLockAcquire(&shared->mutex);
	shared->catchup = *catchup;
	SpinLockRelease(&shared->mutex);
}

void
evpub_progress_read_catchup(EvpubCatchup *catchup)
{
	if (!shared)
	{
		memset(catchup, 0, sizeof(EvpubCatchup));
		return;
	}
	SpinLockAcquire(&shared->mutex);
	*catchup = shared->catchup;
	SpinLockRelease(&shared->mutex);
}
