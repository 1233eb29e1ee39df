/*
 * registry.c
 *		Which databases publish, as the worker sees it.
 *
 * The worker is connected to no database, so it can read only the nailed
 * shared catalogs.  pg_shseclabel is one: a label of our own provider on the
 * database is transactional, goes with DROP DATABASE, and is not copied by
 * CREATE DATABASE ... TEMPLATE.  Its text names the publisher id.
 *
 * The slot must exist before a label can commit, and only the worker makes
 * slots.  So a transaction that sets a label first puts a request with its xid
 * into shared memory and waits for the answer.
 *
 * The slot goes when nobody is registered any more, and no event can be left
 * that it keeps.  No lock keeps writers away while a label is removed, so this
 * has to be decided from what can be seen.  What the parts promise:
 *
 * - A transaction that changes labels counts itself in registry_changers
 *   before the first change.  After it has left the proc array, so that every
 *   new snapshot sees what it did, it raises registry_generation, and only
 *   then counts itself out.
 * - A transaction that captures owns an xid before it looks whether its
 *   database is registered, and so is seen to run from then on until its
 *   commit record is in WAL and it is visible; a prepared one, too.
 * - A backend believes what it read of its label only while there are no
 *   changers, and the generation is the one under which it read (in this
 *   order: who counted out has raised it).  So it knows what a new snapshot
 *   would show it.
 *
 * The steps of the decision, in this order:
 *
 * 1. Read the generation.
 * 2. Take a snapshot.  No label.
 * 3. Read the next xid.  A transaction that is given this one or a later one
 *    looks later than we did, and finds that its database is not registered.
 * 4. Wait until all transactions below that xid have ended, by snapshots.
 *    Now no transaction that could have captured is open, and the commit
 *    records of all that did are before the end of WAL.
 * 5. Wait until confirmed is past that position.
 * 6. Under the request lock: no open request by a snapshot; then, by a *new*
 *    snapshot, no label; then no changers; then the generation is that of step
 *    1.  A request that committed before the first snapshot is seen by the
 *    second.  With no changers, everybody whose change the second saw has
 *    raised the generation; so if it has not risen, nobody has come back and
 *    gone again meanwhile, with writers that step 4 did not wait for.
 *
 * A request that comes later waits for us, and finds no slot.  If a step
 * fails, it is tried again, or all is started over when the generation rises.
 * A worker that is restarted in between starts over.
 */
#include "postgres.h"

#include "access/transam.h"
#include "storage/lwlock.h"

#include "publisher/label.h"
#include "publisher/registry.h"
#include "shmem.h"

/* The caller holds the lock. */
static bool
find_pending(uint64 *publisher_id)
{
	bool		pending = false;

	*publisher_id = 0;
	for (int i = 0; i < EVPUB_MAX_REQUESTS; i++)
		if (EvpubShmem->requests[i].state == EVPUB_REQUEST_PENDING)
		{
			pending = true;
			if (EvpubShmem->requests[i].publisher_id != 0)
				*publisher_id = EvpubShmem->requests[i].publisher_id;
		}
	return pending;
}

bool
evpub_registry_pending(EvpubGate *gate, uint64 *publisher_id)
{
	bool		pending;

	LWLockAcquire(EvpubShmem->lock, LW_SHARED);
	pending = find_pending(publisher_id);
	LWLockRelease(EvpubShmem->lock);
	if (!pending)
		return false;

	/*
	 * Requests of those who have given up are removed first.  A cancelled restore
	 * of a dump, whose label would have named a foreign publisher, must not fence
	 * those who ask now.
	 */
	(void) evpub_registry_open_requests(gate);
	LWLockAcquire(EvpubShmem->lock, LW_SHARED);
	pending = find_pending(publisher_id);
	LWLockRelease(EvpubShmem->lock);
	return pending;
}

void
evpub_registry_answer(const char *error, const char *hint)
{
	LWLockAcquire(EvpubShmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EVPUB_MAX_REQUESTS; i++)
	{
		EvpubRequest *request = &EvpubShmem->requests[i];

		if (request->state != EVPUB_REQUEST_PENDING)
			continue;
		request->state = error ? EVPUB_REQUEST_FAILED : EVPUB_REQUEST_GRANTED;
		strlcpy(request->error, error ? error : "", sizeof(request->error));
		strlcpy(request->hint, hint ? hint : "", sizeof(request->hint));
	}
	LWLockRelease(EvpubShmem->lock);
	ConditionVariableBroadcast(&EvpubShmem->changed);
}

bool
evpub_registry_open_requests(EvpubGate *gate)
{
	TransactionId seen[EVPUB_MAX_REQUESTS];
	bool		left = false;

	LWLockAcquire(EvpubShmem->lock, LW_SHARED);
	for (int i = 0; i < EVPUB_MAX_REQUESTS; i++)
		seen[i] = EvpubShmem->requests[i].state == EVPUB_REQUEST_FREE ?
			InvalidTransactionId : EvpubShmem->requests[i].xid;
	LWLockRelease(EvpubShmem->lock);

	/*
	 * The gate takes a snapshot, so it is refreshed without the lock.  It is
	 * refreshed after the requests are known: of a transaction that is younger than
	 * its snapshot, the gate would say that it has passed.
	 */
	evpub_gate_refresh(gate);
	LWLockAcquire(EvpubShmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EVPUB_MAX_REQUESTS; i++)
	{
		EvpubRequest *request = &EvpubShmem->requests[i];

		if (request->state == EVPUB_REQUEST_FREE)
			continue;
		if (request->xid == seen[i] && evpub_gate_passed(gate, seen[i]))
			request->state = EVPUB_REQUEST_FREE;
		else
			left = true;
	}
	LWLockRelease(EvpubShmem->lock);
	return left;
}

bool
evpub_registry_abandoned(uint64 *generation, FullTransactionId *next_xid)
{
	uint64		publisher_id;

	*generation = pg_atomic_read_u64(&EvpubShmem->registry_generation);
	pg_memory_barrier();
	if (evpub_label_count(&publisher_id) > 0)
		return false;
	*next_xid = ReadNextFullTransactionId();
	return true;
}

bool
evpub_registry_unused(EvpubGate *gate, uint64 generation)
{
	bool		unused = true;
	uint64		publisher_id;

	/*
	 * The catalog is read first, and without our lock: that takes locks of
	 * relations, and may wait.  A label that is set after it was read is found
	 * below: until its transaction ends among the changers, and from then on by
	 * the generation, which it raises before it leaves them.
	 */
	if (evpub_label_count(&publisher_id) > 0 ||
		evpub_registry_open_requests(gate))
		return false;
	pg_memory_barrier();
	LWLockAcquire(EvpubShmem->lock, LW_SHARED);
	for (int i = 0; i < EVPUB_MAX_REQUESTS; i++)
		if (EvpubShmem->requests[i].state != EVPUB_REQUEST_FREE)
			unused = false;
	unused = unused &&
		pg_atomic_read_u32(&EvpubShmem->registry_changers) == 0;
	pg_memory_barrier();
	unused = unused &&
		pg_atomic_read_u64(&EvpubShmem->registry_generation) == generation;
	LWLockRelease(EvpubShmem->lock);
	return unused;
}
