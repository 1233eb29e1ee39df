/*
 * files.h
 *		What checkedfile.c, halves.c, statefile.c and position.c call of the server, outside of one: files
 *		in the current directory.  Included behind backend.h.
 */
#ifndef EVPUB_TEST_FILES_H
#define EVPUB_TEST_FILES_H

#include "access/xlog.h"
#include "common/file_perm.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"

char *
psprintf(const char *fmt, ...)
{
	char		text[1000];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return pstrdup(text);
}

int
OpenTransientFile(const char *fileName, int fileFlags)
{
	return open(fileName, fileFlags, 0600);
}

int
CloseTransientFile(int fd)
{
	return close(fd);
}

int
MakePGDirectory(const char *directoryName)
{
	return mkdir(directoryName, 0700);
}

int
pg_fsync(int fd)
{
	(void) fd;
	return 0;
}

/* What flushing data ends with; 0: it goes well. */
static int	sync_error;

int
pg_fdatasync(int fd)
{
	(void) fd;
	errno = sync_error;
	return sync_error ? -1 : 0;
}

void
fsync_fname(const char *fname, bool isdir)
{
	(void) fname;
	(void) isdir;
}

int
durable_rename(const char *oldfile, const char *newfile, int loglevel)
{
	(void) loglevel;
	return rename(oldfile, newfile);
}

uint64
GetSystemIdentifier(void)
{
	return 7;
}

bool
pg_strong_random(void *buf, size_t len)
{
	memset(buf, 1, len);
	return true;
}

#endif							/* EVPUB_TEST_FILES_H */
