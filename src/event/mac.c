/*
 * mac.c
 *		Proof that a message was written by evpub: HMAC-SHA256, cut to 128 bits.
 *
 * The key is the cluster's mock authentication nonce: it lies in pg_control, and
 * is the same on every copy of the cluster (a standby must accept what the
 * primary wrote).  So it is no secret from whoever can read files of the data
 * directory, with pg_read_binary_file() for instance, or has a copy of the server:
 * he can forge events as an ordinary role, as long as that may call
 * pg_logical_emit_message().  evpub.check() says how to end that.
 *
 * The context is made once for a process.  PostgreSQL hangs such a context on
 * the current resource owner, which in a backend ends with the transaction and
 * in a background worker may not be there at all; so it gets an owner of its
 * own that is never released.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "utils/resowner.h"

#include "event/event.h"

/* Length of what GetMockAuthenticationNonce() returns. */
#define NONCE_LENGTH 32

static pg_hmac_ctx *context = NULL;

static void
create_context(void)
{
	ResourceOwner saved = CurrentResourceOwner;
	ResourceOwner owner;

	owner = ResourceOwnerCreate(NULL, "evpub mac");
	CurrentResourceOwner = owner;
	PG_TRY();
	{
		context = pg_hmac_create(PG_SHA256);
	}
	PG_FINALLY();
	{
		CurrentResourceOwner = saved;
	}
	PG_END_TRY();
	if (context == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
}

/*
 * Compute the MAC (EVPUB_MAC_LENGTH bytes) of a message logged in database
 * "dbid" by transaction "xid".
 */
void
evpub_mac(uint8 *dst, Oid dbid, TransactionId xid,
		  const char *header, Size header_len,
		  const char *body, Size body_len)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	uint32		bound[2] = {dbid, xid};

	if (context == NULL)
		create_context();

	if (pg_hmac_init(context, (const uint8 *) GetMockAuthenticationNonce(),
					 NONCE_LENGTH) < 0 ||
		pg_hmac_update(context, (const uint8 *) bound, sizeof(bound)) < 0 ||
		pg_hmac_update(context, (const uint8 *) header, header_len) < 0 ||
		pg_hmac_update(context, (const uint8 *) body, body_len) < 0 ||
		pg_hmac_final(context, digest, sizeof(digest)) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute the authentication code of an event chunk: %s",
						pg_hmac_error(context))));

	memcpy(dst, digest, EVPUB_MAC_LENGTH);
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
