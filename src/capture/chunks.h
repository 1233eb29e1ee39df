/*
 * chunks.h
 *		Logs events as chunks.
 */
#ifndef EVPUB_CAPTURE_CHUNKS_H
#define EVPUB_CAPTURE_CHUNKS_H

#include "postgres.h"

#include "capture/collapse.h"

/* Bytes that a buffer may keep from one transaction to the next. */
#define EVPUB_KEEP_BYTES (64 * 1024)

/*
 * Log these events under the current xid, without those that are dropped.
 * "next" is the number of the transaction's next event.  "final": the transaction
 * ends, so there will be none; the last chunk says so, and is logged in any case.
 */
extern void evpub_chunks_log(const EvpubBuffered *events, Size count,
							 const char *arena, uint32 next, bool final);

/* Has the transaction logged a chunk, perhaps in a part that was rolled back? */
extern bool evpub_chunks_logged(void);

/* The transaction has ended, however it did. */
extern void evpub_chunks_end(void);

#endif							/* EVPUB_CAPTURE_CHUNKS_H */
