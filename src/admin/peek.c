/*
 * peek.c
 *		Committed events in publish order, read from WAL by the calling backend.
 *
 * The same reader and assembler as the publisher's, so what is seen here is
 * what Kafka gets; it needs neither a broker nor a running worker.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"

#include "admin/result.h"
#include "compat.h"
#include "event/event.h"
#include "position/statefile.h"
#include "reader/assembler.h"
#include "reader/walfind.h"
#include "reader/walreader.h"
#include "settings.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(evpub_peek);
PG_FUNCTION_INFO_V1(evpub_wal_chunks);

/* One pass over WAL. */
typedef struct PeekScan
{
	EvpubPosition position;		/* from the state file */
	XLogRecPtr	confirmed_lsn;	/* newest known */
	uint32		next_event;
	XLogRecPtr	start;
	XLogRecPtr	after;			/* transactions that committed after this */
	XLogRecPtr	limit;
	TimeLineID	timeline;
	EvpubWalReader *reader;
	EvpubAssembler *assembler;
	MemoryContext row_context;
	EvpubResult *result;
	int64		rows_left;
} PeekScan;

typedef void (*PeekRow) (PeekScan *scan, EvpubTransaction *transaction);

/* Where the publisher stands: from the worker if it runs, else from its file. */
static void
find_position(PeekScan *scan)
{
	char	   *problem;

	switch (evpub_statefile_read(&scan->position, &problem))
	{
		case EVPUB_STATEFILE_FOUND:
			break;
		case EVPUB_STATEFILE_ABSENT:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("there is no publisher on this server"),
					 errhint("CREATE EXTENSION evpub, in a server that preloads it, makes one.")));
			break;
		case EVPUB_STATEFILE_DAMAGED:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("%s", problem),
					 errhint("evpub.status and evpub.check() say what to do.")));
			break;
	}
	scan->confirmed_lsn = scan->position.confirmed_lsn;
	scan->next_event = evpub_position_first_event(scan->position.next_event);
	if (EvpubShmem)
	{
		EvpubStatus status;

		evpub_shmem_status(&status);
		if (status.confirmed_lsn >= scan->confirmed_lsn)
		{
			scan->confirmed_lsn = status.confirmed_lsn;
			scan->next_event = evpub_position_first_event(status.next_event);
		}
	}
}

/*
 * The start of the oldest segment that is there.  A transaction that commits
 * after a position may have its first message any distance before it.
 */
static XLogRecPtr
oldest_wal(void)
{
	DIR		   *dir = AllocateDir(XLOGDIR);
	struct dirent *entry;
	XLogSegNo	oldest = 0;
	XLogRecPtr	start;

	while ((entry = ReadDir(dir, XLOGDIR)) != NULL)
	{
		TimeLineID	timeline;
		XLogSegNo	segment;

		if (!IsXLogFileName(entry->d_name))
			continue;
		XLogFromFileName(entry->d_name, &timeline, &segment, wal_segment_size);
		if (oldest == 0 || segment < oldest)
			oldest = segment;
	}
	FreeDir(dir);
	XLogSegNoOffsetToRecPtr(oldest, 0, wal_segment_size, start);
	return start;
}

static void
choose_start(PeekScan *scan, bool has_from, XLogRecPtr from)
{
	scan->after = has_from ? from : scan->confirmed_lsn;
	scan->start = scan->position.restart_lsn;
	if (scan->after >= scan->position.confirmed_lsn)
		return;

	/* before what the publisher still needs: as far back as WAL goes */
	scan->start = oldest_wal();
	if (scan->after < scan->start)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("WAL from %X/%X on is not there any more",
						LSN_FORMAT_ARGS(scan->after)),
				 errdetail("The oldest WAL on this server starts at %X/%X.",
						   LSN_FORMAT_ARGS(scan->start)),
				 errhint("Leave from_lsn out for what is not published, or give a later one.")));
}

static void
read_all(PeekScan *scan, PeekRow row)
{
	evpub_walreader_set_limit(scan->reader, scan->limit, scan->timeline);
	if (XLogSegmentOffset(scan->start, wal_segment_size) == 0)
	{
		/* a segment may begin inside a record */
		scan->start = evpub_walfind_first(scan->reader, scan->start);
		if (scan->start == InvalidXLogRecPtr)
			return;
	}
	evpub_walreader_seek(scan->reader, scan->start);

	while (scan->rows_left > 0 && evpub_walreader_next(scan->reader))
	{
		EvpubRecordKind kind;
		EvpubTransaction *transaction;

		CHECK_FOR_INTERRUPTS();
		transaction = evpub_assembler_feed(scan->assembler, scan->reader, &kind);
		if (!transaction)
			continue;
		if (transaction->commit.lsn > scan->after &&
			transaction->database == MyDatabaseId)
		{
			if (transaction->problem)
				ereport(ERROR,
						(errcode(ERRCODE_DATA_CORRUPTED),
						 errmsg("%s", transaction->problem),
						 errhint("If its beginning lies before the oldest WAL, ask for events after %X/%X.",
								 LSN_FORMAT_ARGS(transaction->commit.lsn))));
			transaction->commit.publisher_id =
				evpub_position_publisher_at(&scan->position,
											scan->reader->xlog->ReadRecPtr);
			row(scan, transaction);
		}

		/* "next event" is that of the first transaction, of whatever database */
		if (transaction->commit.lsn > scan->confirmed_lsn)
			scan->next_event = 0;
		evpub_assembler_release(scan->assembler, transaction);
	}
}

/* The reader holds a file descriptor, so it is closed on every way out. */
static void
run_scan(PeekScan *scan, PeekRow row)
{
	if (!RecoveryInProgress())
		(void) evpub_walreader_flushed_end();
	scan->limit = evpub_walreader_end(&scan->timeline);
	scan->row_context = AllocSetContextCreate(CurrentMemoryContext, "evpub row",
											  ALLOCSET_DEFAULT_SIZES);
	scan->reader = evpub_walreader_create();
	scan->assembler = evpub_assembler_create((Size) evpub_decode_memory * 1024);
	PG_TRY();
	{
		read_all(scan, row);
	}
	PG_FINALLY();
	{
		evpub_assembler_free(scan->assembler);
		evpub_walreader_free(scan->reader);
	}
	PG_END_TRY();
}

/* ---- evpub.peek ---- */

static void
append_json_string(StringInfo out, const char *data, uint32 length)
{
	escape_json(out, pnstrdup(data, length));
}

/* The headers as Kafka gets them, as a JSON object. */
static Datum
headers_datum(const EvpubEvent *event, const EvpubCommit *commit, const char *id)
{
	StringInfoData json;
	StringInfoData headers;
	const char *cursor;
	const char *end;
	char	   *text;

	initStringInfo(&headers);
	evpub_event_headers(&headers, event, commit);
	cursor = headers.data;
	end = cursor + headers.len;
	initStringInfo(&json);
	appendStringInfo(&json, "{\"evpub-id\": \"%s\"", id);
	while (cursor < end)
	{
		for (int part = 0; part < 2; part++)
		{
			uint32		length;

			memcpy(&length, cursor, sizeof(length));
			cursor += sizeof(length);
			appendStringInfoString(&json, part == 0 ? ", " : ": ");
			append_json_string(&json, cursor, length);
			cursor += length;
		}
	}
	appendStringInfoChar(&json, '}');
	text = pg_any_to_server(json.data, json.len, PG_UTF8);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

/* Events are UTF-8, whatever the database's encoding. */
static Datum
utf8_datum(const char *data, uint32 length)
{
	char	   *text = pnstrdup(data, length);

	return CStringGetTextDatum(pg_any_to_server(text, length, PG_UTF8));
}

static void
put_event(PeekScan *scan, EvpubTransaction *transaction, const EvpubEvent *event)
{
	MemoryContext old = MemoryContextSwitchTo(scan->row_context);
	char		id[EVPUB_ID_LENGTH + 1];
	EvpubResult *row = scan->result;
	bool		published;

	published = transaction->commit.lsn <= scan->confirmed_lsn ||
		event->number < scan->next_event;
	evpub_event_id(id, &transaction->commit, event->number);
	evpub_result_set_text(row, "id", id);
	evpub_result_set(row, "topic", TEXTOID,
					 utf8_datum(event->route->topic.data, event->route->topic.len));
	if (event->has_key)
		evpub_result_set(row, "key", TEXTOID,
						 utf8_datum(event->key.data, event->key.len));
	else
		evpub_result_set_null(row, "key");
	if (event->has_value)
	{
		StringInfoData value;

		initStringInfo(&value);
		evpub_event_value(&value, event, &transaction->commit);
		evpub_result_set(row, "value", TEXTOID, utf8_datum(value.data, value.len));
	}
	else
		evpub_result_set_null(row, "value");
	evpub_result_set(row, "headers", JSONBOID,
					 headers_datum(event, &transaction->commit, id));
	evpub_result_set(row, "commit_lsn", PG_LSNOID, LSNGetDatum(transaction->commit.lsn));
	evpub_result_set(row, "xid", XIDOID, TransactionIdGetDatum(transaction->xid));
	evpub_result_set(row, "published", BOOLOID, BoolGetDatum(published));
	evpub_result_put(row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(scan->row_context);
	scan->rows_left--;
}

static void
put_events(PeekScan *scan, EvpubTransaction *transaction)
{
	bool		partial = transaction->commit.lsn > scan->confirmed_lsn;

	for (int i = 0; i < transaction->nplaces && scan->rows_left > 0; i++)
	{
		EvpubChunkReader chunk;
		EvpubEvent	event;

		evpub_chunk_open(&chunk,
						 evpub_assembler_chunk(scan->assembler, transaction, i,
											   scan->limit, scan->timeline),
						 transaction->places[i].length);
		while (scan->rows_left > 0 && evpub_chunk_next(&chunk, &event))
		{
			CHECK_FOR_INTERRUPTS();

			/* without from_lsn only what is not published yet is asked for */
			if (partial && scan->after == scan->confirmed_lsn &&
				event.number < scan->next_event)
				continue;
			put_event(scan, transaction, &event);
		}
		evpub_chunk_close(&chunk);
	}
}

Datum
evpub_peek(PG_FUNCTION_ARGS)
{
	PeekScan		scan;

	if (PG_ARGISNULL(0) || PG_GETARG_INT32(0) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_events must be zero or more"),
				 errhint("It is the number of events to show.")));
	memset(&scan, 0, sizeof(scan));
	scan.result = evpub_result_rows(fcinfo);
	scan.rows_left = PG_GETARG_INT32(0);
	find_position(&scan);
	choose_start(&scan, !PG_ARGISNULL(1), PG_ARGISNULL(1) ? 0 : PG_GETARG_LSN(1));
	run_scan(&scan, put_events);
	return (Datum) 0;
}

/* ---- evpub_wal_chunks: for the test that compares with test_decoding ---- */

static int
compare_lsn(const void *a, const void *b)
{
	const EvpubPlace *x = a;
	const EvpubPlace *y = b;

	return x->lsn < y->lsn ? -1 : x->lsn > y->lsn;
}

static void
put_chunks(PeekScan *scan, EvpubTransaction *transaction)
{
	qsort(transaction->places, transaction->nplaces, sizeof(EvpubPlace), compare_lsn);
	for (int i = 0; i < transaction->nplaces; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(scan->row_context);
		const char *data = evpub_assembler_chunk(scan->assembler, transaction, i,
												 scan->limit, scan->timeline);

		evpub_result_set(scan->result, "commit_lsn", PG_LSNOID,
						 LSNGetDatum(transaction->commit.lsn));
		evpub_result_set(scan->result, "xid", XIDOID,
						 TransactionIdGetDatum(transaction->xid));
		evpub_result_set(scan->result, "chunk", BYTEAOID,
						 PointerGetDatum(cstring_to_text_with_len(data,
																  transaction->places[i].length)));
		evpub_result_put(scan->result);
		MemoryContextSwitchTo(old);
		MemoryContextReset(scan->row_context);
	}
}

/*
 * Not in the extension's script: the messages of committed transactions in the
 * order that logical decoding has, as (commit_lsn, xid, chunk).
 */
Datum
evpub_wal_chunks(PG_FUNCTION_ARGS)
{
	PeekScan		scan;

	memset(&scan, 0, sizeof(scan));
	scan.result = evpub_result_rows(fcinfo);
	scan.rows_left = PG_INT64_MAX;
	find_position(&scan);
	choose_start(&scan, true, PG_GETARG_LSN(0));
	run_scan(&scan, put_chunks);
	return (Datum) 0;
}
