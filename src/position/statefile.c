/*
 * statefile.c
 *		The file in which a position outlives the server: reading it, writing
 *		it, removing it, and setting a damaged one aside.
 *
 * It is written before the slot moves: what the file says decides where
 * reading starts, and the slot only keeps the WAL that this needs.  A new file
 * replaces the old one by rename, so that a crash or a full disk leaves one
 * whole file.
 *
 * Format: magic (8 bytes), length of the payload (4), its CRC-32C (4), and the
 * payload in network byte order.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "position/position_format.h"
#include "position/statefile.h"

#define STATE_MAGIC "evpubst8"
#define STATE_HEADER 16
#define STATE_TEMPORARY EVPUB_STATE_FILE ".tmp"

static pg_crc32c
checksum(const char *data, Size length)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data, length);
	FIN_CRC32C(crc);
	return crc;
}

/*
 * The whole file; returns what is wrong with it, or NULL.  What may pass (no
 * right to read it, an error of the disk) is an ERROR, not damage.
 */
static char *
read_file(StringInfo data, bool *absent)
{
	struct stat st;
	int			got;
	int			fd = OpenTransientFile(EVPUB_STATE_FILE, O_RDONLY | PG_BINARY);

	*absent = fd < 0 && errno == ENOENT;
	if (fd < 0 && !*absent)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", EVPUB_STATE_FILE)));
	if (fd < 0)
		return pstrdup("there is no state file");
	if (fstat(fd, &st) != 0 || st.st_size >= (off_t) MaxAllocSize)
	{
		CloseTransientFile(fd);
		return psprintf("file \"%s\" has an impossible size", EVPUB_STATE_FILE);
	}
	initStringInfo(data);
	enlargeStringInfo(data, st.st_size);
	got = read(fd, data->data, st.st_size);
	CloseTransientFile(fd);
	if (got < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", EVPUB_STATE_FILE)));
	if (got != st.st_size || got < STATE_HEADER)
		return psprintf("file \"%s\" is cut short", EVPUB_STATE_FILE);
	data->len = got;
	return NULL;
}

/* Can a file have this role, with what belongs to it? */
static bool
makes_sense(const EvpubPosition *position)
{
	switch (position->role)
	{
		case EVPUB_ROLE_GAP:
			return position->gap.reason != NULL;
		case EVPUB_ROLE_CREATING:
		case EVPUB_ROLE_ACTIVE:
		case EVPUB_ROLE_FOLLOWING:
		case EVPUB_ROLE_FENCED:
		case EVPUB_ROLE_RETIRED:
			return true;
		case EVPUB_ROLE_NONE:
			break;
	}
	return false;
}

EvpubStatefileFound
evpub_statefile_read(EvpubPosition *position, char **problem)
{
	StringInfoData data;
	uint32		header[2];
	uint32		length;
	bool		absent;

	memset(position, 0, sizeof(*position));
	*problem = read_file(&data, &absent);
	if (*problem)
		return absent ? EVPUB_STATEFILE_ABSENT : EVPUB_STATEFILE_DAMAGED;

	memcpy(header, data.data + 8, sizeof(header));
	length = data.len - STATE_HEADER;
	if (memcmp(data.data, STATE_MAGIC, 8) != 0)
	{
		*problem = psprintf("file \"%s\" is not a state file of this version",
							EVPUB_STATE_FILE);
		return EVPUB_STATEFILE_DAMAGED;
	}
	if (pg_ntoh32(header[0]) != length ||
		pg_ntoh32(header[1]) != checksum(data.data + STATE_HEADER, length))
	{
		*problem = psprintf("file \"%s\" has a wrong checksum", EVPUB_STATE_FILE);
		return EVPUB_STATEFILE_DAMAGED;
	}
	data.cursor = STATE_HEADER;
	if (!evpub_position_parse(&data, position) || !makes_sense(position))
	{
		/* nothing of what was parsed may be believed */
		memset(position, 0, sizeof(*position));
		*problem = psprintf("file \"%s\" has contents that make no sense",
							EVPUB_STATE_FILE);
		return EVPUB_STATEFILE_DAMAGED;
	}
	pfree(data.data);
	return EVPUB_STATEFILE_FOUND;
}

/*
 * The worker runs outside of transactions, where nothing closes a descriptor
 * that an error leaves open.
 */
static void
write_file(const char *path, const char *data, int length)
{
	const char *failed = NULL;
	int			fd = OpenTransientFile(path, O_RDWR | O_CREAT | O_TRUNC | PG_BINARY);
	int			saved_errno;

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", path)));
	errno = 0;
	if (write(fd, data, length) != length)
	{
		/* if write didn't set errno, assume problem is no disk space */
		if (errno == 0)
			errno = ENOSPC;
		failed = "write to";
	}
	else if (pg_fsync(fd) != 0)
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

static void
make_directory(void)
{
	if (MakePGDirectory(EVPUB_STATE_DIRECTORY) == 0)
		fsync_fname(".", true);
	else if (errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m",
						EVPUB_STATE_DIRECTORY)));
}

static uint64
directory_inode(void)
{
	struct stat st;

	if (stat(EVPUB_STATE_DIRECTORY, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", EVPUB_STATE_DIRECTORY)));
	return st.st_ino;
}

/*
 * A copy of the data directory made by cp, rsync or tar has another inode
 * there, and nothing that happens to the original in place changes it.  (The
 * device is left out: its number may change with a reboot.  A clone of the
 * whole volume cannot be recognized in this way.)
 */
void
evpub_statefile_settle(EvpubPosition *position, TimeLineID timeline)
{
	make_directory();
	position->system_identifier = GetSystemIdentifier();
	position->timeline = timeline;
	position->directory_inode = directory_inode();
}

bool
evpub_statefile_moved(const EvpubPosition *position)
{
	return position->directory_inode != directory_inode();
}

void
evpub_statefile_write(const EvpubPosition *position)
{
	StringInfoData data;
	uint32		header[2] = {0, 0};

	make_directory();
	initStringInfo(&data);
	appendBinaryStringInfo(&data, STATE_MAGIC, 8);
	appendBinaryStringInfo(&data, (char *) header, sizeof(header));
	evpub_position_serialize(&data, position, EVPUB_POSITION_FILE);
	header[0] = pg_hton32(data.len - STATE_HEADER);
	header[1] = pg_hton32(checksum(data.data + STATE_HEADER, data.len - STATE_HEADER));
	memcpy(data.data + 8, header, sizeof(header));

	write_file(STATE_TEMPORARY, data.data, data.len);
	durable_rename(STATE_TEMPORARY, EVPUB_STATE_FILE, ERROR);
	pfree(data.data);
}

void
evpub_statefile_remove(void)
{
	if (unlink(EVPUB_STATE_FILE) != 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", EVPUB_STATE_FILE)));
	fsync_fname(EVPUB_STATE_DIRECTORY, true);
}

void
evpub_statefile_set_aside(void)
{
	durable_rename(EVPUB_STATE_FILE, EVPUB_STATE_DAMAGED, ERROR);
}
