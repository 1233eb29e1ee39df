/*
 * walreader.c
 *		An XLogReader of our own, as the WAL summarizer and pg_walinspect have.
 *
 * The stock read_local_xlog_page() waits in a loop of one-millisecond sleeps
 * when a record crosses the end of flushed WAL; a worker that serves a socket
 * cannot.  Ours returns "no data" at the limit and starts the record again
 * when there is more.  The price is that a record cut by the limit is read
 * twice.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/timeline.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "publisher/walreader.h"

/* Bytes of a record's buffer that are kept for the next one. */
#define KEEP_BUFFER (2 * 1024 * 1024)

XLogRecPtr
evpub_walreader_end(TimeLineID *timeline)
{
	if (RecoveryInProgress())
		return GetXLogReplayRecPtr(timeline);
	return GetFlushRecPtr(timeline);
}

XLogRecPtr
evpub_walreader_before_header(XLogRecPtr lsn)
{
	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		return lsn - SizeOfXLogLongPHD;
	if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return lsn - SizeOfXLogShortPHD;
	return lsn;
}

XLogRecPtr
evpub_walreader_insert_end(void)
{
	return evpub_walreader_before_header(GetXLogInsertRecPtr());
}

/*
 * The timeline whose segment file holds lsn.  Chosen by the last byte of the
 * segment: at a switch the new timeline's first segment starts with a copy of
 * the old one's, and the old one's file may be gone or ".partial".
 */
static TimeLineID
segment_timeline(EvpubWalReader *reader, XLogRecPtr lsn)
{
	XLogRecPtr	last_byte;

	if (reader->history == NIL)
		return reader->timeline;
	last_byte = lsn - XLogSegmentOffset(lsn, wal_segment_size) +
		wal_segment_size - 1;
	return tliOfPointInHistory(last_byte, reader->history);
}

TimeLineID
evpub_walreader_timeline_of(EvpubWalReader *reader, XLogRecPtr lsn)
{
	if (reader->history == NIL)
		return reader->timeline;
	return tliOfPointInHistory(lsn, reader->history);
}

static int
read_page(XLogReaderState *xlog, XLogRecPtr page, int needed,
		  XLogRecPtr record, char *buffer)
{
	EvpubWalReader *reader = xlog->private_data;
	WALReadError error;
	int			valid;

	(void) record;
	if (page + XLOG_BLCKSZ <= reader->limit)
		valid = XLOG_BLCKSZ;
	else if (page + needed > reader->limit)
	{
		reader->at_limit = true;
		return -1;
	}
	else
		valid = reader->limit - page;

	/* the whole page is in the file; of it we vouch for "valid" bytes only */
	if (!WALRead(xlog, buffer, page, XLOG_BLCKSZ,
				 segment_timeline(reader, page), &error))
		WALReadRaiseError(&error);
	return valid;
}

static void
allocate_xlog(EvpubWalReader *reader)
{
	reader->xlog = XLogReaderAllocate(wal_segment_size, NULL,
									  XL_ROUTINE(.page_read = &read_page,
												 .segment_open = &wal_segment_open,
												 .segment_close = &wal_segment_close),
									  reader);
	if (!reader->xlog)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while allocating a WAL reading processor.")));
}

EvpubWalReader *
evpub_walreader_create(void)
{
	EvpubWalReader *reader = palloc0(sizeof(EvpubWalReader));

	reader->context = CurrentMemoryContext;
	allocate_xlog(reader);
	return reader;
}

static void
free_xlog(EvpubWalReader *reader)
{
	if (reader->xlog->seg.ws_file >= 0)
		wal_segment_close(reader->xlog);
	XLogReaderFree(reader->xlog);
}

void
evpub_walreader_free(EvpubWalReader *reader)
{
	free_xlog(reader);
	list_free_deep(reader->history);
	pfree(reader);
}

/*
 * At the start of a page the next record lies behind its header.  The reader
 * skips it by itself, but 15's asserts that it is begun at a record.
 */
static void
begin_read(EvpubWalReader *reader)
{
	XLogRecPtr	lsn = reader->position;

	if (XLogSegmentOffset(lsn, wal_segment_size) == 0)
		lsn += SizeOfXLogLongPHD;
	else if (lsn % XLOG_BLCKSZ == 0)
		lsn += SizeOfXLogShortPHD;
	XLogBeginRead(reader->xlog, lsn);
}

void
evpub_walreader_seek(EvpubWalReader *reader, XLogRecPtr lsn)
{
	reader->position = lsn;
	begin_read(reader);
}

void
evpub_walreader_set_limit(EvpubWalReader *reader, XLogRecPtr limit,
						  TimeLineID timeline)
{
	reader->limit = limit;
	if (timeline == reader->timeline)
		return;

	/* the open segment may be the old timeline's: open the right one anew */
	if (reader->xlog->seg.ws_file >= 0)
		wal_segment_close(reader->xlog);
	list_free_deep(reader->history);
	reader->history = NIL;
	reader->timeline = timeline;
	if (timeline > 1)
	{
		MemoryContext old = MemoryContextSwitchTo(reader->context);

		reader->history = readTimeLineHistory(timeline);
		MemoryContextSwitchTo(old);
	}
	if (reader->position != InvalidXLogRecPtr)
		begin_read(reader);
}

bool
evpub_walreader_next(EvpubWalReader *reader)
{
	char	   *message = NULL;
	MemoryContext old;
	XLogRecord *record;

	/* nothing new: do not even look at the page */
	if (reader->position >= reader->limit)
		return false;

	/* the reader grows its buffers in the current context, and keeps them */
	reader->at_limit = false;
	old = MemoryContextSwitchTo(reader->context);
	if (reader->xlog->readRecordBufSize > KEEP_BUFFER)
	{
		/* anyone can write a record of hundreds of megabytes: do not keep that */
		free_xlog(reader);
		allocate_xlog(reader);
		begin_read(reader);
	}
	record = XLogReadRecord(reader->xlog, &message);
	MemoryContextSwitchTo(old);
	if (record)
	{
		reader->position = reader->xlog->EndRecPtr;
		return true;
	}

	/* the reader has lost its place in either case, and forgets its message */
	if (message)
		message = pstrdup(message);
	begin_read(reader);
	if (reader->at_limit)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("could not read WAL at %X/%X: %s",
					LSN_FORMAT_ARGS(reader->position),
					message ? message : "no valid record")));
}

/* ---- behind a break ---- */

static EvpubWalReader *
reader_up_to_now(void)
{
	EvpubWalReader *reader = evpub_walreader_create();
	TimeLineID	timeline;
	XLogRecPtr	end = evpub_walreader_end(&timeline);

	evpub_walreader_set_limit(reader, end, timeline);
	return reader;
}

static bool
segment_exists(EvpubWalReader *reader, XLogRecPtr page)
{
	char		path[MAXPGPATH];
	struct stat st;
	XLogSegNo	segment;

	XLByteToSeg(page, segment, wal_segment_size);
	XLogFilePath(path, segment_timeline(reader, page), segment, wal_segment_size);
	return stat(path, &st) == 0;
}

/* First valid record that starts in this page or later, if the page is good. */
static XLogRecPtr
find_from_page(EvpubWalReader *reader, XLogRecPtr page)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile XLogRecPtr found = InvalidXLogRecPtr;

	PG_TRY();
	{
		found = XLogFindNextRecord(reader->xlog, page);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		FlushErrorState();
	}
	PG_END_TRY();
	return found;
}

XLogRecPtr
evpub_walreader_find(XLogRecPtr lsn)
{
	EvpubWalReader *reader = reader_up_to_now();
	XLogRecPtr	page = lsn - lsn % XLOG_BLCKSZ;
	XLogRecPtr	found = InvalidXLogRecPtr;

	if (page < lsn)
		page += XLOG_BLCKSZ;
	for (; page < reader->limit; page += XLOG_BLCKSZ)
	{
		CHECK_FOR_INTERRUPTS();
		if (!segment_exists(reader, page))
		{
			/* the loop adds a page: begin with the next segment */
			page += wal_segment_size - XLogSegmentOffset(page, wal_segment_size) - XLOG_BLCKSZ;
			continue;
		}
		found = find_from_page(reader, page);
		if (found != InvalidXLogRecPtr)
			break;
	}
	evpub_walreader_free(reader);
	return found;
}

bool
evpub_walreader_has(XLogRecPtr lsn)
{
	EvpubWalReader *reader = reader_up_to_now();
	bool		exists = segment_exists(reader, lsn);

	evpub_walreader_free(reader);
	return exists;
}

bool
evpub_walreader_probe(XLogRecPtr from, XLogRecPtr to)
{
	MemoryContext caller = CurrentMemoryContext;
	EvpubWalReader *reader = reader_up_to_now();
	volatile bool readable = true;

	PG_TRY();
	{
		evpub_walreader_seek(reader, from);
		while (readable && reader->position < to)
			if (!evpub_walreader_next(reader))
				readable = false;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		readable = false;
	}
	PG_END_TRY();
	evpub_walreader_free(reader);
	return readable;
}
