/*
 * walreader.c
 *		An XLogReader of our own, as the WAL summarizer and pg_walinspect have.
 *
 * The stock read_local_xlog_page() waits in a loop of one-millisecond sleeps
 * when a record crosses the end of flushed WAL; a worker that serves a socket
 * cannot.  Ours returns "no data" at the limit and starts the record again
 * when there is more.  The price is that a record cut by the limit is read
 * twice, unless it is a large one (walpass.c).
 */
#include "postgres.h"

#include "access/timeline.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "reader/walreader.h"
#include "reader/walskim.h"

/* Bytes of a record's buffer that are kept for the next one. */
#define KEEP_BUFFER (2 * 1024 * 1024)

/*
 * By the last byte of the segment: at a switch the new timeline's first segment
 * starts with a copy of the old one's, and the old one's file may be gone or
 * ".partial".
 */
TimeLineID
evpub_walreader_segment_timeline(EvpubWalReader *reader, XLogRecPtr lsn)
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

static TimeLineID
page_timeline(void *reader, XLogRecPtr page)
{
	return evpub_walreader_segment_timeline(reader, page);
}

static EvpubPassSource
pass_source(EvpubWalReader *reader)
{
	EvpubPassSource source;

	source.xlog = reader->xlog;
	source.limit = reader->limit;
	source.slice = reader->slice;
	source.timeline = page_timeline;
	source.arg = reader;
	source.context = reader->context;
	return source;
}

static int
read_page(XLogReaderState *xlog, XLogRecPtr page, int needed,
		  XLogRecPtr record, char *buffer)
{
	EvpubWalReader *reader = xlog->private_data;
	EvpubPassSource source = pass_source(reader);
	int			valid;

	(void) record;
	/*
	 * XLogReader must not see a page of which only the header is there: it would
	 * fail without a message, and that would be taken for a gap.
	 */
	if (page + XLOG_BLCKSZ <= reader->limit)
		valid = XLOG_BLCKSZ;
	else if (page + Max(needed, (int) SizeOfXLogShortPHD + 1) > reader->limit)
	{
		reader->at_limit = true;
		return -1;
	}
	else
		valid = reader->limit - page;

	/* the whole page is in the file; of it we vouch for "valid" bytes only */
	memcpy(buffer, evpub_walpass_page(&reader->pass, &source, page, page + valid),
		   XLOG_BLCKSZ);
	return valid;
}

/*
 * The XLogReader has a context of its own.  It frees its buffer before it allocates
 * a larger one, and when there is no memory for that, the old pointer stays.  So
 * its parts must not be freed one by one.
 */
static XLogReaderState *
allocate_xlog(EvpubWalReader *reader, MemoryContext *context)
{
	XLogReaderState *xlog;
	MemoryContext old;

	*context = AllocSetContextCreate(reader->context, "evpub WAL reader",
									 ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(*context);
	xlog = XLogReaderAllocate(wal_segment_size, NULL,
							  XL_ROUTINE(.page_read = &read_page,
										 .segment_open = &wal_segment_open,
										 .segment_close = &wal_segment_close),
							  reader);
	MemoryContextSwitchTo(old);
	if (!xlog)
	{
		MemoryContextDelete(*context);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while allocating a WAL reading processor.")));
	}
	return xlog;
}

EvpubWalReader *
evpub_walreader_create(void)
{
	EvpubWalReader *reader = palloc0(sizeof(EvpubWalReader));

	reader->context = CurrentMemoryContext;
	reader->xlog = allocate_xlog(reader, &reader->xlog_context);
	return reader;
}

static void
free_xlog(EvpubWalReader *reader)
{
	if (reader->xlog->seg.ws_file >= 0)
		wal_segment_close(reader->xlog);
	MemoryContextDelete(reader->xlog_context);
}

void
evpub_walreader_free(EvpubWalReader *reader)
{
	free_xlog(reader);
	if (reader->pass.buffer)
		pfree(reader->pass.buffer);
	list_free_deep(reader->history);
	pfree(reader);
}

/*
 * The reader skips a page header by itself, but 15's asserts that it is begun
 * at a record.
 */
static void
begin_read(EvpubWalReader *reader)
{
	evpub_walpass_reset(&reader->pass);
	XLogBeginRead(reader->xlog, evpub_walskim_behind_header(reader->position));
}

/* The same, behind a record that is known: the next one must name it. */
static void
begin_read_after(EvpubWalReader *reader, XLogRecPtr previous)
{
	begin_read(reader);
	reader->xlog->DecodeRecPtr = previous;
}

void
evpub_walreader_seek(EvpubWalReader *reader, XLogRecPtr lsn)
{
	reader->position = lsn;
	evpub_walpass_elsewhere(&reader->pass);
	begin_read(reader);
}

/*
 * When a history is missing, PostgreSQL takes the timeline for one without parents.
 * Then events would get the wrong timeline, and WAL of the parents would be missed.
 * When it cannot read the file, it ends the process.
 */
static void
check_history(TimeLineID timeline)
{
	char		path[MAXPGPATH];
	int			fd;

	TLHistoryFilePath(path, timeline);
	fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	if (fd >= 0)
	{
		CloseTransientFile(fd);
		return;
	}
	if (errno == ENOENT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the history of timeline %u is missing: file \"%s\"",
						timeline, path),
				 errhint("Restore the file from the WAL archive, or from another server of this cluster.")));
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not open file \"%s\": %m", path)));
}

void
evpub_walreader_set_limit(EvpubWalReader *reader, XLogRecPtr limit,
						  TimeLineID timeline)
{
	List	   *history = NIL;

	reader->limit = limit;
	if (timeline == reader->timeline)
		return;
	if (timeline > 1)
	{
		MemoryContext old = MemoryContextSwitchTo(reader->context);

		check_history(timeline);
		history = readTimeLineHistory(timeline);
		MemoryContextSwitchTo(old);
	}

	/* the open segment may be the old timeline's: open the right one anew */
	if (reader->xlog->seg.ws_file >= 0)
		wal_segment_close(reader->xlog);
	list_free_deep(reader->history);
	reader->history = history;
	reader->timeline = timeline;
	evpub_walpass_reread(&reader->pass);
	if (reader->position != InvalidXLogRecPtr)
		begin_read(reader);
}

/* ---- the next record ---- */

typedef enum Step
{
	STEP_RECORD,				/* reader->xlog has it */
	STEP_PASSED,				/* reader->pass has what is known of it */
	STEP_SKIPPED,				/* a crash had cut it, and WAL goes on elsewhere */
	STEP_LIMIT,
	STEP_YIELD
} Step;

/*
 * Pass over small records that nobody wants.  Whatever happens, position and
 * XLogReader stand behind the last one that was passed.
 */
static Step
skim(EvpubWalReader *reader)
{
	XLogRecPtr	stop = reader->slice > 0 ?
		Min(reader->limit, reader->position + reader->slice) : reader->limit;

	for (;;)
	{
		EvpubSkimPlace place = {reader->position, reader->xlog->DecodeRecPtr};
		EvpubPassSource source = pass_source(reader);
		EvpubSkim	skimmed = evpub_walskim_go(&reader->pass, reader->xlog, stop, &place);
		XLogRecPtr	start;

		if (place.position != reader->position)
		{
			reader->position = place.position;
			begin_read_after(reader, place.previous);
		}
		if (place.position >= reader->limit)
			return STEP_LIMIT;
		if (place.position >= stop)
			return STEP_YIELD;
		start = evpub_walskim_behind_header(place.position);
		if (skimmed == EVPUB_SKIM_STOPPED || start >= reader->limit)
			return STEP_RECORD;
		CHECK_FOR_INTERRUPTS();

		/* the worker leaves before its next round; in others never set */
		if (ShutdownRequestPending)
			return STEP_LIMIT;

		/* what crosses the limit or a segment is left to XLogReader */
		if (!evpub_walpass_fill(&reader->pass, &source, start - start % XLOG_BLCKSZ))
			return STEP_RECORD;
	}
}

/*
 * Length of the record that comes next, or 0 if its first bytes are not there yet.
 * The length is the first field, and records are aligned, so it does not cross a
 * page.
 */
static uint32
next_length(EvpubWalReader *reader)
{
	XLogRecPtr	start = evpub_walskim_behind_header(reader->position);
	uint32		at = start % XLOG_BLCKSZ;
	EvpubPassSource source = pass_source(reader);
	uint32		length;

	if (start + sizeof(length) > reader->limit)
		return 0;
	memcpy(&length, evpub_walpass_page(&reader->pass, &source, start - at,
									   start + sizeof(length)) + at,
		   sizeof(length));
	return length;
}

/* Go on with the large record that is being passed. */
static Step
pass_over(EvpubWalReader *reader)
{
	EvpubWalPass *pass = &reader->pass;
	EvpubPassSource source = pass_source(reader);
	XLogRecPtr	start = pass->start;
	XLogRecPtr	previous = pass->previous;

	switch (evpub_walpass_go(pass, &source))
	{
		case EVPUB_PASS_DONE:
			reader->position = pass->end;
			begin_read_after(reader, start);

			/* the caller may want to know what it was */
			pass->start = start;
			return STEP_PASSED;
		case EVPUB_PASS_OVERWRITTEN:
			reader->position = pass->page;
			begin_read_after(reader, previous);
			return STEP_SKIPPED;
		case EVPUB_PASS_LIMIT:
			return STEP_LIMIT;
		case EVPUB_PASS_YIELD:
			return STEP_YIELD;
		case EVPUB_PASS_ASSEMBLE:
			begin_read_after(reader, previous);
			break;
	}
	return STEP_RECORD;
}

static Step
assemble(EvpubWalReader *reader)
{
	char	   *message = NULL;
	MemoryContext old;
	XLogRecord *record;

	/* the reader grows its buffers in the current context, and keeps them */
	reader->at_limit = false;
	old = MemoryContextSwitchTo(reader->xlog_context);
	reader->reading = true;
	record = XLogReadRecord(reader->xlog, &message);
	reader->reading = false;
	MemoryContextSwitchTo(old);
	if (record)
	{
		reader->position = reader->xlog->EndRecPtr;
		return STEP_RECORD;
	}

	/* the reader has lost its place in either case, and forgets its message */
	if (message)
		message = pstrdup(message);
	evpub_walpass_reread(&reader->pass);
	begin_read(reader);
	if (reader->at_limit)
		return STEP_LIMIT;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("could not read WAL at %X/%X: %s",
					LSN_FORMAT_ARGS(reader->position),
					message ? message : "no valid record")));
}

/*
 * A large record that was assembled leaves large buffers behind, and an error
 * may leave a reader that must not be used.
 */
static void
renew_xlog(EvpubWalReader *reader)
{
	XLogRecPtr	previous = reader->xlog->DecodeRecPtr;
	MemoryContext context;
	XLogReaderState *xlog = allocate_xlog(reader, &context);

	free_xlog(reader);
	reader->xlog = xlog;
	reader->xlog_context = context;
	reader->reading = false;
	begin_read_after(reader, previous);
}

/* "all": records that nobody wants are returned, too. */
static Step
step(EvpubWalReader *reader, bool all)
{
	EvpubWalPass *pass = &reader->pass;
	bool		passing = pass->start != InvalidXLogRecPtr && pass->got < pass->total;
	uint32		length;

	/* nothing new: do not even look at the page */
	if (reader->position >= reader->limit)
		return STEP_LIMIT;
	if (!passing)
	{
		if (unlikely(reader->reading ||
					 reader->xlog->readRecordBufSize > KEEP_BUFFER))
			renew_xlog(reader);
		pass->start = InvalidXLogRecPtr;
		if (!all)
		{
			Step		skimmed = skim(reader);

			if (skimmed != STEP_RECORD)
				return skimmed;
		}
		length = next_length(reader);
		passing = length > EVPUB_PASS_ABOVE;
		if (passing)
			evpub_walpass_begin(pass, evpub_walskim_behind_header(reader->position),
								reader->xlog->DecodeRecPtr, length);
	}
	if (passing)
	{
		Step		passed = pass_over(reader);

		if (passed != STEP_RECORD)
			return passed;
	}
	return assemble(reader);
}

/* STEP_RECORD or STEP_PASSED; STEP_LIMIT also with "yielded" */
static Step
next_record(EvpubWalReader *reader, bool all)
{
	Step		taken;

	reader->yielded = false;
	reader->oversized = false;
	do
		taken = step(reader, all);
	while (taken == STEP_SKIPPED);
	if (taken != STEP_YIELD)
		return taken;
	reader->yielded = true;
	return STEP_LIMIT;
}

bool
evpub_walreader_next(EvpubWalReader *reader)
{
	XLogRecPtr	begun_at = reader->position;

	for (;;)
	{
		Step		taken = next_record(reader, false);

		if (taken != STEP_RECORD && taken != STEP_PASSED)
			return false;
		if (taken == STEP_PASSED)
		{
			reader->oversized = reader->pass.oversized;
			if (reader->oversized)
				return true;
		}
		else if (evpub_walskim_wanted(XLogRecGetRmid(reader->xlog),
									  XLogRecGetInfo(reader->xlog)))
			return true;

		/*
		 * XLogReader had to read one that nobody wants, for a header that two pages
		 * share, say.  There is one in each few pages, and behind each the slice
		 * begins anew.
		 */
		if (reader->slice > 0 && reader->position - begun_at >= reader->slice)
		{
			reader->yielded = true;
			return false;
		}
	}
}

XLogRecPtr
evpub_walreader_next_of_any(EvpubWalReader *reader)
{
	switch (next_record(reader, true))
	{
		case STEP_RECORD:
			return reader->xlog->ReadRecPtr;
		case STEP_PASSED:
			return reader->pass.start;
		default:
			return InvalidXLogRecPtr;
	}
}

char *
evpub_walreader_page(EvpubWalReader *reader, XLogRecPtr page)
{
	EvpubPassSource source = pass_source(reader);

	return evpub_walpass_page(&reader->pass, &source, page,
							  Min(page + XLOG_BLCKSZ, reader->limit));
}

bool
evpub_walreader_no_wal(int sqlerrcode)
{
	/* a segment that is not there, or what is no valid WAL */
	return sqlerrcode == ERRCODE_UNDEFINED_FILE ||
		sqlerrcode == ERRCODE_DATA_CORRUPTED;
}
