/*
 * siphash.h
 *		SipHash-2-4 with a result of 128 bits.
 */
#ifndef EVPUB_SIPHASH_H
#define EVPUB_SIPHASH_H

#include "postgres.h"

#define EVPUB_SIPHASH_KEY_LENGTH 16
#define EVPUB_SIPHASH_LENGTH 16

/* A message of which a part was taken in; copied, it goes on in two ways. */
typedef struct EvpubSipHash
{
	uint64		v0;
	uint64		v1;
	uint64		v2;
	uint64		v3;
	uint64		rest;			/* the last bytes, that do not fill a word yet */
	uint64		length;			/* of all that was taken in */
} EvpubSipHash;

/* Begin a message under this key. */
extern void evpub_siphash_init(EvpubSipHash *state,
							   const uint8 key[EVPUB_SIPHASH_KEY_LENGTH]);

/* The message goes on with these bytes. */
extern void evpub_siphash_update(EvpubSipHash *state, const void *data, Size length);

/* The message ends here. */
extern void evpub_siphash_final(EvpubSipHash *state, uint8 result[EVPUB_SIPHASH_LENGTH]);

#endif							/* EVPUB_SIPHASH_H */
