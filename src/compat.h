/*
 * compat.h
 *		Differences between PostgreSQL's major versions (15 to 18).  Nothing
 *		else in the tree looks at PG_VERSION_NUM.
 */
#ifndef EVPUB_COMPAT_H
#define EVPUB_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "replication/message.h"
#include "replication/slot.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "evpub supports PostgreSQL 15 to 18"
#endif

/* 17: ALTER COLUMN ... SET EXPRESSION */
static inline bool
evpub_sets_expression(const AlterTableCmd *command)
{
#if PG_VERSION_NUM >= 170000
	return command->subtype == AT_SetExpression;
#else
	(void) command;
	return false;
#endif
}

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

/* 18: a scan may count what it does */
static inline IndexScanDesc
evpub_index_beginscan(Relation rel, Relation index, Snapshot snapshot, int keys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(rel, index, snapshot, NULL, keys, 0);
#else
	return index_beginscan(rel, index, snapshot, keys, 0);
#endif
}

/* Has no row NULL there?  18: a constraint NOT VALID says it of new rows only. */
static inline bool
evpub_is_not_null(TupleDesc desc, AttrNumber number)
{
#if PG_VERSION_NUM >= 180000
	if (TupleDescCompactAttr(desc, number - 1)->attnullability == ATTNULLABLE_INVALID)
		return false;
#endif
	return TupleDescAttr(desc, number - 1)->attnotnull;
}

/* 18: the values of virtual generated columns are not in the row */
static inline Node *
evpub_expand_generated(Node *expression, Relation rel, int varno)
{
#if PG_VERSION_NUM >= 180000
	return expand_generated_columns_in_expr(expression, rel, varno);
#else
	(void) rel;
	(void) varno;
	return expression;
#endif
}

/* Do we hold a lock on it of this mode or a stronger one?  17 looks for all. */
static inline bool
evpub_is_locked(Oid relid, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
#if PG_VERSION_NUM >= 170000
	return LockHeldByMe(&tag, mode, true);
#else
	for (; mode <= MaxLockMode; mode++)
		if (LockHeldByMe(&tag, mode))
			return true;
	return false;
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

/*
 * Which transaction of this session is it?  Unlike its start time, which two
 * transactions of one query string share, no other one has this number.
 */
static inline LocalTransactionId
evpub_local_transaction(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProc->vxid.lxid;
#else
	return MyProc->lxid;
#endif
}

/* 18: the postmaster's list of background workers is doubly linked */
#if PG_VERSION_NUM >= 180000
#define evpub_bgworker_iter dlist_iter
#define evpub_bgworker_foreach(iter) dlist_foreach(iter, &BackgroundWorkerList)
#define evpub_bgworker(iter) dlist_container(RegisteredBgWorker, rw_lnode, (iter).cur)
#else
#define evpub_bgworker_iter slist_iter
#define evpub_bgworker_foreach(iter) slist_foreach(iter, &BackgroundWorkerList)
#define evpub_bgworker(iter) slist_container(RegisteredBgWorker, rw_lnode, (iter).cur)
#endif

/* 16: one function for the rights on all kinds of objects */
static inline bool
evpub_may_execute(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

#endif							/* EVPUB_COMPAT_H */
