/*
 * siphash.c
 *		SipHash-2-4 with a result of 128 bits (J.-P. Aumasson, D. J. Bernstein,
 *		"SipHash: a fast short-input PRF", 2012, and the variant of 128 bits of their
 *		reference implementation).
 *
 * A pseudorandom function that was made for short messages under a secret key: it
 * needs no set-up and no memory.  PostgreSQL has none of its own, and OpenSSL's costs
 * more to set up than to compute.
 */
#include "postgres.h"

#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"

#include "event/siphash.h"

#define ROTATE(word, bits) (((word) << (bits)) | ((word) >> (64 - (bits))))

static inline void
mix(EvpubSipHash *s)
{
	s->v0 += s->v1;
	s->v1 = ROTATE(s->v1, 13) ^ s->v0;
	s->v0 = ROTATE(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = ROTATE(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = ROTATE(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = ROTATE(s->v1, 17) ^ s->v2;
	s->v2 = ROTATE(s->v2, 32);
}

/* Words are little-endian, on every machine. */
static inline uint64
little_endian(uint64 word)
{
#ifdef WORDS_BIGENDIAN
	return pg_bswap64(word);
#else
	return word;
#endif
}

static inline uint64
word_at(const uint8 *bytes)
{
	uint64		word;

	memcpy(&word, bytes, sizeof(word));
	return little_endian(word);
}

static inline void
take_word(EvpubSipHash *s, uint64 word)
{
	s->v3 ^= word;
	mix(s);
	mix(s);
	s->v0 ^= word;
}

void
evpub_siphash_init(EvpubSipHash *state, const uint8 key[EVPUB_SIPHASH_KEY_LENGTH])
{
	uint64		k0 = word_at(key);
	uint64		k1 = word_at(key + 8);

	state->v0 = k0 ^ UINT64CONST(0x736f6d6570736575);
	state->v1 = k1 ^ UINT64CONST(0x646f72616e646f6d) ^ 0xee;
	state->v2 = k0 ^ UINT64CONST(0x6c7967656e657261);
	state->v3 = k1 ^ UINT64CONST(0x7465646279746573);
	state->rest = 0;
	state->length = 0;
}

void
evpub_siphash_update(EvpubSipHash *state, const void *data, Size length)
{
	/* in registers: what data points to might be the state, for all the compiler knows */
	EvpubSipHash s = *state;
	const uint8 *at = data;
	const uint8 *end = at + length;

	/* fill the word that was begun */
	for (; at < end && s.length % 8 != 0; at++)
	{
		s.rest |= (uint64) *at << (8 * (s.length % 8));
		if (++s.length % 8 == 0)
		{
			take_word(&s, s.rest);
			s.rest = 0;
		}
	}
	for (; end - at >= 8; at += 8)
	{
		take_word(&s, word_at(at));
		s.length += 8;
	}
	/* no word was begun if there are bytes left */
	if (at < end)
	{
		uint64		rest = 0;

		memcpy(&rest, at, end - at);
		s.rest = little_endian(rest);
		s.length += end - at;
	}
	*state = s;
}

void
evpub_siphash_final(EvpubSipHash *state, uint8 result[EVPUB_SIPHASH_LENGTH])
{
	uint64		halves[2];

	take_word(state, state->rest | state->length << 56);
	state->v2 ^= 0xee;
	for (int i = 0; i < 4; i++)
		mix(state);
	halves[0] = little_endian(state->v0 ^ state->v1 ^ state->v2 ^ state->v3);
	state->v1 ^= 0xdd;
	for (int i = 0; i < 4; i++)
		mix(state);
	halves[1] = little_endian(state->v0 ^ state->v1 ^ state->v2 ^ state->v3);
	memcpy(result, halves, sizeof(halves));
}
