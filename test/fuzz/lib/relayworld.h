/*
 * relayworld.h
 *		A worker, a cluster and a clock for the relay's files, all of them made up.
 */
#ifndef EVPUB_FUZZ_RELAYWORLD_H
#define EVPUB_FUZZ_RELAYWORLD_H

#include <stdint.h>
#include <stddef.h>

/*
 * Runs "what" until it returns, or the relay would end: then the result is true.
 * The input is what the worker sends: frames, and in front of them four bytes that
 * decide how the world behaves.  Afterwards nothing of it is left.
 */
extern bool world_run(void (*what) (void), const uint8_t *input, size_t size);

/* A frame of this type is no frame of the worker's: its text is an error of librdkafka. */
#define WORLD_ERROR '!'

/* Bytes in front of the frames. */
#define WORLD_KNOBS 4

#endif							/* EVPUB_FUZZ_RELAYWORLD_H */
