/*
 * statefile.c
 *		The file in which a position outlives the server: reading it, writing
 *		it, removing it, and setting a damaged one aside.
 *
 * It is written before the slot moves: what the file says decides where
 * reading starts, and the slot only keeps the WAL that this needs.  Its
 * contents are in network byte order.
 *
 * While events flow it is written once a second, in place (halves.c), and there it
 * may later turn out to say the state of one write before.  That is so if the newest
 * half has rotted, or was met in the middle of a write by a base backup (then it may be
 * two writes).  So two states that stand in one file differ in nothing but progress:
 * how far Kafka is, and what is needed from where on for that.  Whoever begins at an
 * older progress repeats the work of a second, as after a crash right before the
 * write: it sends again what read-back does not find, it announces again.  Nothing that
 * was decided is taken back: by a person (paused, a gap that is accepted, an event that
 * is skipped, a topic that is forgotten, a take-over) or by the worker (the role, the
 * publisher id, the partition count of a topic, a dead letter).  A state with such a
 * decision replaces the file.  What counts as progress is listed in as_decided(), and
 * all else, also what is new in a position one day, is a decision.
 *
 * The WAL from the older state's restart_lsn on is kept as long as it can be read:
 * evpub_statefile_advance() says up to where the slot may move.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "position/halves.h"
#include "position/position_format.h"
#include "position/statefile.h"

#define STATE_MAGIC "evpubst9"

/* The file as this process has written it: halves.known says whether it has. */
static EvpubHalves halves;

/* What is decided there, as bytes; and the newest state's restart_lsn. */
static StringInfoData decided;
static XLogRecPtr written_restart;

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
	switch (evpub_halves_read(EVPUB_STATE_FILE, STATE_MAGIC, &data, problem))
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

void
evpub_statefile_make_directory(void)
{
	if (MakePGDirectory(EVPUB_STATE_DIRECTORY) == 0)
		fsync_fname(".", true);
	else if (errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m",
						EVPUB_STATE_DIRECTORY)));
}

uint64
evpub_statefile_inode(void)
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
	evpub_statefile_make_directory();
	position->system_identifier = GetSystemIdentifier();
	position->timeline = timeline;
	position->directory_inode = evpub_statefile_inode();
}

bool
evpub_statefile_moved(const EvpubPosition *position)
{
	return position->directory_inode != evpub_statefile_inode();
}

/*
 * What a state says beside its progress, as bytes.  What counts as progress:
 *
 * - how far Kafka is, and where reading begins for that; the number of the message;
 * - of each partition, offset and id of the last acknowledged record: a new relay reads
 *   on from there, and from an older offset it reads more;
 * - how many dead letters of a topic came in a row, which bounds a mistake;
 * - how far consumers have got evpub.gap events, which come again under the same ids.
 *
 * Which partition count a state has after growth follows from its progress.  So the
 * count is compared as if there were none, unless the topic has grown again since,
 * which such a state could not say.
 */
static StringInfoData
as_decided(const EvpubPosition *position)
{
	EvpubPosition copy = *position;
	EvpubLast  *no_last;
	int			partitions = 1;
	StringInfoData bytes;

	copy.restart_lsn = InvalidXLogRecPtr;
	copy.confirmed_lsn = InvalidXLogRecPtr;
	copy.next_event = 0;
	copy.sequence = 0;
	copy.topics = palloc(sizeof(EvpubTopic) * Max(copy.ntopics, 1));
	for (int i = 0; i < copy.ntopics; i++)
		partitions = Max(partitions, Max(position->topics[i].partitions,
										 position->topics[i].before));
	no_last = palloc0(sizeof(EvpubLast) * partitions);
	for (int i = 0; i < copy.ntopics; i++)
	{
		copy.topics[i] = position->topics[i];
		if (copy.topics[i].grown > 0 && !evpub_position_says_before(position, &copy.topics[i]))
			copy.topics[i].before = 0;
		copy.topics[i].last = no_last;
		copy.topics[i].letters = 0;
	}
	copy.gaps = palloc(sizeof(EvpubGap) * Max(copy.ngaps, 1));
	for (int i = 0; i < copy.ngaps; i++)
	{
		copy.gaps[i] = position->gaps[i];
		copy.gaps[i].announced = false;
		copy.gaps[i].next_number = 0;
	}
	initStringInfo(&bytes);
	evpub_position_serialize(&bytes, &copy, EVPUB_POSITION_FILE);
	pfree(copy.topics);
	pfree(copy.gaps);
	pfree(no_last);
	return bytes;
}

static bool
decides_nothing(const EvpubPosition *position)
{
	StringInfoData bytes;
	bool		same;

	if (!halves.known)
		return false;
	bytes = as_decided(position);
	same = bytes.len == decided.len && memcmp(bytes.data, decided.data, bytes.len) == 0;
	pfree(bytes.data);
	return same;
}

static StringInfoData
state_of(const EvpubPosition *position)
{
	StringInfoData data;

	evpub_halves_begin(&data);
	evpub_position_serialize(&data, position, EVPUB_POSITION_FILE);
	return data;
}

/* Room for so many bytes in what is remembered as decided. */
static void
make_room(int length)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	if (!decided.data)
		initStringInfo(&decided);
	enlargeStringInfo(&decided, length);
	MemoryContextSwitchTo(old);
}

void
evpub_statefile_write(const EvpubPosition *position)
{
	StringInfoData data = state_of(position);
	StringInfoData bytes = as_decided(position);

	evpub_statefile_make_directory();
	make_room(bytes.len);
	evpub_halves_replace(&halves, EVPUB_STATE_FILE, STATE_MAGIC, &data);

	/* what is known of the file changes with it: nothing here can fail any more */
	resetStringInfo(&decided);
	appendBinaryStringInfo(&decided, bytes.data, bytes.len);
	written_restart = position->restart_lsn;
	pfree(bytes.data);
	pfree(data.data);
}

XLogRecPtr
evpub_statefile_advance(const EvpubPosition *position)
{
	XLogRecPtr	other = written_restart;
	StringInfoData data;
	bool		written = false;

	if (decides_nothing(position))
	{
		data = state_of(position);
		written = evpub_halves_advance(&halves, EVPUB_STATE_FILE, STATE_MAGIC, &data);
		pfree(data.data);
	}
	if (!written)
	{
		evpub_statefile_write(position);
		return InvalidXLogRecPtr;
	}
	written_restart = position->restart_lsn;
	return Min(other, position->restart_lsn);
}

void
evpub_statefile_remove(void)
{
	halves.known = false;
	if (unlink(EVPUB_STATE_FILE) != 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", EVPUB_STATE_FILE)));
	fsync_fname(EVPUB_STATE_DIRECTORY, true);
}

void
evpub_statefile_set_aside(void)
{
	halves.known = false;
	durable_rename(EVPUB_STATE_FILE, EVPUB_STATE_DAMAGED, ERROR);
}
