/*
 * limits.c
 *		How much WAL may be kept for publishing.
 *
 * The database outlives its publisher: when a broker is away for so long that
 * WAL would fill the disk, the backlog is given up, and a gap remains.
 */
#include "postgres.h"

#include <sys/statvfs.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"

#include "publisher/limits.h"
#include "publisher/slot.h"
#include "publisher/state.h"
#include "settings.h"

#define CHECK_INTERVAL 1000		/* ms */

/*
 * A start, a new relay, an election in the cluster: after so long, in ms, it is
 * not one of these that keeps events from flowing.
 */
#define HINDERED_PATIENCE 10000

/* WAL that publishing needs; the slot lags behind by up to a segment. */
static uint64
needed_bytes(const EvpubWorker *worker, XLogRecPtr end)
{
	XLogRecPtr	from = evpub_slot_position();

	/* the start is where the state file says, and that a little too early */
	if (worker->streaming && !worker->stream.queue.caught_up)
		from = Min(end, worker->position.restart_lsn + 3 * (uint64) wal_segment_size);
	else if (worker->streaming)
		from = evpub_stream_restart_lsn((EvpubStream *) &worker->stream);
	else if (worker->position.role == EVPUB_ROLE_GAP && worker->position.gap.given_up)
		from = worker->position.gap.to_lsn;
	return end > from ? end - from : 0;
}

/* Events flow, and so will what is kept. */
static bool
healthy(const EvpubWorker *worker)
{
	return worker->verdict == EVPUB_PUBLISH && worker->answered &&
		!worker->position.paused && !worker->trouble[0] &&
		!evpub_state_relay_silent(worker) &&
		worker->hindrance == EVPUB_HINDRANCE_NONE;
}

static bool
hindered(const EvpubWorker *worker)
{
	return worker->hindered_since != 0 &&
		evpub_clock_passed(worker->hindered_since, HINDERED_PATIENCE);
}

/* Why the backlog must go, or NULL; *disk_full: for want of space. */
static char *
limit_reached(const EvpubWorker *worker, uint64 needed, bool *disk_full)
{
	struct statvfs disk;
	uint64		free_bytes;
	uint64		wanted;

	*disk_full = false;

	/*
	 * Once the backlog is given up, the end moves on by segments: less would
	 * free nothing, and costs a checkpoint each time.
	 */
	if (evpub_max_lag_size >= 0 &&
		needed > (uint64) evpub_max_lag_size * 1024 * 1024 &&
		(worker->verdict == EVPUB_PUBLISH || needed >= 2 * (uint64) wal_segment_size))
		return psprintf("%llu MB of WAL are not published, more than evpub.max_lag_size allows",
						(unsigned long long) (needed / (1024 * 1024)));

	/* without a backlog there is nothing to win */
	if (needed < 2 * (uint64) wal_segment_size || statvfs(XLOGDIR, &disk) != 0)
		return NULL;
	free_bytes = (uint64) disk.f_bavail * disk.f_frsize;
	wanted = evpub_min_disk_free_bytes((uint64) disk.f_blocks * disk.f_frsize);

	/* a burst while the disk is filled by others must not cost events */
	*disk_full = free_bytes < wanted && (needed >= free_bytes || hindered(worker));
	if (*disk_full)
		return psprintf("the file system of pg_wal has %llu MB left, less than evpub.min_disk_free wants, and %llu MB of WAL are not published",
						(unsigned long long) (free_bytes / (1024 * 1024)),
						(unsigned long long) (needed / (1024 * 1024)));
	return NULL;
}

char *
evpub_limits_reached(EvpubWorker *worker, bool *disk_full)
{
	EvpubMsec	now = evpub_clock_now();

	*disk_full = false;
	if (evpub_slot_position() == InvalidXLogRecPtr ||
		!evpub_clock_passed(worker->limits_checked_at, CHECK_INTERVAL))
		return NULL;
	worker->limits_checked_at = now;
	if (healthy(worker))
		worker->hindered_since = 0;
	else if (worker->hindered_since == 0)
		worker->hindered_since = now;
	return limit_reached(worker, needed_bytes(worker, evpub_walreader_end(NULL)),
						 disk_full);
}
