/*
 * failurefile.c
 *		The newest failures of publishing, for people: view evpub.failures.
 *
 * Nothing depends on this file.  It outlives worker and server, so that who comes in
 * the morning sees what went wrong at night.
 *
 * Its contents are the failures as they are in memory.
 */
#include "postgres.h"

#include "position/checkedfile.h"
#include "position/failurefile.h"

#define FAILURE_MAGIC "evpubfl2"

const char *
evpub_failure_kind(char kind)
{
	switch ((EvpubFailureKind) kind)
	{
		case EVPUB_FAILED_REFUSED:
			return "refused";
		case EVPUB_FAILED_KAFKA:
			return "kafka";
		case EVPUB_FAILED_TOPIC:
			return "topic";
		case EVPUB_FAILED_SETTINGS:
			return "settings";
		case EVPUB_FAILED_RELAY:
			return "relay";
		case EVPUB_FAILED_SERVER:
			return "server";
		case EVPUB_FAILED_GAP:
			return "gap";
		case EVPUB_FAILED_FENCED:
			return "fenced";
	}
	return NULL;
}

const char *
evpub_failure_done(char done)
{
	switch ((EvpubFailureDone) done)
	{
		case EVPUB_DONE_RETRIED:
			return "retried";
		case EVPUB_DONE_BLOCKED:
			return "blocked";
		case EVPUB_DONE_SKIPPED:
			return "skipped";
		case EVPUB_DONE_DEAD_LETTERED:
			return "dead-lettered";
		case EVPUB_DONE_RELAY_RESTARTED:
			return "relay restarted";
		case EVPUB_DONE_WORKER_RESTARTED:
			return "worker restarted";
	}
	return NULL;
}

/* Can this be shown?  Texts have to end, and to be ASCII. */
static bool
makes_sense(const EvpubFailure *failure)
{
	const struct
	{
		const char *text;
		Size		size;
	}			texts[] = {
		{failure->topic, sizeof(failure->topic)},
		{failure->id, sizeof(failure->id)},
		{failure->text, sizeof(failure->text)}
	};

	for (int i = 0; i < (int) lengthof(texts); i++)
	{
		Size		length = strnlen(texts[i].text, texts[i].size);

		if (length == texts[i].size)
			return false;
		for (Size c = 0; c < length; c++)
			if (IS_HIGHBIT_SET(texts[i].text[c]))
				return false;
	}
	return evpub_failure_kind(failure->kind) && evpub_failure_done(failure->done);
}

static bool
parse(EvpubFailures *failures, const char *contents, Size length)
{
	if (length % sizeof(EvpubFailure) != 0 || length > sizeof(failures->list))
		return false;
	memcpy(failures->list, contents, length);
	failures->count = (int) (length / sizeof(EvpubFailure));
	for (int i = 0; i < failures->count; i++)
		if (!makes_sense(&failures->list[i]))
			return false;
	return true;
}

bool
evpub_failurefile_read(EvpubFailures *failures, char **problem)
{
	StringInfoData data;
	EvpubCheckedfile found = evpub_checkedfile_read(EVPUB_FAILURE_FILE, FAILURE_MAGIC,
													&data, problem);

	memset(failures, 0, sizeof(*failures));
	if (found == EVPUB_CHECKEDFILE_ABSENT)
		*problem = NULL;
	if (found != EVPUB_CHECKEDFILE_FOUND)
		return found == EVPUB_CHECKEDFILE_ABSENT;
	if (!parse(failures, data.data + data.cursor, data.len - data.cursor))
	{
		memset(failures, 0, sizeof(*failures));
		*problem = psprintf("file \"%s\" has contents that make no sense",
							EVPUB_FAILURE_FILE);
	}
	pfree(data.data);
	return *problem == NULL;
}

void
evpub_failurefile_write(const EvpubFailures *failures)
{
	StringInfoData data;

	evpub_checkedfile_begin(&data, FAILURE_MAGIC);
	appendBinaryStringInfo(&data, (const char *) failures->list,
						   sizeof(EvpubFailure) * failures->count);
	evpub_checkedfile_write(EVPUB_FAILURE_FILE, &data);
	pfree(data.data);
}
