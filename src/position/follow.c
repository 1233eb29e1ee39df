/*
 * follow.c
 *		Position messages in WAL.
 *
 * The state file of a base backup says how far the publisher was when the
 * backup was made.  A standby that is promoted later, or a backup that is
 * restored with the archive, has WAL that says more: the newest message in it.
 * Without that, all that was published since the backup would be published
 * again, or be a gap, since its WAL is gone.
 *
 * A message counts if it is authentic, of this system, later than what is known
 * (its sequence rises with each), and if its lineage continues the one that is
 * known.  That it is of this timeline's history is given: it was read there.
 *
 * A message also says from where on WAL is needed.  If nothing was captured from
 * there up to the end of what was read, then nothing is needed of that, and the
 * position is the end.  That matters on a standby, where no slot keeps WAL: a
 * checkpoint after the promotion removes what lies before it.
 *
 * Memory does not grow with the WAL that is read: what is known is kept as
 * bytes, and each message is merged in a context that is reset.
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "replication/message.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "event/event.h"
#include "position/follow.h"
#include "position/pins.h"
#include "position/position_format.h"
#include "reader/walfind.h"

struct EvpubFollower
{
	MemoryContext context;
	MemoryContext work;			/* reset with each message */
	EvpubWalReader *reader;		/* NULL: nothing was read yet */
	XLogRecPtr	first_lsn;		/* WAL was read from here without a break */
	XLogRecPtr	last_chunk;		/* start of the last chunk that was met */
	StringInfoData known;		/* the position, in the form of the file */
	XLogRecPtr	restart_lsn;	/* of it */
	uint64		sequence;
	bool		found;			/* a message that was not taken yet */
};

/* Is the record one of ours?  Its message, then, and whether it is a chunk. */
static bool
own_message(EvpubWalReader *reader, StringInfo data, bool *chunk)
{
	xl_logical_message *message;
	Size		available;

	if (XLogRecGetRmid(reader->xlog) != RM_LOGICALMSG_ID)
		return false;
	message = (xl_logical_message *) XLogRecGetData(reader->xlog);
	available = XLogRecGetDataLen(reader->xlog);
	if (available < SizeOfLogicalMessage ||
		message->prefix_size != sizeof(EVPUB_MESSAGE_PREFIX) ||
		available - SizeOfLogicalMessage < message->prefix_size ||
		available - SizeOfLogicalMessage - message->prefix_size < message->message_size ||
		memcmp(message->message, EVPUB_MESSAGE_PREFIX,
			   sizeof(EVPUB_MESSAGE_PREFIX)) != 0)
		return false;
	*chunk = message->transactional;

	/* users cannot make one of database 0 */
	if (!*chunk && message->dbId != InvalidOid)
		return false;
	data->data = message->message + message->prefix_size;
	data->len = message->message_size;
	data->maxlen = data->len;
	data->cursor = 0;
	return true;
}

/* Parse a position message into the current context. */
static bool
parse_message(StringInfo data, EvpubPosition *message, bool *full)
{
	char		form;

	if (!evpub_position_message_check(data->data, data->len, &form))
		return false;
	*full = form == EVPUB_POSITION_FULL;
	data->cursor = EVPUB_POSITION_HEADER_LENGTH;
	return evpub_position_parse(data, message);
}

/*
 * Topics are known by number, and each publisher that begins anew (its state
 * file was lost, or it was dropped and created again) counts from the beginning.
 */
static bool
same_root(const EvpubPosition *message, const EvpubPosition *position)
{
	return message->nlineage > 0 && position->nlineage > 0 &&
		message->lineage[0].publisher_id == position->lineage[0].publisher_id;
}

void
evpub_follow_growth(EvpubPosition *position, EvpubWalReader *reader)
{
	MemoryContext work;
	MemoryContext old;
	EvpubPosition message;
	StringInfoData data;
	bool		chunk;
	bool		full;

	if (!own_message(reader, &data, &chunk) || chunk)
		return;
	work = AllocSetContextCreate(CurrentMemoryContext, "evpub position message",
								 ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(work);
	if (parse_message(&data, &message, &full) &&
		message.system_identifier == position->system_identifier &&
		same_root(&message, position))
		evpub_pins_message(position, &message, reader->xlog->EndRecPtr);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
}

/* ---- looking for the newest ---- */

static void
remember(EvpubFollower *follower, const EvpubPosition *position)
{
	resetStringInfo(&follower->known);
	evpub_position_serialize(&follower->known, position, EVPUB_POSITION_FILE);
	follower->sequence = position->sequence;
	follower->restart_lsn = position->restart_lsn;
}

static bool
parse_known(EvpubFollower *follower, EvpubPosition *position)
{
	StringInfoData in = follower->known;

	in.cursor = 0;
	return evpub_position_parse(&in, position);
}

EvpubFollower *
evpub_follow_begin(const EvpubPosition *position)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "evpub follower",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EvpubFollower *follower = palloc0(sizeof(EvpubFollower));

	follower->context = context;
	follower->work = AllocSetContextCreate(context, "evpub position message",
										   ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&follower->known);
	remember(follower, position);
	MemoryContextSwitchTo(old);
	return follower;
}

/* Does the lineage of a message continue what is known? */
static bool
continues(const EvpubPosition *message, const EvpubPosition *known)
{
	if (known->nlineage == 0 || message->nlineage < known->nlineage)
		return false;
	for (int i = 0; i < known->nlineage; i++)
		if (message->lineage[i].publisher_id != known->lineage[i].publisher_id ||
			message->lineage[i].timeline != known->lineage[i].timeline ||
			message->lineage[i].from_lsn != known->lineage[i].from_lsn)
			return false;
	return true;
}

static void
take_message(EvpubFollower *follower, StringInfo data)
{
	MemoryContext old = MemoryContextSwitchTo(follower->work);
	EvpubPosition message;
	EvpubPosition known;
	bool		full;

	if (parse_message(data, &message, &full) &&
		message.sequence > follower->sequence &&
		parse_known(follower, &known) &&
		message.system_identifier == known.system_identifier &&
		continues(&message, &known))
	{
		evpub_position_merge(&known, &message, full);
		MemoryContextSwitchTo(follower->context);
		remember(follower, &known);
		follower->found = true;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(follower->work);
}

/* Where the oldest segment begins that is in this server's history. */
static XLogRecPtr
oldest_segment(EvpubWalReader *reader)
{
	DIR		   *dir = AllocateDir(XLOGDIR);
	XLogSegNo	oldest = 0;
	XLogSegNo	newest;
	XLogRecPtr	lsn = InvalidXLogRecPtr;
	struct dirent *entry;

	XLByteToSeg(reader->limit, newest, wal_segment_size);
	while ((entry = ReadDir(dir, XLOGDIR)) != NULL)
	{
		TimeLineID	timeline;
		XLogSegNo	segment;
		XLogRecPtr	start;

		if (!IsXLogFileName(entry->d_name))
			continue;
		XLogFromFileName(entry->d_name, &timeline, &segment, wal_segment_size);
		XLogSegNoOffsetToRecPtr(segment, 0, wal_segment_size, start);
		if (segment > newest || (oldest > 0 && segment >= oldest) ||
			evpub_walreader_timeline_of(reader, start + wal_segment_size - 1) != timeline)
			continue;
		oldest = segment;
		lsn = start;
	}
	FreeDir(dir);
	return lsn;
}

/* Any role may write what looks like a chunk, and must not make WAL seem needed. */
static bool
authentic_chunk(EvpubWalReader *reader, StringInfo data)
{
	xl_logical_message *message = (xl_logical_message *) XLogRecGetData(reader->xlog);
	EvpubChunkInfo info;

	return evpub_chunk_check(data->data, data->len, message->dbId,
							 XLogRecGetXid(reader->xlog), &info) != EVPUB_CHUNK_FORGED;
}

static void
read_records(EvpubFollower *follower)
{
	EvpubWalReader *reader = follower->reader;

	while (!ShutdownRequestPending && evpub_walreader_next(reader))
	{
		StringInfoData data;
		bool		chunk;

		CHECK_FOR_INTERRUPTS();
		if (reader->oversized || !own_message(reader, &data, &chunk))
			continue;
		if (!chunk)
			take_message(follower, &data);
		else if (authentic_chunk(reader, &data))
			follower->last_chunk = reader->xlog->ReadRecPtr;
	}
}

/* As above, up to something that cannot be read; false then. */
static bool
read_up_to_break(EvpubFollower *follower)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		read_records(follower);
	}
	PG_CATCH();
	{
		/*
		 * Memory, files and the disk may be there again in a moment: that is no
		 * break, and what is behind it must not be passed over.  A message of a
		 * newer version never becomes readable.
		 */
		if (!evpub_walreader_no_wal(geterrcode()) &&
			geterrcode() != ERRCODE_FEATURE_NOT_SUPPORTED)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		MemoryContextReset(follower->work);
		return false;
	}
	PG_END_TRY();
	return true;
}

/* Go to where the next record is that can be read. */
static void
pass_break(EvpubFollower *follower, XLogRecPtr lsn)
{
	XLogRecPtr	next = lsn == InvalidXLogRecPtr ? lsn : evpub_walfind_record(lsn);

	if (next == InvalidXLogRecPtr)
		next = follower->reader->limit;
	evpub_walreader_seek(follower->reader, next);
	follower->first_lsn = next;
}

bool
evpub_follow_read(EvpubFollower *follower)
{
	MemoryContext old = MemoryContextSwitchTo(follower->context);
	TimeLineID	timeline;
	XLogRecPtr	end = evpub_walreader_end(&timeline);
	bool		first = follower->reader == NULL;

	if (first)
		follower->reader = evpub_walreader_create();
	evpub_walreader_set_limit(follower->reader, end, timeline);
	if (first)
		pass_break(follower, oldest_segment(follower->reader));

	/* a break is passed from the next page on, so this ends */
	while (!ShutdownRequestPending && !read_up_to_break(follower))
		pass_break(follower, follower->reader->position + 1);
	MemoryContextSwitchTo(old);
	return !ShutdownRequestPending;
}

bool
evpub_follow_take(EvpubFollower *follower, EvpubPosition *position)
{
	EvpubPosition known;
	XLogRecPtr	end = follower->reader->position;
	bool		unneeded;

	/* nothing was captured in what may still be needed, and all of it was read */
	unneeded = follower->first_lsn <= follower->restart_lsn &&
		follower->last_chunk < follower->restart_lsn &&
		end > follower->restart_lsn;
	if (!follower->found && !unneeded)
		return false;
	if (!parse_known(follower, &known))
		elog(ERROR, "could not read back a position");
	known.role = position->role;
	known.directory_inode = position->directory_inode;
	if (unneeded)
	{
		known.restart_lsn = end;
		known.confirmed_lsn = Max(known.confirmed_lsn, end);
		known.timeline = follower->reader->timeline;
	}
	*position = known;
	follower->found = false;
	follower->restart_lsn = known.restart_lsn;
	return true;
}

bool
evpub_follow_needs_wal(const EvpubFollower *follower)
{
	return follower->last_chunk != InvalidXLogRecPtr &&
		follower->last_chunk >= follower->restart_lsn;
}

void
evpub_follow_end(EvpubFollower *follower)
{
	if (follower->reader)
		evpub_walreader_free(follower->reader);
	MemoryContextDelete(follower->context);
}

bool
evpub_follow_latest(EvpubPosition *position)
{
	EvpubFollower *follower = evpub_follow_begin(position);
	bool		whole = evpub_follow_read(follower);
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		taken = whole && evpub_follow_take(follower, position);

	MemoryContextSwitchTo(old);
	evpub_follow_end(follower);
	if (!whole)
		ereport(ERROR,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("the server is shutting down")));
	return taken;
}
