/*
 * waiting.h
 *		How the worker waits.
 */
#ifndef EVPUB_WAITING_H
#define EVPUB_WAITING_H

#include "publisher/state.h"

/* How long the worker may wait if nothing wakes it, in ms. */
extern long evpub_waiting_time(const EvpubWorker *worker);

/* A cycle of the worker begins: what woke it before this is seen to. */
extern void evpub_waiting_begin(EvpubWorker *worker);

/*
 * May WAL be read in this cycle?  When many transactions come, reading waits for
 * more of them, so that one batch serves them all.
 */
extern bool evpub_waiting_may_read(EvpubWorker *worker);

/* It was read; "before": the transactions that the queue had read until then. */
extern void evpub_waiting_have_read(EvpubWorker *worker, uint64 before);

/* Are transactions collected, so that what is acknowledged decides about reading? */
extern bool evpub_waiting_collects(const EvpubWorker *worker);

/* Wait for the latch, the relay's socket, or timeout (ms); reset the latch. */
extern void evpub_waiting_wait(EvpubWorker *worker, long timeout);

/*
 * Wait until the relay of the worker before us is gone: it dies with its
 * worker, but the kernel may take a moment.
 */
extern void evpub_waiting_old_relay(pid_t pid);

/* At exit: leave no zombie, since the next worker waits for its pid to go. */
extern void evpub_waiting_reap(EvpubWorker *worker);

#endif							/* EVPUB_WAITING_H */
