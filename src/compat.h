/*
 * compat.h
 *		Differences between PostgreSQL's major versions (15 to 18).  Nothing
 *		else in the tree looks at PG_VERSION_NUM.
 */
#ifndef EVPUB_COMPAT_H
#define EVPUB_COMPAT_H

#include "postgres.h"

#include "pgstat.h"
#include "replication/message.h"
#include "replication/slot.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "evpub supports PostgreSQL 15 to 18"
#endif

/* 17: the caller of LogLogicalMessage chooses whether to flush */
static inline XLogRecPtr
evpub_log_message(const char *prefix, const char *data, Size size,
				  bool transactional)
{
#if PG_VERSION_NUM >= 170000
	return LogLogicalMessage(prefix, data, size, transactional, false);
#else
	return LogLogicalMessage(prefix, data, size, transactional);
#endif
}

/* 17: slots know failover and synchronization */
static inline void
evpub_slot_create(const char *name)
{
#if PG_VERSION_NUM >= 170000
	ReplicationSlotCreate(name, false, RS_PERSISTENT, false, false, false);
#else
	ReplicationSlotCreate(name, false, RS_PERSISTENT, false);
#endif
}

/* 18: a slot that was invalidated may still be acquired, on request */
static inline void
evpub_slot_acquire(const char *name)
{
#if PG_VERSION_NUM >= 180000
	ReplicationSlotAcquire(name, true, false);
#else
	ReplicationSlotAcquire(name, true);
#endif
}

/*
 * Has the slot lost its place in WAL?  Until 15 an invalidated slot has no
 * restart_lsn any more, from 16 on it says so.
 */
static inline bool
evpub_slot_invalidated(const ReplicationSlot *slot)
{
#if PG_VERSION_NUM >= 160000
	return slot->data.invalidated != RS_INVAL_NONE;
#else
	return slot->data.restart_lsn == InvalidXLogRecPtr &&
		slot->data.invalidated_at != InvalidXLogRecPtr;
#endif
}

static inline void
evpub_slot_revalidate(ReplicationSlot *slot)
{
#if PG_VERSION_NUM >= 160000
	slot->data.invalidated = RS_INVAL_NONE;
#else
	slot->data.invalidated_at = InvalidXLogRecPtr;
#endif
}

/* 17: extensions can name their wait events; before, all are "Extension" */
static inline uint32
evpub_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	(void) name;
	return PG_WAIT_EXTENSION;
#endif
}

/* 17: a wait event set belongs to a resource owner, not a memory context */
#if PG_VERSION_NUM >= 170000
#define EvpubCreateWaitEventSet(n) CreateWaitEventSet(NULL, (n))
#else
#define EvpubCreateWaitEventSet(n) CreateWaitEventSet(TopMemoryContext, (n))
#endif

/* 17 dropped BackendIds; a process number in its place is what latches need */
#if PG_VERSION_NUM >= 170000
#define EVPUB_MY_PROC_NUMBER MyProcNumber
#else
#define EVPUB_MY_PROC_NUMBER MyProc->pgprocno
#endif

#endif							/* EVPUB_COMPAT_H */
