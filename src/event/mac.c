/*
 * mac.c
 *		Proof that a message was written by evpub: SipHash-2-4 of 128 bits.
 *
 * That is enough: who has no key has to guess 128 bits, which he can try only by
 * writing a message into WAL for each guess, and the worker counts and logs those that
 * are wrong (forged_dropped).  SipHash was made for this use, a secret key and short
 * messages, and no attack is known on what is used here that is better than guessing
 * the key.  HMAC-SHA256 would prove no more, and costs several times as much for
 * messages as short as ours.
 *
 * The key is made of the cluster's mock authentication nonce: it lies in pg_control,
 * and is the same on every copy of the cluster (a standby must accept what the
 * primary wrote).  So it is no secret from whoever can read files of the data
 * directory, with pg_read_binary_file() for instance, or has a copy of the server:
 * he can forge events as an ordinary role, as long as that may call
 * pg_logical_emit_message().  evpub.check() says how to end that.  PostgreSQL uses
 * the nonce for something else; that the key is derived, with a name of ours, keeps
 * the two apart.
 */
#include "postgres.h"

#include "access/xlog.h"

#include "event/event.h"
#include "event/siphash.h"

/* Length of what GetMockAuthenticationNonce() returns. */
#define NONCE_LENGTH 32

StaticAssertDecl(EVPUB_MAC_LENGTH == EVPUB_SIPHASH_LENGTH, "the MAC is a SipHash");
StaticAssertDecl(NONCE_LENGTH == 2 * EVPUB_SIPHASH_KEY_LENGTH, "half of the nonce is a key");

/* A message under our key that has not begun; once for a process. */
static EvpubSipHash keyed;
static bool have_key = false;

/* One half of the nonce is the key under which ours is made of the other. */
static void
make_key(void)
{
	static const char name[] = "evpub message authentication";
	const uint8 *nonce = (const uint8 *) GetMockAuthenticationNonce();
	uint8		key[EVPUB_SIPHASH_LENGTH];
	EvpubSipHash state;

	evpub_siphash_init(&state, nonce);
	evpub_siphash_update(&state, name, sizeof(name));
	evpub_siphash_update(&state, nonce + NONCE_LENGTH / 2, NONCE_LENGTH / 2);
	evpub_siphash_final(&state, key);
	evpub_siphash_init(&keyed, key);
	have_key = true;
}

/*
 * Compute the MAC (EVPUB_MAC_LENGTH bytes) of a message logged in database
 * "dbid" by transaction "xid".  The header is filled up with zeros, so that the body
 * begins with a whole word of the hash.  No two messages are the same for that: the
 * header's first byte is the kind, and all headers of a kind have one length.
 */
void
evpub_mac(uint8 *dst, Oid dbid, TransactionId xid,
		  const char *header, Size header_len,
		  const char *body, Size body_len)
{
	EvpubSipHash state;
	struct
	{
		Oid			dbid;
		TransactionId xid;
		char		header[8];
	}			bound = {dbid, xid, {0}};

	StaticAssertStmt(sizeof(bound) == 16, "there is no padding");
	Assert(header_len <= sizeof(bound.header));
	memcpy(bound.header, header, header_len);
	if (!have_key)
		make_key();
	state = keyed;
	evpub_siphash_update(&state, &bound, sizeof(bound));
	evpub_siphash_update(&state, body, body_len);
	evpub_siphash_final(&state, dst);
}

/* Compare two MACs in a time that does not depend on where they differ. */
bool
evpub_mac_equal(const uint8 *a, const uint8 *b)
{
	uint8		difference = 0;

	for (int i = 0; i < EVPUB_MAC_LENGTH; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}
