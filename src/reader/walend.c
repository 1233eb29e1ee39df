/*
 * walend.c
 *		Where WAL ends: for readers, and for positions that are written somewhere.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"

#include "reader/walend.h"

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

XLogRecPtr
evpub_walreader_flushed_end(void)
{
	XLogRecPtr	end = evpub_walreader_insert_end();

	XLogFlush(end);
	return end;
}
