/*
 * walpass.c
 *		Passing over a large WAL record without holding it in memory.
 *
 * Any role may write a logical message of a gigabyte.  XLogReader joins a
 * record's pages in one buffer and copies it once more to decode it, before
 * anybody can see that nobody wants it.  So records above EVPUB_PASS_ABOVE are
 * looked at here first: page by page, with the checks that XLogReader makes
 * (page headers, the length that is left, the link to the record before, the
 * CRC), and with nothing kept but the first bytes.  Those say whether the record
 * is wanted.
 *
 * A wrong step here would lose events.  Therefore nothing is concluded from a
 * record that does not pass every check: XLogReader gets it, and reports what
 * is wrong as it always did.  And the record that follows must name the passed
 * one as its predecessor, which XLogReader checks.
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecord.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "replication/message.h"

#include "event/event.h"
#include "reader/walpass.h"

StaticAssertDecl(EVPUB_PASS_HEAD >= SizeOfXLogRecord + 16 + SizeOfLogicalMessage +
				 sizeof(EVPUB_MESSAGE_PREFIX),
				 "the head must hold all that says what a record is");

void
evpub_walpass_reset(EvpubWalPass *pass)
{
	pass->start = InvalidXLogRecPtr;
}

void
evpub_walpass_reread(EvpubWalPass *pass)
{
	pass->buffer_length = 0;
	pass->buffer_known = 0;
	pass->checked_page = InvalidXLogRecPtr;
}

void
evpub_walpass_begin(EvpubWalPass *pass, XLogRecPtr start, XLogRecPtr previous,
					uint32 total)
{
	pass->start = start;
	pass->previous = previous;
	pass->page = start - start % XLOG_BLCKSZ;
	pass->end = InvalidXLogRecPtr;
	pass->total = total;
	pass->got = 0;
	pass->decided = false;
	pass->oversized = false;
	INIT_CRC32C(pass->crc);
}

void
evpub_walpass_elsewhere(EvpubWalPass *pass)
{
	pass->run = EVPUB_PASS_FIRST_RUN;
}

static bool
read_pages(EvpubWalPass *pass, const EvpubPassSource *source, XLogRecPtr page,
		   uint32 length, WALReadError *error)
{
	return WALRead(source->xlog, pass->buffer, page, length,
				   source->timeline(source->arg, page), error);
}

/*
 * What is below the limit does not change any more, so what is known of a page stays
 * so.  Of the page that is being filled, bytes behind the limit are not known, and
 * are read again when the limit has moved.
 */
bool
evpub_walpass_fill(EvpubWalPass *pass, const EvpubPassSource *source, XLogRecPtr page)
{
	WALReadError error;
	XLogRecPtr	known_before = pass->buffer_start == page ? page + pass->buffer_known : 0;
	uint32		run = pass->run > 0 ? pass->run : EVPUB_PASS_RUN;
	uint32		length = Min(run, wal_segment_size - XLogSegmentOffset(page, wal_segment_size));

	pass->run = Min(run * 2, EVPUB_PASS_RUN);

	/* whole pages; the last may be one that is still being filled */
	if (page + length > source->limit)
		length = TYPEALIGN(XLOG_BLCKSZ, source->limit - page);
	if (page == pass->buffer_start && length == pass->buffer_length &&
		pass->buffer_known == Min(length, source->limit - page))
		return false;
	if (!pass->buffer)
		pass->buffer = MemoryContextAlloc(source->context, EVPUB_PASS_RUN);

	/*
	 * WALRead may open another segment behind XLogReader's back, which
	 * recognizes the page in its buffer by the segment that is open: that page
	 * must not count any more.
	 */
	source->xlog->readLen = 0;
	evpub_walpass_reread(pass);
	if (!read_pages(pass, source, page, length, &error))
	{
		/* what can be read in front of a bad place, or of a file's end, is read */
		length = XLOG_BLCKSZ;
		if (!read_pages(pass, source, page, length, &error))
			WALReadRaiseError(&error);
	}
	pass->buffer_start = page;
	pass->buffer_length = length;
	pass->buffer_known = Min(length, source->limit - page);
	return page + pass->buffer_known > known_before;
}

char *
evpub_walpass_page(EvpubWalPass *pass, const EvpubPassSource *source,
				   XLogRecPtr page, XLogRecPtr upto)
{
	if (page < pass->buffer_start || upto > pass->buffer_start + pass->buffer_known)
		(void) evpub_walpass_fill(pass, source, page);
	return pass->buffer + (page - pass->buffer_start);
}

/* Take in the next bytes of the record. */
static void
take(EvpubWalPass *pass, const char *data, uint32 length)
{
	uint32		skip = 0;

	if (pass->got < EVPUB_PASS_HEAD)
		memcpy(pass->head.bytes + pass->got, data,
			   Min(length, EVPUB_PASS_HEAD - pass->got));

	/* the header comes last into the CRC */
	if (pass->got < SizeOfXLogRecord)
		skip = Min(length, SizeOfXLogRecord - pass->got);
	COMP_CRC32C(pass->crc, data + skip, length - skip);
	pass->got += length;
}

/* The same checks as in XLogReader, which then reports what is wrong. */
static bool
header_is_good(const EvpubWalPass *pass)
{
	const XLogRecord *record = &pass->head.record;

	if (record->xl_tot_len != pass->total || !RmgrIdIsValid(record->xl_rmid))
		return false;
	if (pass->previous == InvalidXLogRecPtr)
		return record->xl_prev < pass->start;
	return record->xl_prev == pass->previous;
}

static bool
crc_is_good(const EvpubWalPass *pass)
{
	pg_crc32c	crc = pass->crc;

	COMP_CRC32C(crc, pass->head.bytes, offsetof(XLogRecord, xl_crc));
	FIN_CRC32C(crc);
	return EQ_CRC32C(crc, pass->head.record.xl_crc);
}

/*
 * Is it a message that we may have written?  In front of a record's data stand
 * short headers; a message has no blocks.
 */
static bool
message_is_wanted(EvpubWalPass *pass)
{
	const char *p = pass->head.bytes + SizeOfXLogRecord;
	xl_logical_message message;

	while (*(const uint8 *) p != XLR_BLOCK_ID_DATA_LONG)
	{
		/* each occurs once at most, so that the head holds them */
		if (p - pass->head.bytes > (ptrdiff_t) SizeOfXLogRecord + 8)
			return true;
		if (*(const uint8 *) p == XLR_BLOCK_ID_ORIGIN)
			p += 1 + sizeof(RepOriginId);
		else if (*(const uint8 *) p == XLR_BLOCK_ID_TOPLEVEL_XID)
			p += 1 + sizeof(TransactionId);
		else
			return true;		/* not known: the decoder may judge */
	}
	p += 1 + sizeof(uint32);
	memcpy(&message, p, SizeOfLogicalMessage);
	if (message.prefix_size != sizeof(EVPUB_MESSAGE_PREFIX) ||
		memcmp(p + SizeOfLogicalMessage, EVPUB_MESSAGE_PREFIX,
			   sizeof(EVPUB_MESSAGE_PREFIX)) != 0)
		return false;
	if (pass->total <= EVPUB_CHUNK_LONGEST)
		return true;
	pass->oversized = true;
	return false;
}

static bool
is_wanted(EvpubWalPass *pass)
{
	switch (pass->head.record.xl_rmid)
	{
		case RM_XACT_ID:
		case RM_STANDBY_ID:
			return true;
		case RM_LOGICALMSG_ID:
			return message_is_wanted(pass);
		default:
			return false;
	}
}

/*
 * Take in the next page.  EVPUB_PASS_DONE: it is taken in, and there may be
 * more of the record.
 */
static EvpubPassResult
take_page(EvpubWalPass *pass, const EvpubPassSource *source)
{
	bool		continued = pass->got > 0;
	uint32		left = pass->total - pass->got;
	uint32		at;
	uint32		length;
	char	   *data;
	XLogPageHeader header;

	if (continued)
		at = XLogSegmentOffset(pass->page, wal_segment_size) == 0 ?
			SizeOfXLogLongPHD : SizeOfXLogShortPHD;
	else
		at = pass->start % XLOG_BLCKSZ;
	length = Min(XLOG_BLCKSZ - at, left);

	/*
	 * A page that is not wholly below the limit is looked at when it is: only
	 * then is its header certain to be the one that stays.
	 */
	if (pass->page + at + length > source->limit)
		return EVPUB_PASS_LIMIT;

	data = evpub_walpass_page(pass, source, pass->page, pass->page + at + length);
	header = (XLogPageHeader) data;
	if (!XLogReaderValidatePageHeader(source->xlog, pass->page, data))
		return EVPUB_PASS_ASSEMBLE;
	if (!continued)
	{
		if (at < XLogPageHeaderSize(header) ||
			(at == XLogPageHeaderSize(header) &&
			 (header->xlp_info & XLP_FIRST_IS_CONTRECORD)))
			return EVPUB_PASS_ASSEMBLE;
	}
	else
	{
		if (header->xlp_info & XLP_FIRST_IS_OVERWRITE_CONTRECORD)
			return EVPUB_PASS_OVERWRITTEN;
		if (!(header->xlp_info & XLP_FIRST_IS_CONTRECORD) ||
			header->xlp_rem_len != left || XLogPageHeaderSize(header) != at)
			return EVPUB_PASS_ASSEMBLE;
	}
	take(pass, data + at, length);
	pass->end = pass->page + at + MAXALIGN(length);
	pass->page += XLOG_BLCKSZ;
	return EVPUB_PASS_DONE;
}

EvpubPassResult
evpub_walpass_go(EvpubWalPass *pass, const EvpubPassSource *source)
{
	uint32		begun_at = pass->got;

	while (pass->got < pass->total)
	{
		EvpubPassResult result;

		if (pass->page % EVPUB_PASS_RUN == 0)
		{
			CHECK_FOR_INTERRUPTS();

			/* the worker leaves before its next round; in others never set */
			if (ShutdownRequestPending)
				return EVPUB_PASS_LIMIT;
			if (source->slice > 0 && pass->got - begun_at >= source->slice)
				return EVPUB_PASS_YIELD;
		}
		result = take_page(pass, source);
		if (result != EVPUB_PASS_DONE)
			return result;
		if (!pass->decided && pass->got >= EVPUB_PASS_HEAD)
		{
			if (!header_is_good(pass) || is_wanted(pass))
				return EVPUB_PASS_ASSEMBLE;
			pass->decided = true;
		}
	}
	return crc_is_good(pass) ? EVPUB_PASS_DONE : EVPUB_PASS_ASSEMBLE;
}
