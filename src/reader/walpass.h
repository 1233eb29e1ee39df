/*
 * walpass.h
 *		Passing over a large WAL record without holding it in memory.
 */
#ifndef EVPUB_WALPASS_H
#define EVPUB_WALPASS_H

#include "postgres.h"

#include "access/xlogreader.h"
#include "port/pg_crc32c.h"

/* Records up to this size are assembled, whatever they are; a test passes more. */
#ifndef EVPUB_PASS_ABOVE
#define EVPUB_PASS_ABOVE (128 * 1024)
#endif

/*
 * Pages are read in runs of so many bytes, which hold any record that is assembled;
 * where reading has just gone elsewhere, of fewer.  Each is one page at least, and
 * pages may have 64 kB.
 */
#define EVPUB_PASS_RUN (256 * 1024)
#define EVPUB_PASS_FIRST_RUN Max(32 * 1024, XLOG_BLCKSZ)

/* What is kept of a record: its header, and the first bytes of a message. */
#define EVPUB_PASS_HEAD 128

typedef enum EvpubPassResult
{
	EVPUB_PASS_DONE,			/* the record is passed; "end" is behind it */
	EVPUB_PASS_LIMIT,			/* the rest is not there yet; go on later */
	EVPUB_PASS_YIELD,			/* enough for now; go on when it suits */
	EVPUB_PASS_OVERWRITTEN,		/* a crash cut it; WAL goes on at "page" */
	EVPUB_PASS_ASSEMBLE			/* it is wanted, or something is wrong with it */
} EvpubPassResult;

typedef struct EvpubWalPass
{
	XLogRecPtr	start;			/* of the record; invalid: none is being passed */
	XLogRecPtr	previous;		/* start of the record before; invalid: not known */
	XLogRecPtr	page;			/* the next one to look at */
	XLogRecPtr	end;
	uint32		total;			/* bytes of the record */
	uint32		got;			/* of these, seen */
	bool		decided;		/* that it is not wanted */
	bool		oversized;		/* it has our prefix, and is larger than any of ours */
	pg_crc32c	crc;			/* of the bytes behind its header, so far */
	union
	{
		XLogRecord	record;
		char		bytes[EVPUB_PASS_HEAD];
	}			head;

	/* pages that were read at once */
	char	   *buffer;			/* NULL until it is needed */
	XLogRecPtr	buffer_start;
	uint32		buffer_length;	/* in whole pages; 0: there is nothing in it */
	uint32		buffer_known;	/* of it, below the limit when it was read */
	XLogRecPtr	checked_page;	/* of which the header was found good last */
	uint32		run;			/* bytes to read at once; 0: EVPUB_PASS_RUN */
} EvpubWalPass;

/* Which timeline's file has a page; the argument is given to evpub_walpass_go(). */
typedef TimeLineID (*EvpubPageTimeline) (void *arg, XLogRecPtr page);

/* What a pass reads through, and how far. */
typedef struct EvpubPassSource
{
	XLogReaderState *xlog;
	XLogRecPtr	limit;			/* read no byte at or beyond this */
	Size		slice;			/* yield after so many bytes; 0: never */
	EvpubPageTimeline timeline;
	void	   *arg;
	MemoryContext context;		/* for the buffer */
} EvpubPassSource;

/*
 * The page that starts at "page", as it is up to "upto", which is in this page and
 * not above the limit; what is behind that is not to be looked at.  Valid until the
 * next call.  Errors are those of WALRead().
 */
extern char *evpub_walpass_page(EvpubWalPass *pass, const EvpubPassSource *source,
								XLogRecPtr page, XLogRecPtr upto);

/*
 * Read pages from the one that starts at "page" on, which must start below the
 * limit.  False if the buffer, which began with this page, has no more of them than
 * before: they end at the limit, at the end of the segment, or where reading fails.
 */
extern bool evpub_walpass_fill(EvpubWalPass *pass, const EvpubPassSource *source,
							   XLogRecPtr page);

/* Reading goes on elsewhere, perhaps for one record only: begin with a short run. */
extern void evpub_walpass_elsewhere(EvpubWalPass *pass);

/* What was read may be replaced in the files: read it again. */
extern void evpub_walpass_reread(EvpubWalPass *pass);

/* Begin to pass over the record at "start"; then call _go until it is over. */
extern void evpub_walpass_begin(EvpubWalPass *pass, XLogRecPtr start,
								XLogRecPtr previous, uint32 total);
extern EvpubPassResult evpub_walpass_go(EvpubWalPass *pass,
										const EvpubPassSource *source);

/* Forget the record that is being passed. */
extern void evpub_walpass_reset(EvpubWalPass *pass);

#endif							/* EVPUB_WALPASS_H */
