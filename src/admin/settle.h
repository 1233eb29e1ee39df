/*
 * settle.h
 *		Waiting until commits are visible.
 */
#ifndef EVPUB_ADMIN_SETTLE_H
#define EVPUB_ADMIN_SETTLE_H

/*
 * Wait until every transaction whose commit record is in WAL before now is
 * visible to new snapshots.  Does not wait for transactions that are open.
 * Call in a transaction that is READ COMMITTED.
 */
extern void evpub_settle(void);

#endif							/* EVPUB_ADMIN_SETTLE_H */
