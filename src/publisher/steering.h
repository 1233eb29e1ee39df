/*
 * steering.h
 *		What a person asks of the worker, and its answer.
 */
#ifndef EVPUB_STEERING_H
#define EVPUB_STEERING_H

#include "postgres.h"

#include "publisher/state.h"

/* Answer the question that is open, if there is one. */
extern void evpub_steering_serve(EvpubWorker *worker);

#endif							/* EVPUB_STEERING_H */
