/*
 * answer.h
 *		What the worker answers to a person's question.
 */
#ifndef EVPUB_ANSWER_H
#define EVPUB_ANSWER_H

#include "postgres.h"

#include "shmem.h"

/* Make the answer a refusal; detail and hint may be NULL. */
extern void evpub_answer_refuse(EvpubAnswer *answer, int sqlerrcode,
								const char *error, const char *detail,
								const char *hint);

#endif							/* EVPUB_ANSWER_H */
