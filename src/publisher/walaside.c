/*
 * walaside.c
 *		Segments of WAL that PostgreSQL may remove, and we put back.
 *
 * A segment is set aside in two steps: it gets a second name in our directory,
 * and then a symbolic link to that takes the place of its name in pg_wal, in one
 * rename.  So its name leads to it all the time: whoever may still need it
 * (walsenders, pg_basebackup, the summarizer, recovery after a crash) finds it
 * as before, until PostgreSQL itself decides to remove it.  PostgreSQL then
 * removes the link alone; it does not recycle links.  Putting back is one rename,
 * of the file over the link or to the name that has become free.
 *
 * A second name alone would not do: PostgreSQL recycles files, and WAL of later
 * would be written into the one that we keep.  This is possible after a crash
 * between the two steps, so a file that has two names, or begins with other WAL
 * than its name says, is never put back.
 *
 * A segment that is not archived yet is not touched, since archive_command may
 * copy a link as a link ("rsync -a"); PostgreSQL does not remove it either.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogarchive.h"
#include "common/file_perm.h"
#include "storage/fd.h"
#include "storage/lwlock.h"

#include "publisher/walaside.h"

/* A link that is made under this name gets its place by a rename. */
#define NEW_LINK EVPUB_WALASIDE_DIRECTORY "/link"

/* The two names of a segment, and where a link in the first leads. */
typedef struct Names
{
	char		place[MAXPGPATH];
	char		aside[MAXPGPATH];
	char		link[MAXPGPATH];
} Names;

/* What has the name of a segment in pg_wal? */
typedef enum Place
{
	PLACE_FREE,
	PLACE_LINK,					/* to the file that is aside */
	PLACE_SAME,					/* the file that is aside */
	PLACE_OTHER,				/* another whole segment */
	PLACE_UNKNOWN				/* anything else, or it cannot be seen; errno */
} Place;

static void
name(Names *names, const char *segment)
{
	snprintf(names->place, MAXPGPATH, XLOGDIR "/%s", segment);
	snprintf(names->aside, MAXPGPATH, EVPUB_WALASIDE_DIRECTORY "/%s", segment);
	snprintf(names->link, MAXPGPATH, "%s",
			 names->aside + strlen(XLOGDIR "/"));
}

static bool
is_our_link(const Names *names)
{
	char		target[MAXPGPATH];
	ssize_t		length = readlink(names->place, target, sizeof(target) - 1);

	if (length < 0)
		return false;
	target[length] = '\0';
	return strcmp(target, names->link) == 0;
}

static Place
look_at_place(const Names *names, const struct stat *aside)
{
	struct stat st;

	if (lstat(names->place, &st) != 0)
		return errno == ENOENT ? PLACE_FREE : PLACE_UNKNOWN;
	if (S_ISLNK(st.st_mode) && is_our_link(names))
		return PLACE_LINK;
	if (st.st_dev == aside->st_dev && st.st_ino == aside->st_ino)
		return PLACE_SAME;
	errno = EEXIST;

	/* somebody may be copying it there just now */
	return S_ISREG(st.st_mode) && st.st_size == wal_segment_size ?
		PLACE_OTHER : PLACE_UNKNOWN;
}

/* A name may be anything's: only a whole segment may get into pg_wal. */
static bool
is_segment(const char *segment, Names *names, struct stat *st)
{
	if (!IsXLogFileName(segment))
		return false;
	name(names, segment);
	return lstat(names->aside, st) == 0 && S_ISREG(st->st_mode) &&
		st->st_size == wal_segment_size;
}

static XLogSegNo
number_of(const char *segment)
{
	TimeLineID	timeline;
	XLogSegNo	number;

	XLogFromFileName(segment, &timeline, &number, wal_segment_size);
	return number;
}

static bool
remove_aside(const Names *names)
{
	if (unlink(names->aside) == 0)
		return true;
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not remove file \"%s\": %m", names->aside)));
	return false;
}

static DIR *
open_directory(void)
{
	DIR		   *dir = AllocateDir(EVPUB_WALASIDE_DIRECTORY);

	if (!dir && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open directory \"%s\": %m",
						EVPUB_WALASIDE_DIRECTORY)));
	return dir;
}

bool
evpub_walaside_has(void)
{
	struct stat st;

	return lstat(EVPUB_WALASIDE_DIRECTORY, &st) == 0;
}

/* ---- setting aside ---- */

static bool
make_directory(void)
{
	if (MakePGDirectory(EVPUB_WALASIDE_DIRECTORY) == 0 || errno == EEXIST)
		return true;
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not create directory \"%s\": %m",
					EVPUB_WALASIDE_DIRECTORY)));
	return false;
}

/* What is aside under its name is of an earlier life if it is another file. */
static bool
give_second_name(const Names *names)
{
	struct stat place;
	struct stat aside;

	if (lstat(names->place, &place) != 0 || !S_ISREG(place.st_mode))
		return true;			/* it is gone, or aside already */
	if (lstat(names->aside, &aside) == 0)
	{
		if (look_at_place(names, &aside) == PLACE_SAME)
			return true;
		if (!remove_aside(names))
			return false;
	}
	if (link(names->place, names->aside) == 0)
		return true;
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not link file \"%s\" to \"%s\": %m",
					names->place, names->aside)));
	return false;
}

/* The first that fails ends it: the rest would be of no use without it. */
static void
give_second_names(XLogSegNo first, XLogSegNo end)
{
	DIR		   *dir = AllocateDir(XLOGDIR);
	struct dirent *entry;

	/* says so if it could not be opened */
	while ((entry = ReadDirExtended(dir, XLOGDIR, LOG)) != NULL)
	{
		Names		names;

		if (!IsXLogFileName(entry->d_name) ||
			number_of(entry->d_name) < first || number_of(entry->d_name) >= end ||
			!XLogArchiveCheckDone(entry->d_name))
			continue;
		name(&names, entry->d_name);
		if (!give_second_name(&names))
			break;
	}
	if (dir)
		FreeDir(dir);
}

/*
 * At each moment its name leads to it.  A rename may be said to have failed, and
 * be done all the same (NFS): what the name leads to then must stay.
 */
static bool
replace_by_link(const Names *names, const struct stat *aside)
{
	if (symlink(names->link, NEW_LINK) == 0 && rename(NEW_LINK, names->place) == 0)
		return true;
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not replace file \"%s\" by a symbolic link: %m",
					names->place)));
	(void) unlink(NEW_LINK);
	if (look_at_place(names, aside) == PLACE_SAME)
		(void) remove_aside(names);
	return false;
}

int
evpub_walaside_set(XLogSegNo first, XLogSegNo end)
{
	DIR		   *dir;
	struct dirent *entry;
	int			count = 0;

	if (!make_directory())
		return 0;
	(void) unlink(NEW_LINK);	/* of a crash */
	give_second_names(first, end);

	/* durable before the first name depends on it */
	if (fsync_fname_ext(EVPUB_WALASIDE_DIRECTORY, true, false, LOG) != 0 ||
		fsync_fname_ext(XLOGDIR, true, false, LOG) != 0)
		return 0;
	dir = AllocateDir(EVPUB_WALASIDE_DIRECTORY);
	while ((entry = ReadDirExtended(dir, EVPUB_WALASIDE_DIRECTORY, LOG)) != NULL)
	{
		Names		names;
		struct stat st;

		if (!is_segment(entry->d_name, &names, &st))
			continue;
		if (look_at_place(&names, &st) != PLACE_SAME || replace_by_link(&names, &st))
			count++;
	}
	if (dir)
		FreeDir(dir);
	fsync_fname_ext(XLOGDIR, true, false, LOG);
	return count;
}

/* ---- putting back ---- */

/*
 * A file that had two names when a crash came may have been recycled by the
 * other one, and written to, before it was removed there: the first page is what
 * is written first.
 */
static bool
begins_as_named(const Names *names, const char *segment)
{
	XLogLongPageHeaderData header;
	XLogRecPtr	start;
	int			fd = OpenTransientFile(names->aside, O_RDONLY | PG_BINARY);
	int			length = fd < 0 ? -1 : read(fd, &header, sizeof(header));

	if (length < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", names->aside)));
	CloseTransientFile(fd);
	XLogSegNoOffsetToRecPtr(number_of(segment), 0, wal_segment_size, start);
	return length == sizeof(header) && header.std.xlp_magic == XLOG_PAGE_MAGIC &&
		header.std.xlp_pageaddr == start && header.xlp_sysid == GetSystemIdentifier();
}

/* With a second name it may be a segment of later, that is going to be written. */
static bool
may_be_put_back(const Names *names, const char *segment, const struct stat *st)
{
	return st->st_nlink == 1 && begins_as_named(names, segment);
}

XLogRecPtr
evpub_walaside_oldest(void)
{
	XLogRecPtr	oldest = InvalidXLogRecPtr;
	DIR		   *dir = open_directory();
	struct dirent *entry;

	while (dir && (entry = ReadDir(dir, EVPUB_WALASIDE_DIRECTORY)) != NULL)
	{
		Names		names;
		struct stat st;
		XLogRecPtr	start;

		if (!is_segment(entry->d_name, &names, &st) ||
			(look_at_place(&names, &st) == PLACE_FREE &&
			 !may_be_put_back(&names, entry->d_name, &st)))
			continue;
		XLogSegNoOffsetToRecPtr(number_of(entry->d_name), 0, wal_segment_size, start);
		if (oldest == InvalidXLogRecPtr || start < oldest)
			oldest = start;
	}
	if (dir)
		FreeDir(dir);
	return oldest;
}

/*
 * Whoever makes a segment outside of recovery holds this lock, so that nothing
 * is overwritten that came between the look and the rename.
 */
static Place
take_place(const Names *names, const char *segment, const struct stat *st,
		   bool intact)
{
	Place		place;

	LWLockAcquire(ControlFileLock, LW_EXCLUSIVE);
	place = look_at_place(names, st);
	if (place == PLACE_LINK || (place == PLACE_FREE && intact))
	{
		/*
		 * It was archived, or need not be: it must not be archived again.
		 * First, so that no checkpoint finds it without.
		 */
		if (XLogArchivingActive())
			XLogArchiveForceDone(segment);
		if (rename(names->aside, names->place) != 0)
			place = PLACE_UNKNOWN;
	}
	LWLockRelease(ControlFileLock);
	return place;
}

/* True if it has been put back just now. */
static bool
put_segment_back(const Names *names, const char *segment, const struct stat *st)
{
	bool		intact = may_be_put_back(names, segment, st);

	switch (take_place(names, segment, st, intact))
	{
		case PLACE_LINK:
			return true;
		case PLACE_FREE:
			if (intact)
				return true;
			ereport(LOG,
					(errmsg("file \"%s\" may have been used as a later WAL segment; it is removed",
							names->aside)));
			break;
		case PLACE_SAME:
		case PLACE_OTHER:		/* somebody has put it back, from the archive */
			break;
		case PLACE_UNKNOWN:
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not rename file \"%s\" to \"%s\": %m",
							names->aside, names->place)));
	}
	(void) remove_aside(names);
	return false;
}

static int
put_segments_back(void)
{
	DIR		   *dir = open_directory();
	struct dirent *entry;
	int			count = 0;

	while (dir && (entry = ReadDir(dir, EVPUB_WALASIDE_DIRECTORY)) != NULL)
	{
		Names		names;
		struct stat st;

		if (is_segment(entry->d_name, &names, &st) &&
			put_segment_back(&names, entry->d_name, &st))
			count++;
	}
	if (dir)
		FreeDir(dir);
	return count;
}

int
evpub_walaside_put_back(void)
{
	int			count = 0;
	int			more;

	if (!evpub_walaside_has())
		return 0;
	(void) unlink(NEW_LINK);

	/* a directory that is changed while it is read may not show everything */
	while ((more = put_segments_back()) > 0)
		count += more;

	/* a crash leaves each of them here or there, either will do */
	fsync_fname_ext(XLOGDIR, true, false, LOG);
	fsync_fname_ext(EVPUB_WALASIDE_DIRECTORY, true, false, LOG);
	if (rmdir(EVPUB_WALASIDE_DIRECTORY) != 0)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not remove directory \"%s\": %m",
						EVPUB_WALASIDE_DIRECTORY),
				 errhint("Remove by hand what is no WAL segment in it.")));
	return count;
}

/*
 * Nothing gets into pg_wal here, where recovery reads what it finds, and does not
 * take our lock.  What a name still leads to stays, as long as it does.
 */
void
evpub_walaside_forget(XLogRecPtr lsn)
{
	DIR		   *dir = open_directory();
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = ReadDir(dir, EVPUB_WALASIDE_DIRECTORY)) != NULL)
	{
		Names		names;
		struct stat st;
		Place		place;

		if (!is_segment(entry->d_name, &names, &st))
			continue;
		place = look_at_place(&names, &st);
		if (place == PLACE_SAME || place == PLACE_OTHER ||
			(place == PLACE_FREE &&
			 number_of(entry->d_name) < lsn / wal_segment_size))
			(void) remove_aside(&names);
	}
	FreeDir(dir);

	/* unless something is left */
	(void) unlink(NEW_LINK);
	(void) rmdir(EVPUB_WALASIDE_DIRECTORY);
}
