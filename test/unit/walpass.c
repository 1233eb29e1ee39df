/*
 * walpass.c
 *		Passing over large records: the right ones, all of them, and no other.
 *
 * WAL is made up: records of all sizes, in pages and segments as the server
 * writes them.  Each is passed with limits and slices at random places, and
 * what the page has beyond the limit is garbage.  A record that is not wanted is
 * passed, and ends where the next one begins; one that is wanted, or that has
 * one bit changed, is left to XLogReader.  The same is tried with walskim.c, which
 * passes over the small ones in the pages that were read.
 */
#include "lib/backend.h"

#include "access/rmgr.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogrecord.h"
#include "postmaster/interrupt.h"
#include "replication/message.h"

#include "../../src/reader/walpass.c"
#include "../../src/reader/walskim.c"

#define SEGMENT (1024 * 1024)
#define FIRST_SEGMENT 5
#define WAL_START ((XLogRecPtr) FIRST_SEGMENT * SEGMENT)
#define WAL_LENGTH (6 * SEGMENT)
#define WAL_TIMELINE 3

int			wal_segment_size = SEGMENT;
volatile sig_atomic_t InterruptPending;
volatile sig_atomic_t ShutdownRequestPending;

static char wal[WAL_LENGTH];	/* as it will be */
static XLogRecPtr limit;		/* garbage is behind this */
static XLogRecPtr bad_page;		/* cannot be read; 0: all can */

void
ProcessInterrupts(void)
{
}

bool
WALRead(XLogReaderState *state, char *buf, XLogRecPtr startptr, Size count,
		TimeLineID tli, WALReadError *errinfo)
{
	(void) state;
	(void) errinfo;
	if (startptr < WAL_START || startptr + count > WAL_START + WAL_LENGTH ||
		tli != WAL_TIMELINE || startptr / SEGMENT != (startptr + count - 1) / SEGMENT)
		abort();
	if (bad_page >= startptr && bad_page < startptr + count)
		return false;
	memcpy(buf, wal + (startptr - WAL_START), count);
	for (Size i = 0; i < count; i++)
		if (startptr + i >= limit)
			buf[i] = (char) next_random();
	return true;
}

void
WALReadRaiseError(WALReadError *errinfo)
{
	(void) errinfo;
	abort();
}

/* The checks of the server's that do not depend on what was read before. */
bool
XLogReaderValidatePageHeader(XLogReaderState *state, XLogRecPtr recptr, char *phdr)
{
	XLogPageHeader header = (XLogPageHeader) phdr;
	bool		first = recptr % SEGMENT == 0;

	(void) state;
	if (header->xlp_magic != XLOG_PAGE_MAGIC || (header->xlp_info & ~XLP_ALL_FLAGS) ||
		header->xlp_pageaddr != recptr || header->xlp_tli != WAL_TIMELINE)
		return false;
	if (first != ((header->xlp_info & XLP_LONG_HEADER) != 0))
		return false;
	return !first || (((XLogLongPageHeader) header)->xlp_seg_size == SEGMENT &&
					  ((XLogLongPageHeader) header)->xlp_xlog_blcksz == XLOG_BLCKSZ);
}

/* ---- writing WAL ---- */

typedef struct Written
{
	XLogRecPtr	start;
	XLogRecPtr	end;			/* behind it, aligned */
	uint32		total;
	bool		wanted;
	bool		stops;				/* a skim */
	bool		oversized;
} Written;

#define WRITTEN_MAX 5000

static Written written[WRITTEN_MAX];
static int	nwritten;
static XLogRecPtr insert_at;
static char record_bytes[WAL_LENGTH];

static void
put_page_header(XLogRecPtr page, uint32 left)
{
	XLogLongPageHeader header = (XLogLongPageHeader) (wal + (page - WAL_START));

	header->std.xlp_magic = XLOG_PAGE_MAGIC;
	header->std.xlp_info = left > 0 ? XLP_FIRST_IS_CONTRECORD : 0;
	header->std.xlp_tli = WAL_TIMELINE;
	header->std.xlp_pageaddr = page;
	header->std.xlp_rem_len = left;
	if (page % SEGMENT != 0)
		return;
	header->std.xlp_info |= XLP_LONG_HEADER;
	header->xlp_sysid = 7;
	header->xlp_seg_size = SEGMENT;
	header->xlp_xlog_blcksz = XLOG_BLCKSZ;
}

static uint32
header_size(XLogRecPtr page)
{
	return page % SEGMENT == 0 ? SizeOfXLogLongPHD : SizeOfXLogShortPHD;
}

/* Put the bytes of a record at insert_at; false if there is no more room. */
static bool
put_record(uint32 total, Written *place)
{
	uint32		done = 0;

	/* with the headers of its pages, and one to spare */
	if (insert_at + total + total / 100 + 3 * XLOG_BLCKSZ > WAL_START + WAL_LENGTH)
		return false;
	if (insert_at % XLOG_BLCKSZ == 0)
	{
		put_page_header(insert_at, 0);
		insert_at += header_size(insert_at);
	}
	place->start = insert_at;
	place->total = total;
	while (done < total)
	{
		uint32		length;

		if (insert_at % XLOG_BLCKSZ == 0)
		{
			put_page_header(insert_at, total - done);
			insert_at += header_size(insert_at);
		}
		length = Min(total - done, XLOG_BLCKSZ - insert_at % XLOG_BLCKSZ);
		memcpy(wal + (insert_at - WAL_START), record_bytes + done, length);
		done += length;
		insert_at += length;
	}
	insert_at = MAXALIGN(insert_at);
	place->end = insert_at;
	return true;
}

static void
set_crc(XLogRecord *record)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, ((char *) record) + SizeOfXLogRecord,
				record->xl_tot_len - SizeOfXLogRecord);
	COMP_CRC32C(crc, (char *) record, offsetof(XLogRecord, xl_crc));
	FIN_CRC32C(crc);
	record->xl_crc = crc;
}

/* A message as XLogRecordAssemble() writes it; prefix_size counts the NUL. */
static void
make_message(char *at, uint32 length, const char *prefix, Size prefix_size)
{
	xl_logical_message message;

	if (below(2))
	{
		*at++ = (char) XLR_BLOCK_ID_ORIGIN;
		at += sizeof(RepOriginId);
		length -= 1 + sizeof(RepOriginId);
	}
	if (below(2))
	{
		*at++ = (char) XLR_BLOCK_ID_TOPLEVEL_XID;
		at += sizeof(TransactionId);
		length -= 1 + sizeof(TransactionId);
	}
	*at++ = (char) XLR_BLOCK_ID_DATA_LONG;
	length -= 1 + sizeof(uint32);
	memcpy(at, &length, sizeof(length));
	at += sizeof(length);
	memset(&message, 0, sizeof(message));
	message.dbId = below(2);
	message.transactional = true;
	message.prefix_size = prefix_size;
	message.message_size = length - SizeOfLogicalMessage - prefix_size;
	memcpy(at, &message, SizeOfLogicalMessage);
	memcpy(at + SizeOfLogicalMessage, prefix, prefix_size);
}

/* A random record; false if there is no more room for it. */
static bool
write_record(void)
{
	static const RmgrId others[] = {RM_XLOG_ID, RM_HEAP_ID, RM_HEAP2_ID, RM_BTREE_ID, 200};
	XLogRecord *record = (XLogRecord *) record_bytes;
	Written    *place = &written[nwritten];
	uint32		total = below(4) ? 128 + below(400) : 128 + below(3 * XLOG_BLCKSZ);
	char	   *body = record_bytes + SizeOfXLogRecord;

	if (nwritten == WRITTEN_MAX)
		return false;
	if (below(30) == 0)
		total = 128 + below(SEGMENT);

	/* end a page exactly, or nearly, now and then */
	if (below(4) == 0)
	{
		uint32		room = XLOG_BLCKSZ - insert_at % XLOG_BLCKSZ;

		if (room > 200)
			total = room - below(3) * 8 + below(2) * (XLOG_BLCKSZ - SizeOfXLogShortPHD);
	}
	for (uint32 i = 0; i < total; i++)
		record_bytes[i] = (char) (i * 7 + nwritten);
	memset(place, 0, sizeof(*place));
	memset(record, 0, SizeOfXLogRecord);
	record->xl_tot_len = total;
	record->xl_prev = nwritten > 0 ? written[nwritten - 1].start : WAL_START;
	switch (below(6))
	{
		case 0:
			record->xl_rmid = below(2) ? RM_XACT_ID : RM_STANDBY_ID;
			record->xl_info = (uint8) (below(8) << 4);
			place->wanted = true;
			break;
		case 1:
			record->xl_rmid = RM_LOGICALMSG_ID;
			make_message(body, total - SizeOfXLogRecord, EVPUB_MESSAGE_PREFIX,
						 sizeof(EVPUB_MESSAGE_PREFIX));
			place->wanted = true;
			break;
		case 2:
			record->xl_rmid = RM_LOGICALMSG_ID;
			make_message(body, total - SizeOfXLogRecord, "evpubs", sizeof("evpubs"));
			break;
		case 3:
			record->xl_rmid = RM_LOGICALMSG_ID;
			make_message(body, total - SizeOfXLogRecord, "evpuc", sizeof("evpuc"));
			break;
		default:
			record->xl_rmid = others[below(lengthof(others))];
	}
	place->stops = evpub_walskim_wanted(record->xl_rmid, record->xl_info);
	set_crc(record);
	if (!put_record(total, place))
		return false;
	nwritten++;
	return true;
}

static void
write_wal(void)
{
	for (int i = 0; i < WAL_LENGTH; i += sizeof(uint64))
	{
		uint64		garbage = next_random();

		memcpy(wal + i, &garbage, sizeof(garbage));
	}
	nwritten = 0;
	insert_at = WAL_START + below(4) * XLOG_BLCKSZ;
	if (insert_at % SEGMENT != 0)
	{
		put_page_header(insert_at, 0);
		insert_at += header_size(insert_at) + below(900) * 8;
	}
	while (write_record())
		;
}

/* ---- passing ---- */

static XLogReaderState xlog;

static TimeLineID
one_timeline(void *arg, XLogRecPtr page)
{
	(void) arg;
	(void) page;
	return WAL_TIMELINE;
}

/*
 * Pass over one with the limit moving up to "last" in random steps.  What is left
 * at that limit is EVPUB_PASS_LIMIT.
 */
static EvpubPassResult
pass_over(EvpubWalPass *pass, const Written *what, XLogRecPtr previous, XLogRecPtr last)
{
	EvpubPassSource source = {&xlog, 0, below(3) * 100000, one_timeline, NULL, NULL};
	uint32		step = below(2) ? 1 + below(20000) : 1 + below(2 * SEGMENT);
	EvpubPassResult result;

	limit = Min(what->start + sizeof(uint32), last);
	evpub_walpass_begin(pass, what->start, previous, what->total);
	for (;;)
	{
		source.limit = limit;
		result = evpub_walpass_go(pass, &source);
		if (result == EVPUB_PASS_YIELD)
			continue;
		if (result != EVPUB_PASS_LIMIT || limit == last)
			return result;
		limit += 1 + below(step);
		limit = Min(limit, last);
	}
}

static void
test_whole(double seconds)
{
	double		end = seconds_now() + seconds;
	bool		right = true;
	bool		waits = true;
	int			passed = 0;
	int			left = 0;
	EvpubWalPass pass = {0};

	while (right && waits && seconds_now() < end)
	{
		write_wal();
		for (int i = 0; i < nwritten && right && waits; i++)
		{
			const Written *what = &written[i];
			XLogRecPtr	previous = i > 0 && below(4) ? written[i - 1].start : InvalidXLogRecPtr;
			EvpubPassResult result = pass_over(&pass, what, previous, what->end);

			if (i == 0)
				previous = InvalidXLogRecPtr;
			right = result == (what->wanted ? EVPUB_PASS_ASSEMBLE : EVPUB_PASS_DONE) &&
				(what->wanted || pass.end == what->end) && !pass.oversized;
			if (what->wanted)
				left++;
			else
				passed++;

			/* its last byte is not there yet */
			if (!what->wanted && below(4) == 0)
			{
				XLogRecPtr	last = what->start + 1 +
					below((uint32) (what->end - what->start) - 8);

				result = pass_over(&pass, what, previous, last);
				waits = result == EVPUB_PASS_LIMIT;
				if (!waits)
					printf("# record of %u bytes at %X/%X up to %X/%X: result %d\n",
						   what->total, LSN_FORMAT_ARGS(what->start),
						   LSN_FORMAT_ARGS(last), result);
			}
		}
		evpub_walpass_reread(&pass);
	}
	printf("# %d passed, %d left to XLogReader\n", passed, left);
	ok(right, "records that are not wanted are passed to their end, others are not");
	ok(waits, "a record that is not all there is not passed");
	memset(&pass, 0, sizeof(pass));
	forget_memory();
}

/*
 * Bits that say nothing: of page headers (the checks of the headers' other
 * fields are XLogReader's), and the bytes between a record and the next.
 */
static bool
matters(const Written *what, XLogRecPtr at)
{
	XLogRecPtr	page = at - at % XLOG_BLCKSZ;
	uint32		offset = at % XLOG_BLCKSZ;

	if (page < what->start && offset < header_size(page))
		return false;
	if (offset < header_size(page))
	{
		/* padding of the short header, and the system identifier */
		return offset < offsetof(XLogPageHeaderData, xlp_rem_len) + 4 ||
			offset >= offsetof(XLogLongPageHeaderData, xlp_seg_size);
	}
	return true;
}

/* Where byte "n" of a record is. */
static XLogRecPtr
place_of(const Written *what, uint32 n)
{
	XLogRecPtr	at = what->start;

	for (;;)
	{
		uint32		here = XLOG_BLCKSZ - at % XLOG_BLCKSZ;

		if (n < here)
			return at + n;
		n -= here;
		at += here;
		at += header_size(at);
	}
}

/* One bit of a record, or of the headers of its pages, is another. */
static void
test_changed_bit(double seconds)
{
	double		end = seconds_now() + seconds;
	bool		right = true;
	int			changed = 0;
	EvpubWalPass pass = {0};

	while (right && seconds_now() < end)
	{
		write_wal();
		for (int i = 1; i < nwritten && right; i++)
		{
			const Written *what = &written[i];
			XLogRecPtr	last = place_of(what, what->total - 1);
			XLogRecPtr	at = below(3) ?
				what->start + below((uint32) (last - what->start) + 1) :
				what->start + below(128);
			char	   *byte = wal + (at - WAL_START);
			char		before = *byte;
			EvpubPassResult result;

			if (at > last || !matters(what, at))
				continue;
			*byte ^= (char) (1 << below(8));

			/* whether a backup may leave out full-page images */
			if (at % XLOG_BLCKSZ == offsetof(XLogPageHeaderData, xlp_info) &&
				(char) (before ^ *byte) == XLP_BKP_REMOVABLE)
				*byte = before ^ XLP_LONG_HEADER;
			result = pass_over(&pass, what, written[i - 1].start, what->end);
			right = result == EVPUB_PASS_ASSEMBLE ||
				(result == EVPUB_PASS_OVERWRITTEN && at % XLOG_BLCKSZ < SizeOfXLogShortPHD);
			if (!right)
				printf("# record of %u bytes at %X/%X, byte " UINT64_FORMAT ": result %d\n",
					   what->total, LSN_FORMAT_ARGS(what->start),
					   at - what->start, result);
			*byte = before;
			changed++;
		}
		evpub_walpass_reread(&pass);
	}
	printf("# %d changed\n", changed);
	ok(right, "a record with a changed bit is never passed");
	memset(&pass, 0, sizeof(pass));
	forget_memory();
}

/* Does a skim leave this record to XLogReader for its length, or where it stands? */
static bool
is_odd(const Written *what)
{
	return XLOG_BLCKSZ - what->start % XLOG_BLCKSZ < SizeOfXLogRecord ||
		what->total > EVPUB_PASS_ABOVE ||
		what->start / SEGMENT != (what->end - 1) / SEGMENT;
}

/*
 * Skim from one record to the end of WAL, the limit moving up in random steps; what
 * is left to XLogReader is stepped over.  Returns how many were skimmed, or -1 when
 * something is wrong.
 */
static int
skim_from(EvpubWalPass *pass, int first)
{
	EvpubPassSource source = {&xlog, 0, 0, one_timeline, NULL, NULL};
	EvpubSkimPlace place = {written[first].start, InvalidXLogRecPtr};
	uint32		step = below(2) ? 1 + below(2000) : 1 + below(SEGMENT);
	int			skimmed = 0;

	source.limit = place.position + 1;
	for (int i = first; i < nwritten;)
	{
		EvpubSkim	result;
		XLogRecPtr	start;
		bool		left;

		limit = source.limit;
		result = evpub_walskim_go(pass, &xlog, source.limit, &place);
		for (; i < nwritten && place.position >= written[i].end; i++, skimmed++)
			if (written[i].stops || is_odd(&written[i]) || written[i].end > MAXALIGN(source.limit))
				return -1;
		if (i == nwritten)
			break;
		if (i > first && place.position != written[i - 1].end)
			return -1;
		start = evpub_walskim_behind_header(place.position);
		left = result == EVPUB_SKIM_STOPPED && place.position < source.limit;
		if (result == EVPUB_SKIM_MORE && start < source.limit)
		{
			if (evpub_walpass_fill(pass, &source, start - start % XLOG_BLCKSZ))
				continue;
			left = source.limit >= written[i].end;
		}
		if (left)
		{
			if (!written[i].stops && !is_odd(&written[i]))
				return -1;
			source.limit = Max(source.limit, written[i].end);
			place.previous = written[i].start;
			place.position = written[i++].end;
			continue;
		}
		source.limit = Min(source.limit + 1 + below(step), written[nwritten - 1].end);
	}
	return skimmed;
}

static void
test_skim(double seconds)
{
	double		end = seconds_now() + seconds;
	bool		right = true;
	bool		stopped = true;
	int			passed = 0;
	EvpubWalPass pass = {0};

	while (right && stopped && seconds_now() < end)
	{
		int			skimmed;

		write_wal();
		evpub_walpass_reread(&pass);
		skimmed = skim_from(&pass, 0);
		right = skimmed > 0;
		passed += skimmed;
		for (int i = 1; i < nwritten && right && stopped; i++)
		{
			const Written *what = &written[i];
			EvpubPassSource source = {&xlog, written[nwritten - 1].end, 0, one_timeline, NULL, NULL};
			EvpubSkimPlace place = {what->start, written[i - 1].start};
			char	   *byte = wal + (place_of(what, below(what->total)) - WAL_START);
			char		before = *byte;

			if (what->stops || is_odd(what))
				continue;
			*byte ^= (char) (1 << below(8));
			limit = source.limit;
			evpub_walpass_elsewhere(&pass);
			evpub_walpass_reread(&pass);
			while (evpub_walskim_go(&pass, &xlog, what->end, &place) == EVPUB_SKIM_MORE &&
				   evpub_walpass_fill(&pass, &source, what->start - what->start % XLOG_BLCKSZ))
				;
			*byte = before;
			stopped = place.position == what->start;
		}
	}
	printf("# %d skimmed\n", passed);
	ok(right, "a skim passes all that nobody wants, and stops at all else");
	ok(stopped, "a skim stops at a record with a changed bit");
	memset(&pass, 0, sizeof(pass));
	forget_memory();
}

/* In front of a page that cannot be read, all is skimmed. */
static void
test_bad_page(void)
{
	EvpubWalPass pass = {0};
	int			tried = 0;
	int			skimmed = 0;
	bool		right = true;

	while (tried < 20 && right)
	{
		EvpubPassSource source = {&xlog, 0, 0, one_timeline, NULL, NULL};
		EvpubSkimPlace place;
		int			last;
		int			next;

		write_wal();
		evpub_walpass_reread(&pass);
		last = nwritten / 2;
		bad_page = written[last].start - written[last].start % XLOG_BLCKSZ + XLOG_BLCKSZ;
		if (bad_page % SEGMENT == 0 || written[last].end <= bad_page || written[last].stops ||
			is_odd(&written[last]))
			continue;
		source.limit = limit = written[nwritten - 1].end;
		place.position = written[0].start;
		place.previous = InvalidXLogRecPtr;
		for (next = 0; next < last;)
		{
			EvpubSkim	result = evpub_walskim_go(&pass, &xlog, limit, &place);
			XLogRecPtr	start = evpub_walskim_behind_header(place.position);

			while (next < last && place.position >= written[next].end)
				next++;
			if (next == last || (result == EVPUB_SKIM_MORE &&
								 evpub_walpass_fill(&pass, &source, start - start % XLOG_BLCKSZ)))
				continue;

			/* XLogReader reads this one, page by page */
			place.previous = written[next].start;
			place.position = written[next++].end;
			skimmed--;
		}
		skimmed += last;
		right = place.position == written[last - 1].end;
		tried++;
	}
	bad_page = InvalidXLogRecPtr;
	ok(right && skimmed > 0, "what is in front of a page that cannot be read is skimmed");
	memset(&pass, 0, sizeof(pass));
	forget_memory();
}

/* Garbage with a checksum that fits: only that nothing goes wrong in memory. */
static void
test_garbage(double seconds)
{
	double		end = seconds_now() + seconds;
	int			results[EVPUB_PASS_ASSEMBLE + 1] = {0};
	EvpubWalPass pass = {0};

	while (seconds_now() < end)
	{
		for (int n = 0; n < 200; n++)
		{
			XLogRecord *record = (XLogRecord *) record_bytes;
			Written    *what = &written[0];
			uint32		total = 128 + below(2000);

			for (uint32 i = 0; i < total; i++)
				record_bytes[i] = (char) (below(3) ? 252 + below(4) : next_random());
			memset(record, 0, SizeOfXLogRecord);
			record->xl_tot_len = total;
			record->xl_prev = WAL_START;
			record->xl_rmid = below(5) ? RM_LOGICALMSG_ID : below(256);
			set_crc(record);
			insert_at = WAL_START + (1 + below(3)) * XLOG_BLCKSZ + 24 + below(1000) * 8;
			put_page_header(insert_at - insert_at % XLOG_BLCKSZ, 0);
			if (!put_record(total, what))
				abort();

			/* a length that is not the record's */
			if (below(3) == 0)
				what->total = 128 + (uint32) next_random() % (1024 * 1024 * 1024);
			evpub_walpass_reread(&pass);	/* there is other WAL at the same place */
			results[pass_over(&pass, what, WAL_START, what->end)]++;
		}
	}
	printf("# garbage: %d passed, %d wait, %d left\n", results[EVPUB_PASS_DONE],
		   results[EVPUB_PASS_LIMIT], results[EVPUB_PASS_ASSEMBLE]);
	ok(results[EVPUB_PASS_DONE] > 0 && results[EVPUB_PASS_ASSEMBLE] > 0,
	   "garbage is passed or left");
	forget_memory();
}

int
main(void)
{
	double		seconds = fuzz_seconds();

	test_whole(seconds / 2);
	test_changed_bit(seconds / 3);
	test_skim(seconds / 3);
	test_bad_page();
	test_garbage(seconds / 6);
	return done_testing();
}
