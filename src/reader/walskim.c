/*
 * walskim.c
 *		Passing over the small WAL records that nobody wants, where they lie.
 *
 * Of most WAL all that readers need to know is where it ends: changes of heaps and
 * indexes, full-page images.  XLogReader copies each page, joins a record that
 * crosses pages in a buffer, and takes it apart into blocks.  Here such records
 * stay in the pages that were read at once (walpass.c): the header is looked at,
 * the checksum is computed in place, and the next record must name this one as the
 * one before it, as XLogReader checks.
 *
 * As in walpass.c, nothing is concluded from a record that does not pass every
 * check, or of which not every byte was below the limit when its page was read: it
 * is left to XLogReader, which says what is wrong.  So are records that are rare
 * and need more than this: a header that two pages share, a record that two
 * segments share, a switch of the segment.
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecord.h"
#include "catalog/pg_control.h"
#include "storage/standbydefs.h"

#include "reader/walskim.h"

bool
evpub_walskim_wanted(RmgrId rmid, uint8 info)
{
	switch (rmid)
	{
		case RM_LOGICALMSG_ID:
			return true;
		case RM_XACT_ID:
			switch (info & XLOG_XACT_OPMASK)
			{
				case XLOG_XACT_ASSIGNMENT:
				case XLOG_XACT_INVALIDATIONS:
					return false;
				default:
					return true;
			}
		case RM_STANDBY_ID:
			return (info & ~XLR_INFO_MASK) != XLOG_STANDBY_LOCK &&
				(info & ~XLR_INFO_MASK) != XLOG_INVALIDATIONS;
		default:
			return false;
	}
}

XLogRecPtr
evpub_walskim_behind_header(XLogRecPtr lsn)
{
	if (XLogSegmentOffset(lsn, wal_segment_size) == 0)
		return lsn + SizeOfXLogLongPHD;
	if (lsn % XLOG_BLCKSZ == 0)
		return lsn + SizeOfXLogShortPHD;
	return lsn;
}

/* Behind a switch of the segment the rest of it is empty. */
static bool
is_switch(const XLogRecord *record)
{
	return record->xl_rmid == RM_XLOG_ID &&
		(record->xl_info & ~XLR_INFO_MASK) == XLOG_SWITCH;
}

static bool
record_fits(const XLogRecord *record, XLogRecPtr start, XLogRecPtr previous)
{
	return record->xl_tot_len >= SizeOfXLogRecord &&
		RmgrIdIsValid(record->xl_rmid) &&
		(previous == InvalidXLogRecPtr ? record->xl_prev < start :
		 record->xl_prev == previous);
}

/* The page's header; NULL if XLogReader has to look at it. */
static XLogPageHeader
good_page(EvpubWalPass *pass, XLogReaderState *xlog, XLogRecPtr page)
{
	char	   *data = pass->buffer + (page - pass->buffer_start);

	if (page != pass->checked_page)
	{
		if (!XLogReaderValidatePageHeader(xlog, page, data))
			return NULL;
		pass->checked_page = page;
	}
	return (XLogPageHeader) data;
}

typedef enum Rest
{
	REST_TAKEN,
	REST_MISSING,				/* not all of it is there */
	REST_ODD
} Rest;

/*
 * Take the bytes of a record that are in the pages behind "page" into its checksum.
 * *end: behind the record, aligned.
 */
static Rest
take_rest(EvpubWalPass *pass, XLogReaderState *xlog, XLogRecPtr page, uint32 left,
		  pg_crc32c *crc, XLogRecPtr *end)
{
	XLogRecPtr	known = pass->buffer_start + pass->buffer_known;

	while (left > 0)
	{
		uint32		length = Min(left, XLOG_BLCKSZ - SizeOfXLogShortPHD);
		XLogPageHeader header;

		page += XLOG_BLCKSZ;
		if (XLogSegmentOffset(page, wal_segment_size) == 0)
			return REST_ODD;
		if (page + SizeOfXLogShortPHD + length > known)
			return REST_MISSING;
		header = good_page(pass, xlog, page);
		if (!header || header->xlp_rem_len != left ||
			XLogPageHeaderSize(header) != SizeOfXLogShortPHD ||
			!(header->xlp_info & XLP_FIRST_IS_CONTRECORD) ||
			(header->xlp_info & XLP_FIRST_IS_OVERWRITE_CONTRECORD))
			return REST_ODD;
		COMP_CRC32C(*crc, (char *) header + SizeOfXLogShortPHD, length);
		*end = page + SizeOfXLogShortPHD + MAXALIGN(length);
		left -= length;
	}
	return REST_TAKEN;
}

/*
 * A page is in the buffer at least up to "known".  Where its header is right, and
 * a record may start, there is one.
 */
static const XLogRecord *
record_at(EvpubWalPass *pass, XLogReaderState *xlog, XLogRecPtr start)
{
	uint32		at = start % XLOG_BLCKSZ;
	XLogPageHeader header;

	if (at > XLOG_BLCKSZ - SizeOfXLogRecord)
		return NULL;
	header = good_page(pass, xlog, start - at);
	if (!header || at < XLogPageHeaderSize(header) ||
		(at == XLogPageHeaderSize(header) &&
		 (header->xlp_info & XLP_FIRST_IS_CONTRECORD)))
		return NULL;
	return (const XLogRecord *) (pass->buffer + (start - pass->buffer_start));
}

EvpubSkim
evpub_walskim_go(EvpubWalPass *pass, XLogReaderState *xlog, XLogRecPtr stop,
				 EvpubSkimPlace *place)
{
	XLogRecPtr	known = pass->buffer_start + pass->buffer_known;

	while (place->position < stop)
	{
		XLogRecPtr	start = evpub_walskim_behind_header(place->position);
		uint32		room = XLOG_BLCKSZ - start % XLOG_BLCKSZ;
		const XLogRecord *record;
		XLogRecPtr	end;
		uint32		here;
		pg_crc32c	crc;

		if (start < pass->buffer_start || start + SizeOfXLogRecord > known)
			return EVPUB_SKIM_MORE;
		record = record_at(pass, xlog, start);
		if (!record || evpub_walskim_wanted(record->xl_rmid, record->xl_info) ||
			!record_fits(record, start, place->previous) ||
			is_switch(record) || record->xl_tot_len > EVPUB_PASS_ABOVE)
			return EVPUB_SKIM_STOPPED;
		here = Min(record->xl_tot_len, room);
		if (start + here > known)
			return EVPUB_SKIM_MORE;
		INIT_CRC32C(crc);
		COMP_CRC32C(crc, (char *) record + SizeOfXLogRecord, here - SizeOfXLogRecord);
		end = start + MAXALIGN(here);
		switch (take_rest(pass, xlog, start - start % XLOG_BLCKSZ,
						  record->xl_tot_len - here, &crc, &end))
		{
			case REST_TAKEN:
				break;
			case REST_MISSING:
				return EVPUB_SKIM_MORE;
			case REST_ODD:
				return EVPUB_SKIM_STOPPED;
		}
		COMP_CRC32C(crc, (char *) record, offsetof(XLogRecord, xl_crc));
		FIN_CRC32C(crc);
		if (!EQ_CRC32C(crc, record->xl_crc))
			return EVPUB_SKIM_STOPPED;
		place->previous = start;
		place->position = end;
	}
	return EVPUB_SKIM_STOPPED;
}
