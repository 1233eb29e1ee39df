/*
 * shmem.c
 *		What the publisher and the backends share, and the calls by which
 *		backends reach the publisher.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "figures.h"
#include "names.h"
#include "progress.h"
#include "shmem.h"
#include "tablefigures.h"

EvpubShared *EvpubShmem = NULL;

const char *const evpub_state_names[] = {
	[EVPUB_UNCONFIGURED] = "unconfigured",
	[EVPUB_STARTING] = "starting",
	[EVPUB_STREAMING] = "streaming",
	[EVPUB_PAUSED] = "paused",
	[EVPUB_BLOCKED] = "blocked",
	[EVPUB_GAP] = "gap",
	[EVPUB_FENCED] = "fenced",
	[EVPUB_STANDBY] = "standby",
};

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;
static void (*fill) (EvpubShared *) = NULL;

static void
shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(EvpubShared)));
	RequestAddinShmemSpace(evpub_figures_size());
	RequestAddinShmemSpace(evpub_tablefigures_size());
	RequestAddinShmemSpace(evpub_progress_size());
	RequestNamedLWLockTranche(EVPUB_NAME, 3);
}

static void
shmem_startup(void)
{
	bool		found;
	LWLockPadded *locks;
	EvpubFigures *figures;
	void	   *progress;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	locks = GetNamedLWLockTranche(EVPUB_NAME);
	EvpubShmem = ShmemInitStruct(EVPUB_NAME, sizeof(EvpubShared), &found);
	if (!found)
	{
		memset(EvpubShmem, 0, sizeof(EvpubShared));
		pg_atomic_init_u64(&EvpubShmem->wanted_lsn, 0);
		pg_atomic_init_u64(&EvpubShmem->wakes, 0);
		pg_atomic_init_u32(&EvpubShmem->wake_wanted, 0);
		pg_atomic_init_u64(&EvpubShmem->registry_generation, 1);
		pg_atomic_init_u32(&EvpubShmem->registry_changers, 0);
		EvpubShmem->lock = &locks[0].lock;
		SpinLockInit(&EvpubShmem->mutex);
		ConditionVariableInit(&EvpubShmem->changed);
		EvpubShmem->status.state = EVPUB_STARTING;
		fill(EvpubShmem);
	}
	figures = ShmemInitStruct(EVPUB_NAME " figures", evpub_figures_size(), &found);
	evpub_figures_attach(figures, found, &locks[1].lock);
	evpub_tablefigures_attach(&locks[2].lock);
	progress = ShmemInitStruct(EVPUB_NAME " progress", evpub_progress_size(), &found);
	evpub_progress_attach(progress, found);
	LWLockRelease(AddinShmemInitLock);
}

void
evpub_shmem_init(void (*fill_in) (EvpubShared *))
{
	fill = fill_in;
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

bool
evpub_preloaded(void)
{
	return EvpubShmem != NULL;
}

void
evpub_require_preloaded(void)
{
	if (!evpub_preloaded())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("evpub must be loaded via shared_preload_libraries"),
				 errhint("Add evpub to shared_preload_libraries and restart the server.")));
}

void
evpub_shmem_status(EvpubStatus *status)
{
	SpinLockAcquire(&EvpubShmem->mutex);
	*status = EvpubShmem->status;
	SpinLockRelease(&EvpubShmem->mutex);
}

/*
 * The latch of a process slot lives as long as the server, so a pointer that
 * was read just before the worker ended costs no more than a spurious wake-up
 * of whoever got the slot.
 */
void
evpub_shmem_wake(void)
{
	Latch	   *latch;

	SpinLockAcquire(&EvpubShmem->mutex);
	latch = EvpubShmem->worker_latch;
	SpinLockRelease(&EvpubShmem->mutex);
	if (latch)
		SetLatch(latch);
}

/*
 * Raise the wanted position and count, then look whether the worker sleeps.
 * The worker does it the other way round: it says that it wants to be woken,
 * then looks at the count; both have a full barrier in between, so at least
 * one sees the other.  A worker that is at work, or collects commits for a few
 * milliseconds, costs the committer no system call.
 */
void
evpub_wake_publisher(XLogRecPtr lsn)
{
	uint64		old;

	if (!EvpubShmem)
		return;
	old = pg_atomic_read_u64(&EvpubShmem->wanted_lsn);
	while (old < lsn &&
		   !pg_atomic_compare_exchange_u64(&EvpubShmem->wanted_lsn, &old, lsn))
		;
	(void) pg_atomic_fetch_add_u64(&EvpubShmem->wakes, 1);
	if (pg_atomic_read_u32(&EvpubShmem->wake_wanted) != 0)
		evpub_shmem_wake();
}
