/*
 * checkedfile.c
 *		A small file that is there as a whole, or not at all.
 *
 * A new file replaces the old one by rename, so that a crash or a full disk leaves one
 * whole file.  A checksum tells when the file was damaged in another way.
 *
 * Format: magic (8 bytes), length of the contents (4) and their CRC-32C (4) in network
 * byte order, and the contents.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "position/checkedfile.h"

#define MAGIC_LENGTH 8
#define HEADER_LENGTH 16

static pg_crc32c
checksum(const char *data, Size length)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data, length);
	FIN_CRC32C(crc);
	return crc;
}

/* What may pass is told apart from damage. */
static EvpubCheckedfile
not_read(const char *what, const char *path, char **problem)
{
	int			saved_errno = errno;

	*problem = psprintf("could not %s file \"%s\": %m", what, path);
	errno = saved_errno;
	return errno == ENOENT ? EVPUB_CHECKEDFILE_ABSENT : EVPUB_CHECKEDFILE_UNREADABLE;
}

/*
 * Who reads is the worker, which has little memory, and whatever lies at the path may be
 * of any size.  So "bound" says how much of it is worth reading.
 */
EvpubCheckedfile
evpub_checkedfile_load(const char *path, EvpubCheckedfileBound bound, const void *arg,
					   StringInfo data, char **problem)
{
	struct stat st;
	uint64		wanted;
	int			got;
	int			fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);

	*problem = NULL;
	if (fd < 0)
		return not_read("open", path, problem);
	if (fstat(fd, &st) != 0)
	{
		int			saved_errno = errno;

		CloseTransientFile(fd);
		errno = saved_errno;
		return not_read("stat", path, problem);
	}
	wanted = Min(bound(fd, st.st_size, arg), (uint64) st.st_size);
	if (wanted >= MaxAllocSize)
	{
		CloseTransientFile(fd);
		*problem = psprintf("file \"%s\" has an impossible size", path);
		return EVPUB_CHECKEDFILE_DAMAGED;
	}
	initStringInfo(data);
	enlargeStringInfo(data, wanted);
	got = pg_pread(fd, data->data, wanted, 0);
	if (got < 0)
	{
		int			saved_errno = errno;

		pfree(data->data);
		CloseTransientFile(fd);
		errno = saved_errno;
		return not_read("read", path, problem);
	}
	CloseTransientFile(fd);
	data->len = got;
	return EVPUB_CHECKEDFILE_FOUND;
}

/* One byte more than there may be shows that there is more. */
static uint64
at_most(int fd, uint64 size, const void *most)
{
	(void) fd;
	(void) size;
	return *(const Size *) most + 1;
}

/* What is wrong with it; NULL: nothing. */
static char *
damage_of(const char *path, const StringInfoData *data, Size whole, const char *magic)
{
	uint32		header[2];
	uint32		length;

	if ((Size) data->len > whole)
		return psprintf("file \"%s\" is larger than evpub writes it", path);
	if (data->len < HEADER_LENGTH)
		return psprintf("file \"%s\" is cut short", path);
	memcpy(header, data->data + MAGIC_LENGTH, sizeof(header));
	length = data->len - HEADER_LENGTH;
	if (memcmp(data->data, magic, MAGIC_LENGTH) != 0)
		return psprintf("file \"%s\" is not one of this version", path);
	if (pg_ntoh32(header[0]) != length ||
		pg_ntoh32(header[1]) != checksum(data->data + HEADER_LENGTH, length))
		return psprintf("file \"%s\" has a wrong checksum", path);
	return NULL;
}

EvpubCheckedfile
evpub_checkedfile_read(const char *path, const char *magic, Size most, StringInfo data,
					   char **problem)
{
	Size		whole = HEADER_LENGTH + most;
	EvpubCheckedfile found = evpub_checkedfile_load(path, at_most, &whole, data, problem);

	if (found != EVPUB_CHECKEDFILE_FOUND)
		return found;
	*problem = damage_of(path, data, whole, magic);
	if (*problem)
	{
		pfree(data->data);
		return EVPUB_CHECKEDFILE_DAMAGED;
	}
	data->cursor = HEADER_LENGTH;
	return EVPUB_CHECKEDFILE_FOUND;
}

void
evpub_checkedfile_begin(StringInfo data, const char *magic)
{
	uint32		header[2] = {0, 0};

	initStringInfo(data);
	appendBinaryStringInfo(data, magic, MAGIC_LENGTH);
	appendBinaryStringInfo(data, (char *) header, sizeof(header));
}

/*
 * The worker runs outside of transactions, where nothing closes a descriptor
 * that an error leaves open.
 */
static void
write_all(const char *path, const char *data, Size length, bool flush)
{
	const char *failed = NULL;
	int			fd = OpenTransientFile(path, O_RDWR | O_CREAT | O_TRUNC | PG_BINARY);
	int			saved_errno;

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", path)));
	errno = 0;
	if (write(fd, data, length) != (ssize_t) length)
	{
		/* if write didn't set errno, assume problem is no disk space */
		if (errno == 0)
			errno = ENOSPC;
		failed = "write to";
	}
	else if (flush && pg_fsync(fd) != 0)
		failed = "fsync";
	saved_errno = errno;
	if (CloseTransientFile(fd) != 0 && !failed)
	{
		failed = "close";
		saved_errno = errno;
	}
	if (failed)
	{
		(void) unlink(path);
		errno = saved_errno;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not %s file \"%s\": %m", failed, path)));
	}
}

void
evpub_checkedfile_replace(const char *path, const char *data, Size length)
{
	char		temporary[MAXPGPATH];

	snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	write_all(temporary, data, length, true);
	durable_rename(temporary, path, ERROR);
}

static void
finish(StringInfo data)
{
	uint32		header[2];

	header[0] = pg_hton32(data->len - HEADER_LENGTH);
	header[1] = pg_hton32(checksum(data->data + HEADER_LENGTH, data->len - HEADER_LENGTH));
	memcpy(data->data + MAGIC_LENGTH, header, sizeof(header));
}

void
evpub_checkedfile_write(const char *path, StringInfo data)
{
	finish(data);
	evpub_checkedfile_replace(path, data->data, data->len);
}

void
evpub_checkedfile_write_unflushed(const char *path, StringInfo data)
{
	char		temporary[MAXPGPATH];

	finish(data);
	snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	write_all(temporary, data->data, data->len, false);
	if (rename(temporary, path) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not rename file \"%s\" to \"%s\": %m", temporary, path)));
}
