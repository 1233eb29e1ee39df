/*
 * recovery.c
 *		Was this data directory restored, or is it a standby's?
 *
 * A restored server and a standby are copies, perhaps of a server that publishes,
 * and must not take its state file for their own.  The signs (recovery.signal,
 * standby.signal, backup_label) are gone a moment after recovery, or removed by hand; the
 * worker starts too late to see them, with hot_standby = off much too late.
 * So the postmaster looks, before recovery begins, and leaves a mark beside the
 * state file, which stays until the worker has taken it in.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "common/file_perm.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "position/statefile.h"
#include "publisher/recovery.h"

static bool
file_exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

/* The postmaster must start whatever happens here. */
static void
leave_mark(void)
{
	int			fd = open(EVPUB_RECOVERED_FILE, O_WRONLY | O_CREAT | PG_BINARY,
						  pg_file_create_mode);

	if (fd < 0 || pg_fsync(fd) != 0)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", EVPUB_RECOVERED_FILE),
				 errhint("If this server is a copy of one that publishes, remove directory \"%s\" before it is promoted.",
						 EVPUB_STATE_DIRECTORY)));
	if (fd >= 0)
		close(fd);
	fsync_fname_ext(EVPUB_STATE_DIRECTORY, true, false, LOG);
}

bool
evpub_recovery_note(void)
{
	if (!file_exists(RECOVERY_SIGNAL_FILE) &&
		!file_exists(STANDBY_SIGNAL_FILE) &&
		!file_exists(BACKUP_LABEL_FILE))
		return false;
	if (file_exists(EVPUB_STATE_FILE))
		leave_mark();
	return true;
}

bool
evpub_recovery_standby(void)
{
	/* the signal file of a standby counts if both are there */
	return file_exists(STANDBY_SIGNAL_FILE) &&
		recoveryTarget == RECOVERY_TARGET_UNSET;
}

void
evpub_recovery_fence(void)
{
	MemoryContext old;
	EvpubPosition position;
	EvpubStatefileFound found;
	char	   *problem;

	if (!file_exists(EVPUB_RECOVERED_FILE))
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	found = evpub_statefile_read(&position, &problem);
	if (found == EVPUB_STATEFILE_DAMAGED)
	{
		/* a copy, too; what it says is not needed to know that */
		ereport(WARNING, (errmsg("evpub: %s: renamed it to \"%s\"", problem, EVPUB_STATE_DAMAGED)));
		evpub_statefile_set_aside();
		memset(&position, 0, sizeof(position));
		evpub_statefile_settle(&position, 0);
	}
	if (found != EVPUB_STATEFILE_ABSENT && position.role != EVPUB_ROLE_FENCED)
	{
		position.role = EVPUB_ROLE_FENCED;
		evpub_statefile_write(&position);
	}
	MemoryContextSwitchTo(old);
	if (unlink(EVPUB_RECOVERED_FILE) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", EVPUB_RECOVERED_FILE)));
	fsync_fname(EVPUB_STATE_DIRECTORY, true);
}
