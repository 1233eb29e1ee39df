/*
 * assembler.h
 *		Joins chunks to the commit of their transaction.
 */
#ifndef EVPUB_ASSEMBLER_H
#define EVPUB_ASSEMBLER_H

#include "postgres.h"

#include "reader/openxids.h"
#include "reader/walreader.h"

typedef struct EvpubAssembler EvpubAssembler;

/*
 * What kind of record evpub_assembler_feed() met.  Callers have to know whether
 * WAL is ours.
 */
typedef enum EvpubRecordKind
{
	EVPUB_RECORD_FOREIGN,
	EVPUB_RECORD_OURS,			/* a chunk or the end of a transaction with chunks */
	EVPUB_RECORD_HOUSEKEEPING	/* RUNNING_XACTS, or a position message */
} EvpubRecordKind;

/*
 * Create an assembler in a context of its own below the current one.
 * memory: bytes of chunks that may be held; what is beyond is read again from
 * WAL when it is needed.
 */
extern EvpubAssembler *evpub_assembler_create(Size memory);
extern void evpub_assembler_free(EvpubAssembler *assembler);
extern void evpub_assembler_set_memory(EvpubAssembler *assembler, Size memory);

/* Be silent about forged messages: whoever publishes has reported them. */
extern void evpub_assembler_count_only(EvpubAssembler *assembler);

/*
 * Take in the record that the reader just read.  Returns a transaction when
 * the record commits one that has events; the caller then owns it and gives
 * it back with evpub_assembler_release().  commit.publisher_id is not set.
 */
extern EvpubTransaction *evpub_assembler_feed(EvpubAssembler *assembler,
											  EvpubWalReader *reader,
											  EvpubRecordKind *kind);
extern void evpub_assembler_release(EvpubAssembler *assembler,
									EvpubTransaction *transaction);

/*
 * The bytes of a transaction's chunk number i, valid until the next call for
 * any transaction.  limit and timeline: as for the reader.
 */
extern const char *evpub_assembler_chunk(EvpubAssembler *assembler,
										 EvpubTransaction *transaction, int i,
										 XLogRecPtr limit, TimeLineID timeline);

/* LSN of the first chunk of any open transaction, or InvalidXLogRecPtr. */
extern XLogRecPtr evpub_assembler_oldest(EvpubAssembler *assembler);

/* Xids of prepared transactions with chunks that wait for their second phase. */
extern int	evpub_assembler_prepared(EvpubAssembler *assembler);

/* All xids with chunks that are open, in no order. */
extern void evpub_assembler_each(EvpubAssembler *assembler,
								 EvpubOpenCallback callback, void *arg);

/* Is any transaction with chunks open? */
extern bool evpub_assembler_empty(EvpubAssembler *assembler);

/* Messages with our prefix that nobody of us wrote, and where the last was. */
extern uint64 evpub_assembler_forged(EvpubAssembler *assembler);

#endif							/* EVPUB_ASSEMBLER_H */
