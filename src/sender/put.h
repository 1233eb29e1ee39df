/*
 * put.h
 *		From a transaction's chunks to the records of a batch.
 */
#ifndef EVPUB_PUT_H
#define EVPUB_PUT_H

#include "postgres.h"

#include "sender/relayclient.h"
#include "sender/streamdata.h"

/*
 * Put events of the head into the batch, until that has "limit" bytes or
 * "most" more records, from number stream->put_next on: 0, or where the batch
 * before ended, or where the acknowledgements did.  True when the head has no
 * more.
 */
extern bool evpub_put_transaction(EvpubStream *stream, EvpubTransaction *head,
								  EvpubRelay *relay, int limit, uint32 most);

/* Close the chunk that is open, if any. */
extern void evpub_put_close(EvpubStream *stream);

#endif							/* EVPUB_PUT_H */
