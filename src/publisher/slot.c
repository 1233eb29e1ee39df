/*
 * slot.c
 *		The physical replication slot that keeps WAL for the publisher.
 *
 * Held acquired in every state of the worker but "standby": an inactive slot is
 * invalidated by idle_replication_slot_timeout (18), may be dropped by anyone with
 * the right to, and is dropped by cluster managers that do not know it.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#include "compat.h"
#include "names.h"
#include "publisher/slot.h"
#include "reader/walfind.h"

/* The redo position when we made it, held it or moved it back. */
static XLogRecPtr since = InvalidXLogRecPtr;

EvpubSlotFound
evpub_slot_find(void)
{
	ReplicationSlot *slot = SearchNamedReplicationSlot(EVPUB_NAME, true);
	bool		logical;
	bool		invalidated;

	if (!slot)
		return EVPUB_SLOT_ABSENT;
	SpinLockAcquire(&slot->mutex);
	logical = SlotIsLogical(slot);
	invalidated = evpub_slot_invalidated(slot) ||
		slot->data.restart_lsn == InvalidXLogRecPtr;
	SpinLockRelease(&slot->mutex);
	if (logical)
		return EVPUB_SLOT_FOREIGN;
	return invalidated ? EVPUB_SLOT_INVALIDATED : EVPUB_SLOT_FOUND;
}

bool
evpub_slot_available(void)
{
	bool		available = false;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
		if (!ReplicationSlotCtl->replication_slots[i].in_use)
			available = true;
	LWLockRelease(ReplicationSlotControlLock);
	return available;
}

void
evpub_slot_make(void)
{
	evpub_slot_create(EVPUB_NAME);

	/* protects WAL from the last checkpoint's redo position on */
	ReplicationSlotReserveWal();
	ReplicationSlotMarkDirty();
	ReplicationSlotSave();
	since = GetRedoRecPtr();
}

void
evpub_slot_hold(void)
{
	if (MyReplicationSlot)
		return;
	evpub_slot_acquire(EVPUB_NAME);
	since = GetRedoRecPtr();
}

void
evpub_slot_release(void)
{
	ReplicationSlotRelease();
}

bool
evpub_slot_taken(void)
{
	ReplicationSlot *slot = SearchNamedReplicationSlot(EVPUB_NAME, true);
	bool		taken;

	if (!slot)
		return true;
	SpinLockAcquire(&slot->mutex);
	taken = slot->active_pid == 0 && evpub_slot_invalidated(slot);
	SpinLockRelease(&slot->mutex);
	return taken;
}

/*
 * A checkpoint first sets the redo position, then asks what slots need.  So if
 * the redo position, read after the slot was set, has changed since, the
 * checkpoint that changed it knows the slot, and each earlier one is over.
 */
XLogRecPtr
evpub_slot_since(void)
{
	return since;
}

XLogRecPtr
evpub_slot_position(void)
{
	return MyReplicationSlot ? MyReplicationSlot->data.restart_lsn : InvalidXLogRecPtr;
}

/*
 * Saved first, then WAL may go: else a checkpoint and a crash in between leave
 * a slot on disk whose WAL is gone, to be invalidated.  (18 goes by what was
 * saved last, and would let go of nothing until the next move.)  One that
 * moves back must keep WAL at once.
 */
static void
set_position(XLogRecPtr lsn)
{
	bool		back;

	SpinLockAcquire(&MyReplicationSlot->mutex);
	back = MyReplicationSlot->data.restart_lsn == InvalidXLogRecPtr ||
		lsn < MyReplicationSlot->data.restart_lsn;
	MyReplicationSlot->data.restart_lsn = lsn;
	SpinLockRelease(&MyReplicationSlot->mutex);
	ReplicationSlotMarkDirty();
	if (back)
		ReplicationSlotsComputeRequiredLSN();
	ReplicationSlotSave();
	ReplicationSlotsComputeRequiredLSN();
	if (back)
		since = GetRedoRecPtr();
}

void
evpub_slot_move(XLogRecPtr lsn)
{
	XLogRecPtr	old = evpub_slot_position();
	XLogSegNo	old_segment;
	XLogSegNo	new_segment;

	if (!MyReplicationSlot || lsn <= old)
		return;
	XLByteToSeg(old, old_segment, wal_segment_size);
	XLByteToSeg(lsn, new_segment, wal_segment_size);

	/* within one segment nothing could be removed: spare the write */
	if (old_segment == new_segment)
		return;
	set_position(lsn);
}

/*
 * A server that was the primary before a switchover still has its slot, and is a
 * standby now.  The slot goes on to what the new primary has published; else it
 * would keep all WAL until the next promotion.  It is not held there, so that
 * whoever manages the slots of standbys may drop it.
 */
void
evpub_slot_follow(XLogRecPtr lsn)
{
	ReplicationSlot *slot = SearchNamedReplicationSlot(EVPUB_NAME, true);
	bool		ours;

	if (!slot)
		return;
	SpinLockAcquire(&slot->mutex);
	ours = SlotIsPhysical(slot) && slot->active_pid == 0 &&
		!evpub_slot_invalidated(slot) &&
		slot->data.restart_lsn != InvalidXLogRecPtr &&
		slot->data.restart_lsn / wal_segment_size < lsn / wal_segment_size;
	SpinLockRelease(&slot->mutex);
	if (!ours)
		return;

	/*
	 * If it was dropped or taken since we looked, this is an error: the worker
	 * starts again, and looks again.
	 */
	evpub_slot_acquire(EVPUB_NAME);
	evpub_slot_move(lsn);
	evpub_slot_release();
}

/* Hold it, valid; false if it does not keep WAL from lsn on, and must be set. */
static bool
hold_valid(XLogRecPtr lsn)
{
	XLogRecPtr	position;
	bool		invalidated;

	evpub_slot_hold();

	/* in place: a crash between drop and create would leave no slot */
	SpinLockAcquire(&MyReplicationSlot->mutex);
	invalidated = evpub_slot_invalidated(MyReplicationSlot);
	evpub_slot_revalidate(MyReplicationSlot);
	position = MyReplicationSlot->data.restart_lsn;
	SpinLockRelease(&MyReplicationSlot->mutex);
	return !invalidated && position != InvalidXLogRecPtr && position <= lsn;
}

void
evpub_slot_expect(XLogRecPtr lsn)
{
	if (!hold_valid(lsn))
		set_position(lsn);
}

void
evpub_slot_keep(XLogRecPtr lsn)
{
	if (hold_valid(lsn))
		return;
	if (!evpub_walfind_segment(lsn))
		lsn = evpub_walfind_record(lsn);
	if (lsn == InvalidXLogRecPtr)
		lsn = GetXLogInsertRecPtr();
	set_position(lsn);
}

void
evpub_slot_drop(void)
{
	if (MyReplicationSlot)
		evpub_slot_release();
	if (SearchNamedReplicationSlot(EVPUB_NAME, true))
		ReplicationSlotDrop(EVPUB_NAME, true);
}
