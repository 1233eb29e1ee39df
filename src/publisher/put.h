/*
 * put.h
 *		From a transaction's chunks to the records of a batch.
 */
#ifndef EVPUB_PUT_H
#define EVPUB_PUT_H

#include "postgres.h"

#include "publisher/relayclient.h"
#include "publisher/stream.h"

/*
 * Put events of the head into the batch, until it has "limit" bytes, from
 * number *next on: 0, or where the batch before ended, or where the last
 * worker's acknowledgements did.  True when it has no more; *next is then the
 * number after the last one.  *count grows by the records.
 */
extern bool evpub_put_transaction(EvpubStream *stream, EvpubTransaction *head,
								  EvpubRelay *relay, int limit,
								  uint32 *count, uint32 *next);

/* Close the chunk that is open, if any. */
extern void evpub_put_close(EvpubStream *stream);

#endif							/* EVPUB_PUT_H */
