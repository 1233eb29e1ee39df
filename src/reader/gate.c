/*
 * gate.c
 *		Is a transaction visible to every new snapshot yet?
 *
 * A commit record is in WAL before others can see the transaction, and long
 * before with synchronous replication.  A consumer that got the event then would
 * read the old row back.  The committer leaves the proc array when its transaction
 * becomes visible, so we ask for that.
 *
 * TransactionIdIsInProgress() does not do: its short cut compares with RecentXmin,
 * which is stale in a process that takes no snapshots, and after three billion
 * transactions it reported an open one as ended.  So we take a snapshot, which
 * needs a transaction but no database, and look into it.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "reader/gate.h"

void
evpub_gate_init(EvpubGate *gate)
{
	memset(gate, 0, sizeof(*gate));
	gate->context = CurrentMemoryContext;
}

void
evpub_gate_refresh(EvpubGate *gate)
{
	MemoryContext caller = CurrentMemoryContext;
	Snapshot	snapshot;
	FullTransactionId next;

	StartTransactionCommand();
	snapshot = GetTransactionSnapshot();
	if ((int) snapshot->xcnt > gate->slots)
	{
		if (gate->running)
			pfree(gate->running);
		gate->running = NULL;
		gate->slots = 0;
		gate->running = MemoryContextAlloc(gate->context,
										   sizeof(TransactionId) * snapshot->xcnt);
		gate->slots = snapshot->xcnt;
	}
	gate->nrunning = snapshot->xcnt;
	memcpy(gate->running, snapshot->xip, sizeof(TransactionId) * snapshot->xcnt);
	gate->xmax = snapshot->xmax;
	next = ReadNextFullTransactionId();
	gate->next = XidFromFullTransactionId(next);

	/* xmin is at most next, and less than 2^31 behind it */
	gate->oldest = FullTransactionIdFromU64(U64FromFullTransactionId(next) -
											(uint32) (gate->next - snapshot->xmin));
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
}

/*
 * A transaction that still runs is either in the snapshot's list, or in
 * [xmax, next).  The window is compared by distance: the usual test "xid >=
 * xmax" goes wrong for a commit that lies more than 2^31 transactions back in
 * a long backlog, and would hold it for ever.
 */
bool
evpub_gate_passed(const EvpubGate *gate, TransactionId xid)
{
	if ((uint32) (xid - gate->xmax) < (uint32) (gate->next - gate->xmax))
		return false;
	for (int i = 0; i < gate->nrunning; i++)
		if (gate->running[i] == xid)
			return false;
	return true;
}
