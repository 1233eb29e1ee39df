/*
 * walpass.c
 *		Fuzzes passing over large WAL records.
 *
 * Any role may write a logical message of any content.  The input is the record
 * behind its header, under a checksum that fits; in front of it stand its length as
 * the header says it, its resource manager, and where in a page it begins.  The
 * unit test of the same name has the functions that write WAL.
 */
#define main unit_main
#include "../unit/walpass.c"
#undef main

#include "lib/fuzz.h"

#define KNOBS 8

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static EvpubWalPass pass;
	XLogRecord *record = (XLogRecord *) record_bytes;
	Written    *what = &written[0];
	uint32		total = SizeOfXLogRecord + (uint32) size - KNOBS;
	uint32		length;
	EvpubPassResult result;

	if (size < KNOBS || size > 100000)
		return 0;
	total = Max(total, EVPUB_PASS_HEAD);
	memcpy(&length, data, sizeof(length));
	memset(record_bytes, 0, total);
	memcpy(record_bytes + SizeOfXLogRecord, data + KNOBS, size - KNOBS);
	record->xl_tot_len = total;
	record->xl_prev = WAL_START;
	record->xl_rmid = data[4];
	set_crc(record);

	random_state = data[5];		/* limits, slices, and what is behind the limit */
	insert_at = WAL_START + XLOG_BLCKSZ + SizeOfXLogShortPHD + (data[6] * 256 + data[7]) % 8000 / 8 * 8;
	put_page_header(WAL_START + XLOG_BLCKSZ, 0);
	if (!put_record(total, what))
		abort();
	/* a length that is not the record's: in WAL it would not have got here */
	if (length % 4 == 3)
		what->total = Max(length, EVPUB_PASS_HEAD);
	evpub_walpass_reread(&pass);	/* there is other WAL at the same place */
	result = pass_over(&pass, what, data[5] % 2 ? WAL_START : InvalidXLogRecPtr, what->end);
	if (result == EVPUB_PASS_DONE)
	{
		FUZZ_EXPECT(what->total == total && pass.end == what->end);
		FUZZ_EXPECT(record->xl_rmid != RM_XACT_ID && record->xl_rmid != RM_STANDBY_ID);
	}
	FUZZ_EXPECT(!pass.oversized || what->total > EVPUB_CHUNK_LONGEST);
	return 0;
}

static void
fuzz_samples(void)
{
	static const char *const prefixes[] = {EVPUB_MESSAGE_PREFIX, "evpubs", "pg_walsummary"};
	static char bytes[KNOBS + 20000];

	for (random_state = 1; fuzz_samples_count < 24;)
	{
		const char *prefix = prefixes[fuzz_samples_count % lengthof(prefixes)];
		uint32		length = 200 + below(fuzz_samples_count % 2 ? 400 : 15000);

		memset(bytes, 'x', sizeof(bytes));
		memset(bytes, 0, KNOBS);
		bytes[4] = (char) RM_LOGICALMSG_ID;
		bytes[6] = (char) below(256);
		make_message(bytes + KNOBS, length, prefix, strlen(prefix) + 1);
		fuzz_sample(bytes, KNOBS + length);
	}
	/* short headers without an end */
	for (uint32 i = 0; i < 1000; i++)
		bytes[KNOBS + i] = (char) (below(2) ? XLR_BLOCK_ID_ORIGIN : XLR_BLOCK_ID_TOPLEVEL_XID);
	fuzz_sample(bytes, KNOBS + 1000);
	memset(bytes + KNOBS, XLR_BLOCK_ID_ORIGIN, 1000);
	fuzz_sample(bytes, KNOBS + 1000);
}
