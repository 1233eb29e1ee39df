/*
 * readback.h
 *		The worker's part of read-back: what its relay has found in Kafka.
 */
#ifndef EVPUB_READBACK_H
#define EVPUB_READBACK_H

#include "postgres.h"

#include "publisher/state.h"

/* A relay was started: tell it whether to read back. */
extern void evpub_readback_begin(EvpubWorker *worker);

/*
 * A frame about a partition that was read back: FOUND, MET, or PASSED.  False: it
 * makes no sense.  It may end the relay, and fence this server.
 */
extern bool evpub_readback_take(EvpubWorker *worker, const EvpubFrame *frame);

/*
 * Look whether publishing has passed what it should have met.  It may end the relay,
 * and fence this server.
 */
extern void evpub_readback_look(EvpubWorker *worker);

#endif							/* EVPUB_READBACK_H */
