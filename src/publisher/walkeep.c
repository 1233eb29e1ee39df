/*
 * walkeep.c
 *		WAL that a checkpoint removes although the slot needs it.
 *
 * Before 18, a checkpoint asks at its beginning what the slots need, and removes
 * WAL at its end, which may be minutes later.  A slot that was made meanwhile, or
 * moved back, and needs WAL from before the checkpoint, comes too late: PostgreSQL
 * invalidates it ("exceeds max_slot_wal_keep_size", though that is not set) and
 * removes the WAL.  This is how take_over() right after a promotion would lose
 * what the old primary had not published, since each promotion makes a
 * checkpoint.
 *
 * Nothing can make the checkpoint change its mind.  But before it invalidates
 * our slot it asks us to release it, by SIGTERM, and waits until we have done
 * so; up to then all WAL is there.  So the segments that it is going to remove
 * are set aside before the slot is released.  The next worker makes its slot valid
 * again, so that from then on every checkpoint asks before it removes them, waits
 * until this one has removed the rest, and puts them back.
 *
 * Safe, because the checkpoint is complete at that time: crash recovery begins
 * behind what is set aside, and nobody else can count on segments that would be
 * gone a moment later; those that stay for others are not touched.  One that is
 * not archived yet is not touched, since the checkpoint leaves it alone, too,
 * and the archiver must find it.  A crash in between leaves them aside for the
 * next start.  If another checkpoint has begun before the slot was valid again,
 * all of this happens once more.
 *
 * From 18 on, a checkpoint asks right before it removes WAL.  A slot that comes
 * between the two is treated as before 18, so this is for all versions.
 *
 * What is left, each a gap and not a silent loss: a slot that is made between the
 * last look that a checkpoint takes at the slots and the removal that follows at
 * once; a worker that is not there when the checkpoint looks, since the server is
 * stopped or the worker was just ended, so that nobody is asked; a segment that is
 * archived after we left it to the archiver and before the checkpoint comes to it,
 * which is in the archive then.
 */
#include "postgres.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogarchive.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "replication/slot.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "storage/proc.h"

#include "compat.h"
#include "publisher/slot.h"
#include "publisher/walkeep.h"
#include "reader/walreader.h"

/* Look so often whether a checkpoint has removed what it removes, in ms. */
#define CHECKPOINT_LOOK 20

/* Who has asked the worker to leave, other than the postmaster; 0: nobody. */
static volatile sig_atomic_t asked_by = 0;

static void
handle_terminate(int signal_number, siginfo_t *info, void *context)
{
	(void) context;
	if (info->si_code == SI_USER && info->si_pid != PostmasterPid)
		asked_by = info->si_pid;
	SignalHandlerForShutdownRequest(signal_number);
}

void
evpub_walkeep_install(void)
{
	struct sigaction action;

	/* pqsignal() would not tell who has sent it */
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = handle_terminate;
	action.sa_flags = SA_SIGINFO | SA_RESTART;
	sigemptyset(&action.sa_mask);
	(void) sigaction(SIGTERM, &action, NULL);
}

/* ---- setting aside ---- */

/*
 * Of the auxiliary processes only the checkpointer ends those who hold a slot.
 * It has set the redo position of its checkpoint long before.
 */
static bool
checkpoint_wants_slot(void)
{
	return asked_by != 0 && AuxiliaryPidGetProc(asked_by) != NULL;
}

/* As PostgreSQL counts: half a segment keeps nothing. */
static uint64
whole_segments(int megabytes)
{
	return (uint64) megabytes * 1024 * 1024 / wal_segment_size;
}

/* Then it is no race, but what the administrator wants. */
static bool
exceeds_setting(XLogRecPtr from)
{
	XLogSegNo	first;
	XLogSegNo	last;

	XLByteToSeg(from, first, wal_segment_size);
	XLByteToSeg(GetXLogInsertRecPtr(), last, wal_segment_size);
	return max_slot_wal_keep_size_mb >= 0 && last > first &&
		last - first > whole_segments(max_slot_wal_keep_size_mb);
}

/*
 * WAL from here on stays whatever the checkpoint does: for other slots, for
 * wal_keep_size, for the summarizer of 17 and later.  It must stay where it is,
 * since others may be reading it.  A slot that is as young as ours is not known
 * to the checkpoint, and taken for one that is: then less is set aside.
 */
static XLogRecPtr
kept_for_others(void)
{
	XLogRecPtr	end = GetXLogInsertRecPtr();
	uint64		setting = whole_segments(wal_keep_size_mb) * wal_segment_size;
	XLogRecPtr	kept = end > setting ? end - setting : 1;
	XLogRecPtr	unsummarized = evpub_oldest_unsummarized();

	if (unsummarized != InvalidXLogRecPtr)
		kept = Min(kept, unsummarized);
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
		XLogRecPtr	needed;

		if (!slot->in_use || slot == MyReplicationSlot)
			continue;
		SpinLockAcquire(&slot->mutex);
		needed = evpub_slot_invalidated(slot) ? InvalidXLogRecPtr : slot->data.restart_lsn;
		SpinLockRelease(&slot->mutex);
		if (needed != InvalidXLogRecPtr)
			kept = Min(kept, needed);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return kept;
}

static bool
make_directory(void)
{
	if (MakePGDirectory(EVPUB_WALKEEP_DIRECTORY) == 0 || errno == EEXIST)
		return true;
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not create directory \"%s\": %m",
					EVPUB_WALKEEP_DIRECTORY)));
	return false;
}

static void
paths_of(const char *segment, char *place, char *kept)
{
	snprintf(place, MAXPGPATH, XLOGDIR "/%s", segment);
	snprintf(kept, MAXPGPATH, EVPUB_WALKEEP_DIRECTORY "/%s", segment);
}

/* Those of [first, end), of every timeline; returns how many. */
static int
set_segments_aside(XLogSegNo first, XLogSegNo end)
{
	DIR		   *dir = AllocateDir(XLOGDIR);
	struct dirent *entry;
	int			count = 0;

	/* says so if it could not be opened */
	while ((entry = ReadDirExtended(dir, XLOGDIR, LOG)) != NULL)
	{
		TimeLineID	timeline;
		XLogSegNo	segment;
		char		place[MAXPGPATH];
		char		kept[MAXPGPATH];

		if (!IsXLogFileName(entry->d_name))
			continue;
		XLogFromFileName(entry->d_name, &timeline, &segment, wal_segment_size);
		if (segment < first || segment >= end ||
			!XLogArchiveCheckDone(entry->d_name))
			continue;
		paths_of(entry->d_name, place, kept);
		if (rename(place, kept) == 0)
			count++;
		else
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not rename file \"%s\" to \"%s\": %m", place, kept)));
	}
	if (dir)
		FreeDir(dir);
	fsync_fname_ext(EVPUB_WALKEEP_DIRECTORY, true, false, LOG);
	fsync_fname_ext(XLOGDIR, true, false, LOG);
	return count;
}

void
evpub_walkeep_leave(void)
{
	XLogRecPtr	from = evpub_slot_position();
	XLogSegNo	first;
	XLogSegNo	end;
	int			count;

	if (from == InvalidXLogRecPtr || !checkpoint_wants_slot() ||
		exceeds_setting(from))
		return;
	XLByteToSeg(from, first, wal_segment_size);
	XLByteToSeg(Min(GetRedoRecPtr(), kept_for_others()), end, wal_segment_size);

	/* the position may have moved on since we were asked */
	if (first >= end || !make_directory())
		return;
	count = set_segments_aside(first, end);
	ereport(LOG,
			(errmsg("evpub: a checkpoint that began before the replication slot was there is going to remove WAL that it needs; set %d segments aside",
					count)));
}

/* ---- putting back ---- */

/*
 * Can the checkpointer be removing WAL because of a look at the slots that it
 * took before we made ours valid?  Not if it waits for its next checkpoint, if it
 * still writes pages, which it does before that look, or if a checkpoint has
 * begun since then.
 */
static bool
may_be_removing(XLogRecPtr redo)
{
	if (GetRedoRecPtr() != redo)
		return false;
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		const volatile PGPROC *proc = &ProcGlobal->allProcs[i];
		uint32		event = proc->wait_event_info;

		/* only the checkpointer waits in these ways; what ended waits for nothing */
		if (proc->pid != 0 && (event == WAIT_EVENT_CHECKPOINTER_MAIN ||
							   event == WAIT_EVENT_CHECKPOINT_WRITE_DELAY))
			return false;
	}
	return true;
}

/*
 * However long that takes: what is put back earlier would be removed.  If that
 * checkpoint has yet to look at the slots, it asks us to leave, and the next
 * worker waits again.
 */
static void
wait_for_removal(XLogRecPtr redo)
{
	while (may_be_removing(redo) && !ShutdownRequestPending)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 CHECKPOINT_LOOK, evpub_wait_event("EvpubCheckpoint"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* A name may be anything's: only a whole segment may get into pg_wal. */
static bool
is_segment(const char *name)
{
	struct stat st;
	char		place[MAXPGPATH];
	char		kept[MAXPGPATH];

	if (!IsXLogFileName(name))
		return false;
	paths_of(name, place, kept);
	return lstat(kept, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == wal_segment_size;
}

static DIR *
open_directory(void)
{
	DIR		   *dir = AllocateDir(EVPUB_WALKEEP_DIRECTORY);

	if (!dir && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open directory \"%s\": %m",
						EVPUB_WALKEEP_DIRECTORY)));
	return dir;
}

/* Where the oldest that is set aside begins; InvalidXLogRecPtr: there is none. */
static XLogRecPtr
oldest_kept(void)
{
	XLogRecPtr	oldest = InvalidXLogRecPtr;
	DIR		   *dir = open_directory();
	struct dirent *entry;

	while (dir && (entry = ReadDir(dir, EVPUB_WALKEEP_DIRECTORY)) != NULL)
	{
		TimeLineID	timeline;
		XLogSegNo	segment;
		XLogRecPtr	start;

		if (!is_segment(entry->d_name))
			continue;
		XLogFromFileName(entry->d_name, &timeline, &segment, wal_segment_size);
		XLogSegNoOffsetToRecPtr(segment, 0, wal_segment_size, start);
		if (oldest == InvalidXLogRecPtr || start < oldest)
			oldest = start;
	}
	if (dir)
		FreeDir(dir);
	return oldest;
}

/* Put one back; somebody else may have done so, from the archive. */
static bool
put_segment_back(const char *segment)
{
	struct stat st;
	char		place[MAXPGPATH];
	char		kept[MAXPGPATH];

	paths_of(segment, place, kept);
	if (lstat(place, &st) == 0)
	{
		if (unlink(kept) != 0)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not remove file \"%s\": %m", kept)));
		return false;
	}
	if (rename(kept, place) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not rename file \"%s\" to \"%s\": %m", kept, place)));

	/* it was archived, or need not be: it must not be archived again */
	if (XLogArchivingActive())
		XLogArchiveForceDone(segment);
	return true;
}

/*
 * What cannot be put back throws: the worker starts again in a second, and tries
 * again, rather than take WAL for lost that is there.  A shutdown leaves the rest
 * for the next start.
 */
static int
put_segments_back(void)
{
	DIR		   *dir = open_directory();
	struct dirent *entry;
	int			count = 0;

	while (dir && !ShutdownRequestPending &&
		   (entry = ReadDir(dir, EVPUB_WALKEEP_DIRECTORY)) != NULL)
		if (is_segment(entry->d_name) && put_segment_back(entry->d_name))
			count++;
	if (dir)
		FreeDir(dir);

	/* a crash leaves each of them here or there, either will do */
	fsync_fname_ext(XLOGDIR, true, false, LOG);
	fsync_fname_ext(EVPUB_WALKEEP_DIRECTORY, true, false, LOG);
	return count;
}

bool
evpub_walkeep_has(void)
{
	struct stat st;

	return lstat(EVPUB_WALKEEP_DIRECTORY, &st) == 0;
}

void
evpub_walkeep_put_back(void)
{
	XLogRecPtr	oldest;
	int			count;

	if (!evpub_walkeep_has())
		return;
	oldest = oldest_kept();

	/*
	 * First the slot: from then on no checkpoint removes what it needs without
	 * asking us.  One that was under way before may be removing, so we wait for
	 * that.  In recovery it is others that publish, and what is put back may go.
	 */
	if (oldest != InvalidXLogRecPtr && !RecoveryInProgress())
	{
		EvpubSlotFound slot = evpub_slot_find();

		if (slot == EVPUB_SLOT_FOUND || slot == EVPUB_SLOT_INVALIDATED)
			evpub_slot_expect(oldest);
		wait_for_removal(GetRedoRecPtr());
	}
	if (ShutdownRequestPending)
		return;
	count = put_segments_back();
	if (count > 0)
		ereport(LOG,
				(errmsg("evpub: put back %d segments of WAL that were set aside from a checkpoint",
						count)));
	if (!ShutdownRequestPending && rmdir(EVPUB_WALKEEP_DIRECTORY) != 0)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not remove directory \"%s\": %m",
						EVPUB_WALKEEP_DIRECTORY),
				 errhint("Remove by hand what is no WAL segment in it.")));
}
