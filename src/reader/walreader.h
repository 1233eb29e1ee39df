/*
 * walreader.h
 *		Reading WAL records in order, up to a limit that the caller gives.
 */
#ifndef EVPUB_WALREADER_H
#define EVPUB_WALREADER_H

#include "postgres.h"

#include "access/xlogreader.h"
#include "nodes/pg_list.h"

#include "clock.h"
#include "reader/walend.h"
#include "reader/walpass.h"

typedef struct EvpubWalReader
{
	XLogReaderState *xlog;
	MemoryContext xlog_context; /* all that it allocates */
	bool		reading;		/* it is reading, or was when an error came */
	XLogRecPtr	position;		/* end of the last record that was returned */
	XLogRecPtr	limit;			/* read no byte at or beyond this */
	bool		at_limit;		/* the last read stopped there */
	TimeLineID	timeline;		/* the one that the limit is on */
	List	   *history;		/* of timeline; NIL: it is the first */
	MemoryContext context;

	/* of large records that nobody wants (walpass.h) */
	EvpubWalPass pass;
	Size		slice;			/* return to the caller after so much; 0: never */
	bool		yielded;		/* the last read did, and there is more */
	bool		oversized;		/* it returned a message that can only be forged */

	EvpubMsec	deadline;		/* to find a record behind a break; 0: none */
} EvpubWalReader;

/* Allocates in CurrentMemoryContext. */
extern EvpubWalReader *evpub_walreader_create(void);
extern void evpub_walreader_free(EvpubWalReader *reader);

/* Go to a position where a record starts or ends. */
extern void evpub_walreader_seek(EvpubWalReader *reader, XLogRecPtr lsn);

/* Set how far may be read. */
extern void evpub_walreader_set_limit(EvpubWalReader *reader, XLogRecPtr limit,
									  TimeLineID timeline);

/*
 * Read the next record that somebody may want: a logical message, the end of a
 * transaction or its PREPARE, RUNNING_XACTS; reader->xlog then describes it.  False
 * when the limit is reached, or with "yielded".  All others are passed over
 * (walskim.h, walpass.h), so the position may be far behind the record of before.
 * For a large one that has our prefix and is larger than any of ours can be,
 * true is returned with "oversized", and then only pass.start and
 * pass.head.record describe it.
 *
 * A record that is missing or does not verify is an ERROR, for which
 * evpub_walreader_no_wal() is true.  It is false for all other errors: memory,
 * files that cannot be read, interrupts.  After these the same record can be
 * tried again.
 */
extern bool evpub_walreader_next(EvpubWalReader *reader);
extern bool evpub_walreader_no_wal(int sqlerrcode);

/*
 * The timeline that a record starting at lsn belongs to.  Events are named by
 * the start of their commit record: the switch point of a history equals the
 * end of the last commit before it exactly, so its end would name the new one.
 */
extern TimeLineID evpub_walreader_timeline_of(EvpubWalReader *reader, XLogRecPtr lsn);

/*
 * Read the next record, whatever it is, and return where it starts.  A large one
 * that nobody wants is passed over and counts as read.  InvalidXLogRecPtr when
 * the limit is reached, or with "yielded".  Errors: as evpub_walreader_next().
 */
extern XLogRecPtr evpub_walreader_next_of_any(EvpubWalReader *reader);

/* The page that starts at "page", as evpub_walpass_page() gives it. */
extern char *evpub_walreader_page(EvpubWalReader *reader, XLogRecPtr page);

/* The timeline in whose segment file lsn is. */
extern TimeLineID evpub_walreader_segment_timeline(EvpubWalReader *reader,
												   XLogRecPtr lsn);

#endif							/* EVPUB_WALREADER_H */
