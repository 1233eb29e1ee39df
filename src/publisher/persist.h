/*
 * persist.h
 *		The worker's position: state file, then slot, then position message.
 */
#ifndef EVPUB_PERSIST_H
#define EVPUB_PERSIST_H

#include "postgres.h"

#include "publisher/state.h"

/*
 * Write state file, slot and position message if it is time, or if "force".
 * False if it was tried and failed; the reason is in persist_problem.
 */
extern bool evpub_persist(EvpubWorker *worker, bool force);

/* Make the partition counts durable that the relay waits for, if there are any. */
extern bool evpub_persist_pins(EvpubWorker *worker);

/* Bring worker->position up to what the stream has confirmed. */
extern void evpub_persist_take(EvpubWorker *worker);

/*
 * When an ERROR ends the worker: write what was acknowledged since the last
 * write, and nothing else.  Throws no error; false if nothing was written.
 */
extern bool evpub_persist_acknowledged(const EvpubWorker *worker);

/*
 * Write worker->position to the state file, then move the slot forward to
 * "slot" (unless invalid), then, if "message", log a position message.  When it
 * fails: false, and the position is *before again; the reason is in
 * persist_problem.
 */
extern bool evpub_persist_store(EvpubWorker *worker, const EvpubPosition *before,
								XLogRecPtr slot, bool message);

#endif							/* EVPUB_PERSIST_H */
