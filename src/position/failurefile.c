/*
 * failurefile.c
 *		The newest failures of publishing, for people: view evpub.failures.
 *
 * Nothing depends on this file.  It outlives worker and server, so that who comes in
 * the morning sees what went wrong at night.
 *
 * It is written again and again in an outage, so it is kept small: of each failure it has
 * what is in front of the texts as it is in memory, and the texts as long as they are.
 */
#include "postgres.h"

#include "position/failurefile.h"

#define FAILURE_MAGIC "evpubfl2"

/* of a failure, in front of its texts */
#define FIXED_LENGTH offsetof(EvpubFailure, topic)

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
		case EVPUB_DONE_GIVEN_UP:
			return "given up";
	}
	return NULL;
}

/* Can this be shown?  Texts have to be ASCII. */
static bool
makes_sense(const EvpubFailure *failure)
{
	const char *texts[] = {failure->topic, failure->id, failure->text};

	for (int i = 0; i < (int) lengthof(texts); i++)
		for (const char *c = texts[i]; *c; c++)
			if (IS_HIGHBIT_SET(*c))
				return false;
	return evpub_failure_kind(failure->kind) && evpub_failure_done(failure->done);
}

static bool
take_text(const char **at, const char *end, char *text, Size size)
{
	Size		length = strnlen(*at, end - *at);

	if (*at + length == end || length >= size)
		return false;
	memcpy(text, *at, length + 1);
	*at += length + 1;
	return true;
}

static bool
parse(EvpubFailures *failures, const char *at, const char *end)
{
	while (at < end)
	{
		EvpubFailure *failure = &failures->list[failures->count];

		if (failures->count == EVPUB_FAILURES_KEPT || end - at < (ssize_t) FIXED_LENGTH)
			return false;
		memcpy(failure, at, FIXED_LENGTH);
		at += FIXED_LENGTH;
		if (!take_text(&at, end, failure->topic, sizeof(failure->topic)) ||
			!take_text(&at, end, failure->id, sizeof(failure->id)) ||
			!take_text(&at, end, failure->text, sizeof(failure->text)) ||
			!makes_sense(failure))
			return false;
		failures->count++;
	}
	return true;
}

EvpubCheckedfile
evpub_failurefile_read(EvpubFailures *failures, char **problem)
{
	StringInfoData data;
	EvpubCheckedfile found = evpub_checkedfile_read(EVPUB_FAILURE_FILE, FAILURE_MAGIC,
													sizeof(failures->list), &data,
													problem);

	memset(failures, 0, sizeof(*failures));
	if (found == EVPUB_CHECKEDFILE_ABSENT)
		*problem = NULL;
	if (found != EVPUB_CHECKEDFILE_FOUND)
		return found;
	if (!parse(failures, data.data + data.cursor, data.data + data.len))
	{
		memset(failures, 0, sizeof(*failures));
		*problem = psprintf("file \"%s\" has contents that make no sense",
							EVPUB_FAILURE_FILE);
	}
	pfree(data.data);
	return *problem == NULL ? EVPUB_CHECKEDFILE_FOUND : EVPUB_CHECKEDFILE_DAMAGED;
}

void
evpub_failurefile_write(const EvpubFailures *failures)
{
	StringInfoData data;

	evpub_checkedfile_begin(&data, FAILURE_MAGIC);
	for (int i = 0; i < failures->count; i++)
	{
		const EvpubFailure *failure = &failures->list[i];

		appendBinaryStringInfo(&data, (const char *) failure, FIXED_LENGTH);
		appendBinaryStringInfo(&data, failure->topic, strlen(failure->topic) + 1);
		appendBinaryStringInfo(&data, failure->id, strlen(failure->id) + 1);
		appendBinaryStringInfo(&data, failure->text, strlen(failure->text) + 1);
	}
	evpub_checkedfile_write(EVPUB_FAILURE_FILE, &data);
	pfree(data.data);
}
