/*
 * catchup.h
 *		Whether the publisher is behind, and how far it was in the last seconds.
 */
#ifndef EVPUB_CATCHUP_H
#define EVPUB_CATCHUP_H

#include "postgres.h"

#include "publisher/state.h"

/* In each round; it looks once a second. */
extern void evpub_catchup_look(EvpubWorker *worker);

#endif							/* EVPUB_CATCHUP_H */
