/*
 * halves.c
 *		A small file that is written often: two halves, each a whole state.
 *
 * To replace a file durably takes five flushes.  Here a write goes over the older
 * half, in place, and takes one: nothing but these bytes has to become durable, since
 * the file has its size and its blocks from when it was made.  For the same reason a
 * write in place needs no room on the disk.  (On a file system that never overwrites,
 * such as btrfs or ZFS, it does.)
 *
 * Each half has a number, which rises with each write, and a checksum over all that it
 * says.  Who reads takes the whole half with the higher number.
 *
 * **A crash at any byte.**  The half that is not written to keeps its bytes: a half
 * begins at a multiple of 4096 bytes, so no sector holds bytes of both.  (If the kernel
 * writes larger pages, it writes the other half's bytes as they are.)  The half that is
 * written to is one of three things, whichever of its sectors have arrived, in whatever
 * order, each old or new: the new state, if all that differs has arrived; the old one,
 * if nothing of that has; else its checksum is wrong, except for one case in 2^32.  So
 * the file says the new state or the one before it.  The one that is overwritten, two
 * writes old, is never read again, because the other half has the higher number.
 *
 * **A half that was whole and is damaged later** looks the same: nothing on the disk
 * can tell a write that a crash has cut from one that was acknowledged and has rotted.
 * Then the file says the state of one write before, and that is not noticed.  So a
 * state may be written in place only if whoever goes on from the one before it loses
 * nothing.  Whatever is more than that replaces the file, which then has it in both
 * halves.  The caller decides (statefile.c); a file never has halves between which
 * there was such a decision.
 *
 * **A file that is copied while it is written,** as pg_basebackup does it: piece by
 * piece, each at its time.  The copy's halves are each the state of some moment, or
 * damaged, and all these moments belong to one file, since a file that is replaced stays
 * what it was for whoever has it open.  So the copy says a state without a decision too
 * few: one that was the newest while it was copied, or the one before.  Both halves are
 * damaged only if a piece was read within the microseconds of a write, and another write
 * came before the next piece; that is found, as any damage is.  A copy that is cut, or has
 * zeros for its end, because the file was replaced by one of another size between stat()
 * and open(), has its first half.
 *
 * **A short file** and one with more behind its end are judged by what is there, half
 * by half, and no more is read than the halves have.  Where the second half begins is
 * said by the first one, or, if that is damaged, by the size of the file.
 *
 * **Who reads while the worker writes,** such as evpub.check(), may find a half
 * damaged.  Then the file is read again until it is the same twice.
 *
 * Format of a half: magic (8 bytes), number (8), size of a half (4), length of the
 * contents (4), CRC-32C of all that and of the contents (4), in network byte order, and
 * the contents.  What follows up to the end of the half means nothing.
 */
#include "postgres.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"

#include "position/halves.h"

#define MAGIC_LENGTH 8

typedef struct Header
{
	char		magic[MAGIC_LENGTH];
	uint64		number;
	uint32		size;
	uint32		length;
	uint32		checksum;
} Header;

/* without what the compiler puts behind it */
#define HALF_HEADER_LENGTH (offsetof(Header, checksum) + sizeof(uint32))

/* No sector, and no page of a file system of the usual kind, has bytes of both halves. */
#define ALIGNMENT 4096

/* Look so often whether somebody is writing. */
#define READ_TRIES 10

/* A half as it was found. */
typedef struct Half
{
	bool		whole;
	uint64		number;
	uint32		size;
	uint32		length;
	uint32		at;				/* where its contents begin */
} Half;

static pg_crc32c
checksum_of(const Header *header, const char *contents, uint32 length)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, header, offsetof(Header, checksum));
	COMP_CRC32C(crc, contents, length);
	FIN_CRC32C(crc);
	return crc;
}

/* ---- reading ---- */

static Half
look_at(const StringInfoData *file, uint32 from, const char *magic)
{
	Half		half = {0};
	Header		header;
	uint32		there = from < (uint32) file->len ? file->len - from : 0;

	if (there < HALF_HEADER_LENGTH)
		return half;
	memcpy(&header, file->data + from, HALF_HEADER_LENGTH);
	half.number = pg_ntoh64(header.number);
	half.size = pg_ntoh32(header.size);
	half.length = pg_ntoh32(header.length);
	half.at = from + HALF_HEADER_LENGTH;
	half.whole = memcmp(header.magic, magic, MAGIC_LENGTH) == 0 &&
		half.length <= there - HALF_HEADER_LENGTH &&
		pg_ntoh32(header.checksum) == checksum_of(&header, file->data + half.at, half.length);
	return half;
}

static void
look_at_both(const StringInfoData *file, const char *magic, Half *halves)
{
	halves[0] = look_at(file, 0, magic);
	halves[1] = look_at(file, halves[0].whole ? halves[0].size : (uint32) file->len / 2, magic);
}

/* What is wrong with a file that has no whole half. */
static char *
what_is_wrong(const char *path, const StringInfoData *file, const char *magic)
{
	if (file->len < (int) HALF_HEADER_LENGTH)
		return psprintf("file \"%s\" is cut short", path);
	if (memcmp(file->data, magic, MAGIC_LENGTH - 1) == 0 &&
		file->data[MAGIC_LENGTH - 1] != magic[MAGIC_LENGTH - 1] &&
		isdigit((unsigned char) file->data[MAGIC_LENGTH - 1]))
		return psprintf("file \"%s\" is not one of this version: it has format %c, and not %c",
						path, file->data[MAGIC_LENGTH - 1], magic[MAGIC_LENGTH - 1]);
	if (memcmp(file->data, magic, MAGIC_LENGTH) != 0)
		return psprintf("file \"%s\" is not one of this version", path);
	return psprintf("file \"%s\" has a wrong checksum", path);
}

/* Leave of a file what its newest whole half says. */
static EvpubCheckedfile
take_newest(const char *path, const char *magic, const Half *halves, StringInfo data,
			char **problem)
{
	const Half *newest;

	if (!halves[0].whole && !halves[1].whole)
	{
		*problem = what_is_wrong(path, data, magic);
		return EVPUB_CHECKEDFILE_DAMAGED;
	}
	if (!halves[0].whole || !halves[1].whole)
		*problem = psprintf("one half of file \"%s\" is damaged, which a crash may have done; the other half is whole",
							path);
	newest = &halves[halves[1].whole &&
					 (!halves[0].whole || halves[1].number > halves[0].number)];
	data->cursor = newest->at;
	data->len = newest->at + newest->length;
	return EVPUB_CHECKEDFILE_FOUND;
}

static bool
header_at(int fd, uint64 offset, const char *magic, Header *header)
{
	return pg_pread(fd, header, HALF_HEADER_LENGTH, offset) == (ssize_t) HALF_HEADER_LENGTH &&
		memcmp(header->magic, magic, MAGIC_LENGTH) == 0;
}

/*
 * What of the file may be halves.  Where no half begins, all of it is damaged: then its
 * first bytes are enough to say so.  Where one begins, it says how long it is; what lies
 * behind the second one means nothing.
 */
static uint64
worth_reading(int fd, uint64 size, const void *magic)
{
	Header		header;

	if (header_at(fd, size / 2, magic, &header) && pg_ntoh32(header.size) == size / 2)
		return size;
	if (header_at(fd, 0, magic, &header))
		return 2 * (uint64) pg_ntoh32(header.size);
	return HALF_HEADER_LENGTH;
}

EvpubCheckedfile
evpub_halves_read(const char *path, const char *magic, StringInfo data, char **problem)
{
	StringInfoData before = {0};
	Half		halves[2];

	for (int tries = 0;; tries++)
	{
		EvpubCheckedfile found = evpub_checkedfile_load(path, worth_reading, magic, data,
														problem);

		if (found != EVPUB_CHECKEDFILE_FOUND)
		{
			int			saved_errno = errno;

			if (before.data)
				pfree(before.data);
			errno = saved_errno;
			return found;
		}
		look_at_both(data, magic, halves);
		if ((halves[0].whole && halves[1].whole) || tries == READ_TRIES ||
			(before.data && before.len == data->len &&
			 memcmp(before.data, data->data, data->len) == 0))
			break;
		if (before.data)
			pfree(before.data);
		before = *data;
	}
	if (before.data)
		pfree(before.data);
	return take_newest(path, magic, halves, data, problem);
}

/* ---- writing ---- */

void
evpub_halves_begin(StringInfo data)
{
	const Header none = {0};

	initStringInfo(data);
	appendBinaryStringInfo(data, (const char *) &none, HALF_HEADER_LENGTH);
}

static void
put_header(StringInfo data, const char *magic, uint64 number, uint32 size)
{
	uint32		length = data->len - HALF_HEADER_LENGTH;
	Header		header;

	memcpy(header.magic, magic, MAGIC_LENGTH);
	header.number = pg_hton64(number);
	header.size = pg_hton32(size);
	header.length = pg_hton32(length);
	header.checksum = pg_hton32(checksum_of(&header, data->data + HALF_HEADER_LENGTH, length));
	memcpy(data->data, &header, HALF_HEADER_LENGTH);
}

/*
 * With some room, so that states which become a little longer fit; and written to its
 * end, since only blocks that are written need nothing but their bytes afterwards.
 *
 * If this fails and the old file is still there, as on a full disk, it is the one that we
 * know, and can be written in place.  If the new one has its name already, its inode tells.
 */
void
evpub_halves_replace(EvpubHalves *halves, const char *path, const char *magic,
					 StringInfo data)
{
	uint32		size = TYPEALIGN(ALIGNMENT, data->len + data->len / 4 + ALIGNMENT / 4);
	char	   *file = palloc0(2 * (Size) size);
	struct stat st;

	/* its inode may be free, and become the new file's */
	if (halves->known && (stat(path, &st) != 0 || (uint64) st.st_ino != halves->inode))
		halves->known = false;
	put_header(data, magic, 1, size);
	memcpy(file, data->data, data->len);
	memcpy(file + size, data->data, data->len);
	evpub_checkedfile_replace(path, file, 2 * (Size) size);
	pfree(file);
	halves->known = stat(path, &st) == 0;
	if (!halves->known)
		return;
	halves->inode = st.st_ino;
	halves->size = size;
	halves->number = 1;
	halves->newest = 0;
}

/* Is this the file that we have written?  Nobody else writes it, but people replace it. */
static bool
is_known(const EvpubHalves *halves, int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (uint64) st.st_ino == halves->inode &&
		st.st_size == 2 * (off_t) halves->size;
}

/*
 * After a failed fdatasync() nothing is known of what is on the disk, and another one
 * may succeed although the bytes are lost.  So no half of this file is written to any
 * more; the one that was not written to is as good as before.
 */
bool
evpub_halves_advance(EvpubHalves *halves, const char *path, const char *magic,
					 StringInfo data)
{
	const char *failed = NULL;
	int			half = 1 - halves->newest;
	int			saved_errno;
	int			fd;

	if (!halves->known || (uint32) data->len > halves->size)
		return false;
	halves->known = false;
	fd = OpenTransientFile(path, O_RDWR | PG_BINARY);
	if (fd < 0)
		return false;
	if (!is_known(halves, fd))
	{
		CloseTransientFile(fd);
		return false;
	}
	put_header(data, magic, halves->number + 1, halves->size);
	errno = 0;
	if (pg_pwrite(fd, data->data, data->len, half * (off_t) halves->size) != data->len)
	{
		/* if write didn't set errno, assume problem is no disk space */
		if (errno == 0)
			errno = ENOSPC;
		failed = "write to";
	}
	else if (pg_fdatasync(fd) != 0)
		failed = "fdatasync";
	saved_errno = errno;
	CloseTransientFile(fd);
	if (failed)
	{
		errno = saved_errno;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not %s file \"%s\": %m", failed, path)));
	}
	halves->number++;
	halves->newest = half;
	halves->known = true;
	return true;
}
