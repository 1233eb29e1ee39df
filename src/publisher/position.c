/*
 * position.c
 *		The publisher's state file.
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
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "compat.h"
#include "publisher/position.h"

#define STATE_MAGIC "evpubst3"
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

static void
put_text(StringInfo out, const char *text)
{
	int			length = text ? strlen(text) : 0;

	pq_sendint32(out, length);
	pq_sendbytes(out, text ? text : "", length);
}

static char *
get_text(StringInfo in)
{
	int			length = pq_getmsgint(in, 4);

	return pnstrdup(pq_getmsgbytes(in, length), length);
}

static void
put_xids(StringInfo out, const TransactionId *xids, int n)
{
	pq_sendint32(out, n);
	for (int i = 0; i < n; i++)
		pq_sendint32(out, xids[i]);
}

static TransactionId *
get_xids(StringInfo in, int *n)
{
	TransactionId *xids;

	*n = pq_getmsgint(in, 4);
	xids = palloc(sizeof(TransactionId) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		xids[i] = pq_getmsgint(in, 4);
	return xids;
}

static void
put_gaps(StringInfo out, const EvpubPosition *position)
{
	pq_sendint8(out, position->gap.reason != NULL);
	if (position->gap.reason != NULL)
	{
		pq_sendint64(out, position->gap.from_lsn);
		pq_sendint64(out, position->gap.to_lsn);
		pq_sendint64(out, position->gap.restart_lsn);
		pq_sendint8(out, position->gap.given_up);
		put_text(out, position->gap.reason);
		put_xids(out, position->gap.cut, position->gap.ncut);
	}

	pq_sendint32(out, position->ngaps);
	for (int i = 0; i < position->ngaps; i++)
	{
		const EvpubGap *gap = &position->gaps[i];

		pq_sendint64(out, gap->from_lsn);
		pq_sendint64(out, gap->to_lsn);
		pq_sendint64(out, gap->horizon);
		pq_sendint64(out, gap->accepted_at);
		pq_sendint8(out, gap->told);
		put_text(out, gap->reason);
		put_xids(out, gap->cut, gap->ncut);
	}
}

static void
get_gaps(StringInfo in, EvpubPosition *position)
{
	if (pq_getmsgbyte(in))
	{
		position->gap.from_lsn = pq_getmsgint64(in);
		position->gap.to_lsn = pq_getmsgint64(in);
		position->gap.restart_lsn = pq_getmsgint64(in);
		position->gap.given_up = pq_getmsgbyte(in);
		position->gap.reason = get_text(in);
		position->gap.cut = get_xids(in, &position->gap.ncut);
	}

	position->ngaps = pq_getmsgint(in, 4);
	position->gaps = palloc0(sizeof(EvpubGap) * Max(position->ngaps, 1));
	for (int i = 0; i < position->ngaps; i++)
	{
		EvpubGap   *gap = &position->gaps[i];

		gap->from_lsn = pq_getmsgint64(in);
		gap->to_lsn = pq_getmsgint64(in);
		gap->horizon = pq_getmsgint64(in);
		gap->accepted_at = pq_getmsgint64(in);
		gap->told = pq_getmsgbyte(in);
		gap->reason = get_text(in);
		gap->cut = get_xids(in, &gap->ncut);
	}
}

static void
serialize(StringInfo out, const EvpubPosition *position)
{
	pq_sendint64(out, position->system_identifier);
	pq_sendint32(out, position->timeline);
	pq_sendint8(out, position->role);
	pq_sendint8(out, position->paused);
	pq_sendint64(out, position->directory_inode);
	pq_sendint64(out, position->restart_lsn);
	pq_sendint64(out, position->confirmed_lsn);
	pq_sendint32(out, position->next_event);
	pq_sendint64(out, position->sequence);

	pq_sendint32(out, position->nlineage);
	for (int i = 0; i < position->nlineage; i++)
	{
		pq_sendint64(out, position->lineage[i].publisher_id);
		pq_sendint32(out, position->lineage[i].timeline);
		pq_sendint64(out, position->lineage[i].from_lsn);
	}

	pq_sendint32(out, position->ntopics);
	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		put_text(out, topic->name);
		pq_sendint32(out, topic->partitions);
		for (int p = 0; p < topic->partitions; p++)
			pq_sendint64(out, topic->offsets[p]);
	}
	put_gaps(out, position);
}

/* The checksum was right, so a short payload is a defect; it throws. */
static void
deserialize(StringInfo in, EvpubPosition *position)
{
	position->system_identifier = pq_getmsgint64(in);
	position->timeline = pq_getmsgint(in, 4);
	position->role = pq_getmsgbyte(in);
	position->paused = pq_getmsgbyte(in);
	position->directory_inode = pq_getmsgint64(in);
	position->restart_lsn = pq_getmsgint64(in);
	position->confirmed_lsn = pq_getmsgint64(in);
	position->next_event = pq_getmsgint(in, 4);
	position->sequence = pq_getmsgint64(in);

	position->nlineage = pq_getmsgint(in, 4);
	position->lineage = palloc(sizeof(EvpubLineage) * Max(position->nlineage, 1));
	for (int i = 0; i < position->nlineage; i++)
	{
		position->lineage[i].publisher_id = pq_getmsgint64(in);
		position->lineage[i].timeline = pq_getmsgint(in, 4);
		position->lineage[i].from_lsn = pq_getmsgint64(in);
	}

	position->ntopics = pq_getmsgint(in, 4);
	position->topic_slots = Max(position->ntopics, 8);
	position->topics = palloc0(sizeof(EvpubTopic) * position->topic_slots);
	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		topic->name = get_text(in);
		topic->number = i;
		topic->partitions = pq_getmsgint(in, 4);
		topic->durable = topic->partitions > 0;
		topic->offsets = palloc(sizeof(int64) * Max(topic->partitions, 1));
		for (int p = 0; p < topic->partitions; p++)
			topic->offsets[p] = pq_getmsgint64(in);
	}
	get_gaps(in, position);
	pq_getmsgend(in);
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

/* As deserialize(), but false for what does not make sense. */
static bool
understand(StringInfo in, EvpubPosition *position)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		deserialize(in, position);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		return false;
	}
	PG_END_TRY();
	return true;
}

EvpubPositionFound
evpub_position_read(EvpubPosition *position, char **problem)
{
	StringInfoData data;
	uint32		header[2];
	uint32		length;
	bool		absent;

	memset(position, 0, sizeof(*position));
	*problem = read_file(&data, &absent);
	if (*problem)
		return absent ? EVPUB_POSITION_ABSENT : EVPUB_POSITION_DAMAGED;

	memcpy(header, data.data + 8, sizeof(header));
	length = data.len - STATE_HEADER;
	if (memcmp(data.data, STATE_MAGIC, 8) != 0)
	{
		*problem = psprintf("file \"%s\" is not a state file of this version",
							EVPUB_STATE_FILE);
		return EVPUB_POSITION_DAMAGED;
	}
	if (pg_ntoh32(header[0]) != length ||
		pg_ntoh32(header[1]) != checksum(data.data + STATE_HEADER, length))
	{
		*problem = psprintf("file \"%s\" has a wrong checksum", EVPUB_STATE_FILE);
		return EVPUB_POSITION_DAMAGED;
	}
	data.cursor = STATE_HEADER;
	if (!understand(&data, position))
	{
		*problem = psprintf("file \"%s\" has contents that make no sense",
							EVPUB_STATE_FILE);
		return EVPUB_POSITION_DAMAGED;
	}
	pfree(data.data);
	return EVPUB_POSITION_FOUND;
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
 * whole volume cannot be told in this way.)
 */
void
evpub_position_settle(EvpubPosition *position, TimeLineID timeline)
{
	make_directory();
	position->system_identifier = GetSystemIdentifier();
	position->timeline = timeline;
	position->directory_inode = directory_inode();
}

bool
evpub_position_moved(const EvpubPosition *position)
{
	return position->directory_inode != directory_inode();
}

void
evpub_position_write(const EvpubPosition *position)
{
	StringInfoData data;
	uint32		header[2] = {0, 0};

	make_directory();
	initStringInfo(&data);
	appendBinaryStringInfo(&data, STATE_MAGIC, 8);
	appendBinaryStringInfo(&data, (char *) header, sizeof(header));
	serialize(&data, position);
	header[0] = pg_hton32(data.len - STATE_HEADER);
	header[1] = pg_hton32(checksum(data.data + STATE_HEADER, data.len - STATE_HEADER));
	memcpy(data.data + 8, header, sizeof(header));

	write_file(STATE_TEMPORARY, data.data, data.len);
	durable_rename(STATE_TEMPORARY, EVPUB_STATE_FILE, ERROR);
	pfree(data.data);
}

void
evpub_position_remove(void)
{
	if (unlink(EVPUB_STATE_FILE) != 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", EVPUB_STATE_FILE)));
	fsync_fname(EVPUB_STATE_DIRECTORY, true);
}

void
evpub_position_set_aside(void)
{
	durable_rename(EVPUB_STATE_FILE, EVPUB_STATE_DAMAGED, ERROR);
}

uint64
evpub_position_publisher(const EvpubPosition *position)
{
	if (position->nlineage == 0)
		return 0;
	return position->lineage[position->nlineage - 1].publisher_id;
}

uint64
evpub_position_publisher_at(const EvpubPosition *position, XLogRecPtr lsn)
{
	for (int i = position->nlineage - 1; i > 0; i--)
		if (position->lineage[i].from_lsn <= lsn)
			return position->lineage[i].publisher_id;
	return position->nlineage > 0 ? position->lineage[0].publisher_id : 0;
}

void
evpub_position_add_lineage(EvpubPosition *position, uint64 publisher_id,
						   TimeLineID timeline, XLogRecPtr from_lsn)
{
	EvpubLineage *grown = MemoryContextAlloc(TopMemoryContext,
											 sizeof(EvpubLineage) * (position->nlineage + 1));

	if (position->nlineage > 0)
		memcpy(grown, position->lineage, sizeof(EvpubLineage) * position->nlineage);
	grown[position->nlineage].publisher_id = publisher_id;
	grown[position->nlineage].timeline = timeline;
	grown[position->nlineage].from_lsn = from_lsn;
	position->lineage = grown;
	position->nlineage++;
}

/*
 * The oldest ones that consumers have been told of are forgotten.  Nothing of
 * the old array is changed or freed: the caller may go back to it.
 */
void
evpub_position_add_gap(EvpubPosition *position, const EvpubGap *gap)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	int			kept = position->ngaps;
	EvpubGap   *first = position->gaps;
	EvpubGap   *grown;
	EvpubGap	copy = *gap;

	for (; kept >= EVPUB_GAPS_KEPT && first->told; kept--)
		first++;
	grown = palloc(sizeof(EvpubGap) * (kept + 1));
	if (kept > 0)
		memcpy(grown, first, sizeof(EvpubGap) * kept);
	copy.reason = pstrdup(gap->reason);
	copy.cut = palloc(sizeof(TransactionId) * Max(gap->ncut, 1));
	if (gap->ncut > 0)
		memcpy(copy.cut, gap->cut, sizeof(TransactionId) * gap->ncut);
	grown[kept] = copy;
	position->gaps = grown;
	position->ngaps = kept + 1;
	MemoryContextSwitchTo(old);
}

void
evpub_position_set_open_gap(EvpubPosition *position, const EvpubOpenGap *gap)
{
	EvpubOpenGap copy = *gap;

	if (gap->reason)
		copy.reason = MemoryContextStrdup(TopMemoryContext, gap->reason);
	if (gap->ncut > 0)
	{
		copy.cut = MemoryContextAlloc(TopMemoryContext,
									  sizeof(TransactionId) * gap->ncut);
		memcpy(copy.cut, gap->cut, sizeof(TransactionId) * gap->ncut);
	}
	position->gap = copy;
}

uint64
evpub_position_new_publisher(void)
{
	uint64		id = 0;

	while (id == 0)
		if (!pg_strong_random(&id, sizeof(id)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate a publisher id")));
	return id;
}
