/*
 * slot.c
 *		The physical replication slot that keeps WAL for the publisher.
 *
 * Held acquired in every state of the worker: an inactive slot is invalidated
 * by idle_replication_slot_timeout (18), may be dropped by anyone with the
 * right to, and is dropped by cluster managers that do not know it.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#include "compat.h"
#include "evpub.h"
#include "publisher/slot.h"

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

XLogRecPtr
evpub_slot_make(void)
{
	evpub_slot_create(EVPUB_NAME);

	/* protects WAL from the last checkpoint's redo position on */
	ReplicationSlotReserveWal();
	ReplicationSlotMarkDirty();
	ReplicationSlotSave();

	/*
	 * Nothing of ours is older: a database is registered only after this, and
	 * captures only when its registration is visible.
	 */
	return GetXLogInsertRecPtr();
}

void
evpub_slot_hold(void)
{
	if (!MyReplicationSlot)
		evpub_slot_acquire(EVPUB_NAME);
}

XLogRecPtr
evpub_slot_position(void)
{
	return MyReplicationSlot ? MyReplicationSlot->data.restart_lsn : InvalidXLogRecPtr;
}

static void
set_position(XLogRecPtr lsn)
{
	SpinLockAcquire(&MyReplicationSlot->mutex);
	MyReplicationSlot->data.restart_lsn = lsn;
	SpinLockRelease(&MyReplicationSlot->mutex);
	ReplicationSlotMarkDirty();
	ReplicationSlotsComputeRequiredLSN();
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
	ReplicationSlotSave();
}

void
evpub_slot_reset(XLogRecPtr lsn)
{
	evpub_slot_hold();

	/* in place: a crash between drop and create would leave no slot */
	SpinLockAcquire(&MyReplicationSlot->mutex);
	evpub_slot_revalidate(MyReplicationSlot);
	SpinLockRelease(&MyReplicationSlot->mutex);
	set_position(lsn);
	ReplicationSlotSave();
}

void
evpub_slot_drop(void)
{
	if (MyReplicationSlot)
		ReplicationSlotRelease();
	if (SearchNamedReplicationSlot(EVPUB_NAME, true))
		ReplicationSlotDrop(EVPUB_NAME, true);
}
