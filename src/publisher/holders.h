/*
 * holders.h
 *		Which transactions hold back WAL.
 */
#ifndef EVPUB_HOLDERS_H
#define EVPUB_HOLDERS_H

#include "postgres.h"

#include "clock.h"
#include "reader/assembler.h"
#include "shmem.h"

typedef struct EvpubHolders
{
	EvpubHolder oldest[EVPUB_MAX_HOLDERS];	/* the oldest first */
	int			count;
	EvpubMsec	looked_at;
	XLogRecPtr	read_lsn;		/* WAL was read up to here */
} EvpubHolders;

/*
 * Look which transactions hold back WAL, at most once a second.  assembler: of
 * the reader that has come to read_lsn; NULL: nothing is read.
 */
extern void evpub_holders_look(EvpubHolders *holders, EvpubAssembler *assembler,
							   XLogRecPtr read_lsn);

/*
 * The one that has held back more than a segment of WAL, as a reason for
 * evpub.status; NULL: none.  In memory of the current context.
 */
extern const char *evpub_holders_reason(const EvpubHolders *holders,
										XLogRecPtr restart_lsn);

#endif							/* EVPUB_HOLDERS_H */
