/*
 * settle.c
 *		Waiting until commits are visible.
 *
 * A transaction writes its commit record first and becomes visible later, after
 * it has waited for synchronous standbys.  In between its events stand already
 * before those of whoever commits now, but nobody sees its rows.
 *
 * A committing transaction first holds up checkpoints, writes its commit
 * record, notes the commit in pg_xact, and lets checkpoints go on.  So once all
 * are gone that hold up checkpoints now, every commit record before now is
 * noted there, and what is in progress all the same is on its way to be
 * visible.
 *
 * A transaction may be in progress if a snapshot names it, or if its number is
 * beyond those that the snapshot knows: then it began later than all that have
 * ended.
 */
#include "postgres.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

#include "admin/settle.h"
#include "compat.h"

/* The time between commit record and note is that of a flush. */
#define PAUSE_MS 1

static void
wait_for_notes(void)
{
	int			count;
	VirtualTransactionId *committing =
		GetVirtualXIDsDelayingChkpt(&count, DELAY_CHKPT_START);

	while (HaveVirtualXIDsDelayingChkpt(committing, count, DELAY_CHKPT_START))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 PAUSE_MS, evpub_wait_event("EvpubSettle"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	pfree(committing);
}

/* It keeps the lock on its xid until it is visible. */
static void
wait_until_visible(TransactionId xid)
{
	if (TransactionIdDidCommit(xid))
		XactLockTableWait(xid, NULL, NULL, XLTW_None);
}

void
evpub_settle(void)
{
	Snapshot	snapshot;
	TransactionId *xids;
	TransactionId xmax;
	TransactionId next;
	uint32		count;

	wait_for_notes();

	/* a snapshot does not last through a wait, its list of xids must */
	snapshot = GetTransactionSnapshot();
	count = snapshot->xcnt;
	xids = palloc(Max(count, 1) * sizeof(TransactionId));
	memcpy(xids, snapshot->xip, count * sizeof(TransactionId));
	xmax = snapshot->xmax;
	next = ReadNextTransactionId();
	for (uint32 i = 0; i < count; i++)
		wait_until_visible(xids[i]);
	pfree(xids);
	while (TransactionIdPrecedes(xmax, next))
	{
		CHECK_FOR_INTERRUPTS();
		wait_until_visible(xmax);
		TransactionIdAdvance(xmax);
	}
}
