/*
 * failurefile.c
 *		The newest failures of publishing, for people: view evpub.failures.
 *
 * Nothing depends on this file.  It outlives worker and server, so that who comes in
 * the morning sees what went wrong at night.
 *
 * Format: magic (8 bytes), length (4) and CRC-32C (4) of the rest, and the failures as
 * they are in memory.
 */
#include "postgres.h"

#include <unistd.h>

#include "port/pg_crc32c.h"
#include "storage/fd.h"

#include "position/failurefile.h"

#define FAILURE_TEMPORARY EVPUB_FAILURE_FILE ".tmp"

/* 8 bytes, without the NUL */
#define FAILURE_MAGIC "evpubfl1"

typedef struct FileHeader
{
	char		magic[8];
	uint32		length;
	pg_crc32c	crc;
} FileHeader;

static pg_crc32c
checksum(const void *data, Size length)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data, length);
	FIN_CRC32C(crc);
	return crc;
}

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

static char *
parse(EvpubFailures *failures, const FileHeader *header, ssize_t got)
{
	Size		length = got < 0 ? 0 : (Size) got;

	if (memcmp(header->magic, FAILURE_MAGIC, sizeof(header->magic)) != 0 ||
		header->length != length || length % sizeof(EvpubFailure) != 0)
		return "is not one of this version, or is cut short";
	if (header->crc != checksum(failures->list, length))
		return "has a wrong checksum";
	failures->count = (int) (length / sizeof(EvpubFailure));
	for (int i = 0; i < failures->count; i++)
		if (!makes_sense(&failures->list[i]))
			return "has contents that make no sense";
	return NULL;
}

bool
evpub_failurefile_read(EvpubFailures *failures, char **problem)
{
	FileHeader	header;
	char	   *wrong = NULL;
	int			fd = OpenTransientFile(EVPUB_FAILURE_FILE, O_RDONLY | PG_BINARY);

	memset(failures, 0, sizeof(*failures));
	*problem = NULL;
	if (fd < 0 && errno == ENOENT)
		return true;
	if (fd < 0)
		*problem = psprintf("could not open file \"%s\": %m", EVPUB_FAILURE_FILE);
	else if (read(fd, &header, sizeof(header)) != sizeof(header))
		wrong = "is cut short";
	else
		wrong = parse(failures, &header, read(fd, failures->list, sizeof(failures->list)));
	if (fd >= 0)
		CloseTransientFile(fd);
	if (wrong)
		*problem = psprintf("file \"%s\" %s", EVPUB_FAILURE_FILE, wrong);
	if (*problem)
		memset(failures, 0, sizeof(*failures));
	return *problem == NULL;
}

void
evpub_failurefile_write(const EvpubFailures *failures)
{
	FileHeader	header;
	Size		length = sizeof(EvpubFailure) * failures->count;
	bool		written;
	int			saved_errno;
	int			fd;

	memcpy(header.magic, FAILURE_MAGIC, sizeof(header.magic));
	header.length = (uint32) length;
	header.crc = checksum(failures->list, length);

	fd = OpenTransientFile(FAILURE_TEMPORARY, O_RDWR | O_CREAT | O_TRUNC | PG_BINARY);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", FAILURE_TEMPORARY)));
	errno = 0;
	written = write(fd, &header, sizeof(header)) == sizeof(header) &&
		write(fd, failures->list, length) == (ssize_t) length &&
		pg_fsync(fd) == 0;

	/* if write didn't set errno, assume problem is no disk space */
	saved_errno = written ? 0 : errno != 0 ? errno : ENOSPC;
	if (CloseTransientFile(fd) != 0 && written)
	{
		written = false;
		saved_errno = errno;
	}
	if (!written)
	{
		(void) unlink(FAILURE_TEMPORARY);
		errno = saved_errno;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", FAILURE_TEMPORARY)));
	}
	durable_rename(FAILURE_TEMPORARY, EVPUB_FAILURE_FILE, ERROR);
}
