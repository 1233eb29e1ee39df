/*
 * walfind.c
 *		What there is of WAL that may be missing or damaged.
 *
 * To decide over a gap one has to know whether a segment is there, whether a range
 * can be read, and where reading can go on behind a break.  Each answer decides
 * what is given up.  So an error that says nothing of WAL (no memory, a file that
 * cannot be opened) is passed on, and never taken for missing WAL.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"

#include "reader/walfind.h"

static EvpubWalReader *
reader_up_to_now(void)
{
	EvpubWalReader *reader = evpub_walreader_create();
	TimeLineID	timeline;
	XLogRecPtr	end = evpub_walreader_end(&timeline);

	/* a history that cannot be read throws; no file is open yet */
	evpub_walreader_set_limit(reader, end, timeline);
	return reader;
}

/* When the worker is to leave, a decision over a gap ends with an error. */
static void
take_interrupts(const EvpubWalReader *reader)
{
	CHECK_FOR_INTERRUPTS();
	if (ShutdownRequestPending)
		ereport(ERROR,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("reading WAL ends, since the server or the publisher is being stopped")));
	if (reader->deadline != 0 && evpub_clock_left(reader->deadline) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("reading WAL ends, since it takes too long")));
}

static bool
segment_exists(EvpubWalReader *reader, XLogRecPtr page)
{
	char		path[MAXPGPATH];
	struct stat st;
	XLogSegNo	segment;

	XLByteToSeg(page, segment, wal_segment_size);
	XLogFilePath(path, evpub_walreader_segment_timeline(reader, page), segment, wal_segment_size);
	if (stat(path, &st) == 0)
		return true;
	if (errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	return false;
}

/*
 * Where the first record starts in this page or, when the end of another one
 * fills it, in a later one; without looking at the record.
 */
static XLogRecPtr
first_start(EvpubWalReader *reader, XLogRecPtr page)
{
	for (; page + SizeOfXLogLongPHD < reader->limit; page += XLOG_BLCKSZ)
	{
		char	   *data;
		XLogPageHeader header;
		uint32		size;

		take_interrupts(reader);
		data = evpub_walreader_page(reader, page);
		header = (XLogPageHeader) data;
		if (!XLogReaderValidatePageHeader(reader->xlog, page, data))
			return InvalidXLogRecPtr;
		size = XLogPageHeaderSize(header);
		if (!(header->xlp_info & XLP_FIRST_IS_CONTRECORD))
			return page + size;
		if (MAXALIGN(header->xlp_rem_len) < XLOG_BLCKSZ - size)
			return page + size + MAXALIGN(header->xlp_rem_len);
	}
	return InvalidXLogRecPtr;
}

XLogRecPtr
evpub_walfind_first(EvpubWalReader *reader, XLogRecPtr page)
{
	XLogRecPtr	start = first_start(reader, page);

	if (start == InvalidXLogRecPtr || start >= reader->limit)
		return InvalidXLogRecPtr;
	evpub_walreader_seek(reader, start);
	do
	{
		take_interrupts(reader);
		start = evpub_walreader_next_of_any(reader);
	} while (start == InvalidXLogRecPtr && reader->yielded);
	return start;
}

/* First valid record that starts in this page or later, if the page is good. */
static XLogRecPtr
find_from_page(EvpubWalReader *reader, XLogRecPtr page)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile XLogRecPtr found = InvalidXLogRecPtr;

	PG_TRY();
	{
		found = evpub_walfind_first(reader, page);
	}
	PG_CATCH();
	{
		/* a lack of memory, for example, must not make a gap larger than it is */
		if (!evpub_walreader_no_wal(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
	}
	PG_END_TRY();
	return found;
}

static XLogRecPtr
find_up_to_limit(EvpubWalReader *reader, XLogRecPtr lsn)
{
	XLogRecPtr	page = lsn - lsn % XLOG_BLCKSZ;
	XLogRecPtr	found = InvalidXLogRecPtr;

	if (page < lsn)
		page += XLOG_BLCKSZ;
	for (; page < reader->limit; page += XLOG_BLCKSZ)
	{
		take_interrupts(reader);
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
	return found;
}

XLogRecPtr
evpub_walfind_record(XLogRecPtr lsn)
{
	return evpub_walfind_record_until(lsn, 0);
}

XLogRecPtr
evpub_walfind_record_until(XLogRecPtr lsn, EvpubMsec deadline)
{
	EvpubWalReader *reader = reader_up_to_now();
	volatile XLogRecPtr found = InvalidXLogRecPtr;

	reader->deadline = deadline;

	/* the reader holds a file descriptor, which no context closes */
	PG_TRY();
	{
		found = find_up_to_limit(reader, lsn);
	}
	PG_FINALLY();
	{
		evpub_walreader_free(reader);
	}
	PG_END_TRY();
	return found;
}

bool
evpub_walfind_segment(XLogRecPtr lsn)
{
	EvpubWalReader *reader = reader_up_to_now();
	volatile bool exists = false;

	PG_TRY();
	{
		exists = segment_exists(reader, lsn);
	}
	PG_FINALLY();
	{
		evpub_walreader_free(reader);
	}
	PG_END_TRY();
	return exists;
}

bool
evpub_walfind_readable(XLogRecPtr from, XLogRecPtr to)
{
	MemoryContext caller = CurrentMemoryContext;
	EvpubWalReader *reader = reader_up_to_now();
	volatile bool readable = true;

	PG_TRY();
	{
		evpub_walreader_seek(reader, from);
		while (readable && reader->position < to)
		{
			take_interrupts(reader);
			/* each record: what is behind "to" does not matter */
			if (evpub_walreader_next_of_any(reader) == InvalidXLogRecPtr)
			{
				/* a pass that a shutdown ended says nothing of WAL */
				take_interrupts(reader);
				readable = false;
			}
		}
	}
	PG_CATCH();
	{
		if (!evpub_walreader_no_wal(geterrcode()))
		{
			evpub_walreader_free(reader);
			PG_RE_THROW();
		}
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		readable = false;
	}
	PG_END_TRY();
	evpub_walreader_free(reader);
	return readable;
}
