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

#include "common/file_perm.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "compat.h"
#include "publisher/position.h"

#define STATE_MAGIC "evpubst1"
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
serialize(StringInfo out, const EvpubPosition *position)
{
	pq_sendint64(out, position->system_identifier);
	pq_sendint32(out, position->timeline);
	pq_sendint8(out, position->role);
	pq_sendint8(out, position->paused);
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
		int			length = strlen(topic->name);

		pq_sendint32(out, length);
		pq_sendbytes(out, topic->name, length);
		pq_sendint32(out, topic->partitions);
		for (int p = 0; p < topic->partitions; p++)
			pq_sendint64(out, topic->offsets[p]);
	}

	pq_sendint32(out, position->ngaps);
	for (int i = 0; i < position->ngaps; i++)
	{
		pq_sendint64(out, position->gaps[i].from_lsn);
		pq_sendint64(out, position->gaps[i].to_lsn);
	}
}

/* The checksum was right, so a short payload is a defect and may throw. */
static void
deserialize(StringInfo in, EvpubPosition *position)
{
	position->system_identifier = pq_getmsgint64(in);
	position->timeline = pq_getmsgint(in, 4);
	position->role = pq_getmsgbyte(in);
	position->paused = pq_getmsgbyte(in);
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
		int			length = pq_getmsgint(in, 4);

		topic->name = pnstrdup(pq_getmsgbytes(in, length), length);
		topic->number = i;
		topic->partitions = pq_getmsgint(in, 4);
		topic->offsets = palloc(sizeof(int64) * Max(topic->partitions, 1));
		for (int p = 0; p < topic->partitions; p++)
			topic->offsets[p] = pq_getmsgint64(in);
	}

	position->ngaps = pq_getmsgint(in, 4);
	position->gaps = palloc(sizeof(EvpubGap) * Max(position->ngaps, 1));
	for (int i = 0; i < position->ngaps; i++)
	{
		position->gaps[i].from_lsn = pq_getmsgint64(in);
		position->gaps[i].to_lsn = pq_getmsgint64(in);
	}
}

EvpubPositionFound
evpub_position_read(EvpubPosition *position, char **problem)
{
	StringInfoData data;
	struct stat st;
	int			fd;
	int			got;
	uint32		header[2];

	memset(position, 0, sizeof(*position));
	*problem = NULL;
	fd = OpenTransientFile(EVPUB_STATE_FILE, O_RDONLY | PG_BINARY);
	if (fd < 0)
	{
		if (errno == ENOENT)
			return EVPUB_POSITION_ABSENT;
		*problem = psprintf("could not open file \"%s\": %m", EVPUB_STATE_FILE);
		return EVPUB_POSITION_DAMAGED;
	}
	if (fstat(fd, &st) != 0 || st.st_size > (off_t) MaxAllocSize)
	{
		CloseTransientFile(fd);
		*problem = psprintf("file \"%s\" has an impossible size", EVPUB_STATE_FILE);
		return EVPUB_POSITION_DAMAGED;
	}
	initStringInfo(&data);
	enlargeStringInfo(&data, st.st_size);
	got = read(fd, data.data, st.st_size);
	CloseTransientFile(fd);
	if (got != st.st_size || got < STATE_HEADER)
	{
		*problem = psprintf("file \"%s\" is cut short", EVPUB_STATE_FILE);
		return EVPUB_POSITION_DAMAGED;
	}
	data.len = got;

	memcpy(header, data.data + 8, sizeof(header));
	if (memcmp(data.data, STATE_MAGIC, 8) != 0)
	{
		*problem = psprintf("file \"%s\" is not a state file of this version",
							EVPUB_STATE_FILE);
		return EVPUB_POSITION_DAMAGED;
	}
	if (pg_ntoh32(header[0]) != (uint32) (got - STATE_HEADER) ||
		pg_ntoh32(header[1]) != checksum(data.data + STATE_HEADER, got - STATE_HEADER))
	{
		*problem = psprintf("file \"%s\" has a wrong checksum", EVPUB_STATE_FILE);
		return EVPUB_POSITION_DAMAGED;
	}
	data.cursor = STATE_HEADER;
	deserialize(&data, position);
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

void
evpub_position_write(const EvpubPosition *position)
{
	StringInfoData data;
	uint32		header[2] = {0, 0};

	if (MakePGDirectory(EVPUB_STATE_DIRECTORY) == 0)
		fsync_fname(".", true);
	else if (errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m",
						EVPUB_STATE_DIRECTORY)));

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
	EvpubLineage *grown = palloc(sizeof(EvpubLineage) * (position->nlineage + 1));

	if (position->nlineage > 0)
		memcpy(grown, position->lineage, sizeof(EvpubLineage) * position->nlineage);
	grown[position->nlineage].publisher_id = publisher_id;
	grown[position->nlineage].timeline = timeline;
	grown[position->nlineage].from_lsn = from_lsn;
	position->lineage = grown;
	position->nlineage++;
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
