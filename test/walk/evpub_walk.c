/*
 * evpub_walk.c
 *		What the publisher's reader of WAL returns, as an SQL function.
 *
 * Built with a bound that lets all records of 128 bytes and more be looked at by
 * walpass.c first, so that a little WAL tries it as much as terabytes would.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

#include "../../src/reader/walpass.c"
#include "../../src/reader/walskim.c"
#include "../../src/reader/walend.c"
#include "../../src/reader/walreader.c"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(evpub_walk);
PG_FUNCTION_INFO_V1(evpub_walk_longest);

extern PGDLLEXPORT Datum evpub_walk(PG_FUNCTION_ARGS);

static void
give(FunctionCallInfo fcinfo, char *line)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		value = CStringGetTextDatum(line);
	bool		null = false;

	tuplestore_putvalues(result->setResult, result->setDesc, &value, &null);
}

/*
 * evpub_walk(from pg_lsn, up_to pg_lsn, step int, slice int): the records that are
 * returned, as "start length", with a limit that moves by up to "step" bytes.
 */
Datum
evpub_walk(PG_FUNCTION_ARGS)
{
	XLogRecPtr	end = PG_GETARG_LSN(1);
	uint32		step = PG_GETARG_INT32(2);
	EvpubWalReader *reader;
	XLogRecPtr	limit = PG_GETARG_LSN(0);
	TimeLineID	timeline;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (end > evpub_walreader_end(&timeline))
		elog(ERROR, "WAL is not that far");
	reader = evpub_walreader_create();
	reader->slice = PG_GETARG_INT32(3);
	evpub_walreader_seek(reader, limit);
	while (limit < end)
	{
		limit += 1 + random() % step;
		limit = Min(limit, end);
		evpub_walreader_set_limit(reader, limit, timeline);
		for (;;)
		{
			CHECK_FOR_INTERRUPTS();
			if (!evpub_walreader_next(reader))
			{
				if (reader->yielded)
					continue;
				break;
			}
			if (reader->oversized)
				give(fcinfo, psprintf("%X/%X oversized",
									  LSN_FORMAT_ARGS(reader->pass.start)));
			else
				give(fcinfo, psprintf("%X/%X %u", LSN_FORMAT_ARGS(reader->xlog->ReadRecPtr),
									  XLogRecGetTotalLen(reader->xlog)));
		}
	}
	if (reader->position != end)
		give(fcinfo, psprintf("ends at %X/%X", LSN_FORMAT_ARGS(reader->position)));
	evpub_walreader_free(reader);
	return (Datum) 0;
}

/*
 * evpub_walk_longest(from pg_lsn, up_to pg_lsn, slice int): the longest way, in bytes,
 * that the reader has gone before it returned.
 */
Datum
evpub_walk_longest(PG_FUNCTION_ARGS)
{
	XLogRecPtr	from = PG_GETARG_LSN(0);
	XLogRecPtr	end = PG_GETARG_LSN(1);
	EvpubWalReader *reader;
	TimeLineID	timeline;
	uint64		longest = 0;

	if (end > evpub_walreader_end(&timeline))
		elog(ERROR, "WAL is not that far");
	reader = evpub_walreader_create();
	reader->slice = PG_GETARG_INT32(2);
	evpub_walreader_seek(reader, from);
	evpub_walreader_set_limit(reader, end, timeline);
	while (evpub_walreader_next(reader) || reader->yielded)
	{
		longest = Max(longest, reader->position - from);
		from = reader->position;
	}
	longest = Max(longest, reader->position - from);
	evpub_walreader_free(reader);
	PG_RETURN_INT64(longest);
}
