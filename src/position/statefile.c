/*
 * statefile.c
 *		The file in which a position outlives the server: reading it, writing
 *		it, removing it, and setting a damaged one aside.
 *
 * It is written before the slot moves: what the file says decides where
 * reading starts, and the slot only keeps the WAL that this needs.  Its
 * contents are in network byte order.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "position/checkedfile.h"
#include "position/position_format.h"
#include "position/statefile.h"

#define STATE_MAGIC "evpubst8"

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

	memset(position, 0, sizeof(*position));
	switch (evpub_checkedfile_read(EVPUB_STATE_FILE, STATE_MAGIC, &data, problem))
	{
		case EVPUB_CHECKEDFILE_FOUND:
			break;
		case EVPUB_CHECKEDFILE_ABSENT:
			*problem = pstrdup("there is no state file");
			return EVPUB_STATEFILE_ABSENT;
		case EVPUB_CHECKEDFILE_DAMAGED:
			return EVPUB_STATEFILE_DAMAGED;
		case EVPUB_CHECKEDFILE_UNREADABLE:
			ereport(ERROR,
					(errcode_for_file_access(), errmsg("%s", *problem)));
	}
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

	make_directory();
	evpub_checkedfile_begin(&data, STATE_MAGIC);
	evpub_position_serialize(&data, position, EVPUB_POSITION_FILE);
	evpub_checkedfile_write(EVPUB_STATE_FILE, &data);
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
