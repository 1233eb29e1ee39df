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

#include "access/timeline.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "access/xlogutils.h"
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

void
evpub_walreader_seek(EvpubWalReader *reader, XLogRecPtr lsn)
{
	reader->position = lsn;
	XLogBeginRead(reader->xlog, lsn);
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
		XLogBeginRead(reader->xlog, reader->position);
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
		XLogBeginRead(reader->xlog, reader->position);
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
	XLogBeginRead(reader->xlog, reader->position);
	if (reader->at_limit)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("could not read WAL at %X/%X: %s",
					LSN_FORMAT_ARGS(reader->position),
					message ? message : "no valid record")));
}
