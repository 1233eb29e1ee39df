/*
 * steering.h
 *		What a person asks of the worker, and its answer.
 */
#ifndef EVPUB_STEERING_H
#define EVPUB_STEERING_H

#include "postgres.h"

#include "publisher/workerstate.h"

/* Answer the question that is open, if there is one. */
extern void evpub_steering_serve(EvpubWorker *worker);

/* Make the answer a refusal; detail and hint may be NULL. */
extern void evpub_answer_refuse(EvpubAnswer *answer, int sqlerrcode,
								const char *error, const char *detail,
								const char *hint);

#endif							/* EVPUB_STEERING_H */
