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
 * so; up to then all WAL is there.  So all segments that the slot keeps are set
 * aside (walaside.c) before the slot is released.  When the checkpoint
 * has invalidated the slot, we make it valid again, so that from then on every
 * checkpoint asks before it removes them; then we wait until this one has removed
 * the rest, put them back, and leave, since SIGTERM asks that of us.  The next
 * worker finds everything in its place.
 *
 * If there is no worker when the checkpoint comes to the slot, it asks nobody.
 * So a worker that is to leave for another reason, as the server is stopped or
 * somebody terminates it, hurries a checkpoint that does not know its slot, and
 * leaves when that one is over.  A stop waits for that checkpoint anyway.
 *
 * Setting aside is safe: nobody writes these segments any more, and nobody misses
 * them, crash recovery included, as their names lead to them until PostgreSQL
 * removes these names.  A crash in between leaves segments aside for the worker
 * of the next start.  If another checkpoint has begun before the slot was valid
 * again, all of this happens once more.
 *
 * From 18 on, a checkpoint asks right before it removes WAL.  A slot that comes
 * between the two is treated as before 18, so this is for all versions.
 *
 * What is left, each a gap and not a silent loss: a slot that is made between the
 * last look that a checkpoint takes at the slots and the removal that follows at
 * once; a segment that is completed while the slot is not valid, for a few
 * milliseconds, if a checkpoint, or a crash and its recovery, then removes it
 * before we are back; a segment that is archived after we left it to the archiver
 * and before the checkpoint comes to it, which is in the archive then.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "postmaster/bgwriter.h"
#include "postmaster/interrupt.h"
#include "replication/slot.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"

#include "compat.h"
#include "publisher/slot.h"
#include "publisher/walaside.h"
#include "publisher/walkeep.h"

/* Look so often what the checkpointer does, in ms. */
#define CHECKPOINT_LOOK 20

/* And so often whether it has invalidated our slot. */
#define SLOT_LOOK 1

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

	/* the handler of pqsignal() does not learn who has sent the signal */
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = handle_terminate;
	action.sa_flags = SA_SIGINFO | SA_RESTART;
	sigemptyset(&action.sa_mask);
	(void) sigaction(SIGTERM, &action, NULL);
}

/* ---- what the checkpointer does ---- */

typedef enum Checkpointer
{
	CHECKPOINTER_IDLE,
	CHECKPOINTER_WRITES,		/* pages, at its leisure, before it looks at slots */
	CHECKPOINTER_WAITS,			/* for somebody to release a slot */
	CHECKPOINTER_BUSY			/* it may be removing WAL */
} Checkpointer;

/*
 * The first two of these wait events belong to the checkpointer alone, so its
 * process need not be known; a process that has ended waits for nothing.
 */
static Checkpointer
look_at_checkpointer(void)
{
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		const volatile PGPROC *proc = &ProcGlobal->allProcs[i];
		uint32		event = proc->wait_event_info;
		int			pid = proc->pid;

		if (pid == 0)
			continue;
		if (event == WAIT_EVENT_CHECKPOINTER_MAIN)
			return CHECKPOINTER_IDLE;
		if (event == WAIT_EVENT_CHECKPOINT_WRITE_DELAY)
			return CHECKPOINTER_WRITES;

		/* of the auxiliary processes, after recovery only the checkpointer */
		if (event == WAIT_EVENT_REPLICATION_SLOT_DROP &&
			AuxiliaryPidGetProc(pid) != NULL)
			return CHECKPOINTER_WAITS;
	}
	return CHECKPOINTER_BUSY;
}

/*
 * Who has sent SIGTERM says so.  When two come at once, only one sender is known:
 * so it also counts that the checkpointer waits.  It has set the redo position of
 * its checkpoint long before.
 */
static bool
asked_by_checkpointer(Checkpointer does)
{
	return does == CHECKPOINTER_WAITS ||
		(asked_by != 0 && AuxiliaryPidGetProc(asked_by) != NULL);
}

/* As PostgreSQL counts: half a segment keeps nothing. */
static uint64
whole_segments(int megabytes)
{
	return (uint64) megabytes * 1024 * 1024 / wal_segment_size;
}

/*
 * Is the slot further behind than max_slot_wal_keep_size allows?  Then it is no
 * race that PostgreSQL invalidates it, but what the administrator wants.
 */
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
 * Is there WAL that we need, before the redo position, and not by a limit?  Then
 * all complete segments are at risk: as long as the slot is not valid, the next
 * checkpoint removes what the one before it has left, and it may begin and end
 * within that moment.
 */
static bool
removable(XLogSegNo *first, XLogSegNo *end)
{
	XLogRecPtr	from = evpub_slot_position();
	XLogSegNo	redo;

	if (from == InvalidXLogRecPtr || exceeds_setting(from))
		return false;
	XLByteToSeg(from, *first, wal_segment_size);
	XLByteToSeg(GetRedoRecPtr(), redo, wal_segment_size);
	XLByteToSeg(GetFlushRecPtr(NULL), *end, wal_segment_size);
	return *first < redo;
}

/* Can the checkpoint that is under way remove WAL that our slot needs? */
static bool
at_risk(Checkpointer does)
{
	XLogSegNo	first;
	XLogSegNo	end;

	return does != CHECKPOINTER_IDLE &&
		GetRedoRecPtr() == evpub_slot_since() && removable(&first, &end);
}

static void
wait_a_little(long timeout)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_POSTMASTER_DEATH,
					 timeout, evpub_wait_event("EvpubCheckpoint"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* ---- letting it pass ---- */

/*
 * The checkpointer waits for us.  Set aside what the slot keeps, let it have the
 * slot, and take it again.  False if there is nothing to be saved, or the slot is
 * gone; then the caller leaves.
 */
static bool
let_it_have_slot(void)
{
	XLogRecPtr	from = evpub_slot_position();
	XLogRecPtr	redo = GetRedoRecPtr();
	XLogSegNo	first;
	XLogSegNo	end;
	int			count;

	asked_by = 0;
	if (!removable(&first, &end))
		return false;

	/* not in the arguments: they are not computed if log_min_messages is "fatal" */
	count = evpub_walaside_set(first, end);
	ereport(LOG,
			(errmsg("evpub: a checkpoint that began before the replication slot was there is going to remove WAL that it needs; set %d segments aside",
					count)));
	evpub_slot_release();

	/* soon, as no checkpoint that begins meanwhile keeps anything for us */
	do
	{
		wait_a_little(SLOT_LOOK);
		if (!PostmasterIsAlive())
			return false;
	} while (!evpub_slot_taken() && GetRedoRecPtr() == redo &&
			 look_at_checkpointer() != CHECKPOINTER_IDLE);
	if (evpub_slot_find() != EVPUB_SLOT_FOUND &&
		evpub_slot_find() != EVPUB_SLOT_INVALIDATED)
		return false;
	evpub_slot_expect(from);
	return true;
}

/*
 * Wait until no checkpoint can remove what our slot keeps.  A checkpoint that is
 * asked to be quick is over soon.  One that still writes pages will ask us for the
 * slot, if we stay.
 */
static void
let_checkpoint_pass(bool leaving)
{
	bool		hurried = !leaving;

	while (MyReplicationSlot && PostmasterIsAlive())
	{
		Checkpointer does = look_at_checkpointer();

		if (asked_by_checkpointer(does))
		{
			if (!let_it_have_slot())
				return;
			continue;
		}
		if (!at_risk(does) || (!leaving && does == CHECKPOINTER_WRITES))
			return;
		if (!hurried && does == CHECKPOINTER_WRITES)
		{
			RequestCheckpoint(CHECKPOINT_IMMEDIATE);
			hurried = true;
		}
		wait_a_little(CHECKPOINT_LOOK);
	}
}

static void
put_back(void)
{
	int			count = evpub_walaside_put_back();

	if (count > 0)
		ereport(LOG,
				(errmsg("evpub: put back %d segments of WAL that were set aside from a checkpoint",
						count)));
}

void
evpub_walkeep_leave(void)
{
	/* what an error has left */
	LWLockReleaseAll();
	if (!MyReplicationSlot || RecoveryInProgress())
		return;
	let_checkpoint_pass(true);
	if (PostmasterIsAlive())
		put_back();
}

void
evpub_walkeep_put_back(void)
{
	XLogRecPtr	oldest = evpub_walaside_oldest();
	EvpubSlotFound slot = evpub_slot_find();

	/* from now on no checkpoint removes what the slot needs without asking us */
	if (oldest != InvalidXLogRecPtr &&
		(slot == EVPUB_SLOT_FOUND || slot == EVPUB_SLOT_INVALIDATED))
	{
		evpub_slot_expect(oldest);
		let_checkpoint_pass(false);
	}
	put_back();
}
