/*
 * floor.c
 *		What a trigger costs that does nothing, and one that only logs.
 *
 * No trigger in C that writes an event into WAL can be cheaper than these two,
 * so they are the measure for capture.  bench_empty() returns at once;
 * bench_log() logs a transactional message of so many bytes as its argument
 * says, with a prefix as long as evpub's.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "replication/message.h"

#include "../src/compat.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_empty);
PG_FUNCTION_INFO_V1(bench_log);

extern PGDLLEXPORT Datum bench_empty(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum bench_log(PG_FUNCTION_ARGS);

Datum
bench_empty(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(((TriggerData *) fcinfo->context)->tg_trigtuple);
}

Datum
bench_log(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	char		message[1024] = {0};
	int			size = atoi(trigger->tg_trigger->tgargs[0]);

	if (size < 0 || size > (int) sizeof(message))
		elog(ERROR, "unusable size %d", size);
	evpub_log_message("bench", message, (Size) size, true);
	return PointerGetDatum(trigger->tg_trigtuple);
}
