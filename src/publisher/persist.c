/*
 * persist.c
 *		The worker's position: state file, then slot, then position message.
 *
 * The order is the safety: Kafka has acknowledged, the file is durable, the
 * slot lets WAL go, and standbys get the position.  A crash between any two steps
 * repeats work and loses nothing.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "compat.h"
#include "event/event.h"
#include "position/pins.h"
#include "position/position_format.h"
#include "position/skips.h"
#include "position/statefile.h"
#include "publisher/persist.h"
#include "publisher/rescue.h"
#include "publisher/slot.h"
#include "publisher/state.h"
#include "sender/relaytopics.h"

/* At most so often, in ms: each is a flush beside the writers' own. */
#define PERSIST_INTERVAL 1000

/*
 * To move the slot takes four flushes, and serves only the next checkpoint, which
 * removes WAL.  So it moves at most so often, in ms; or when it is behind by so much
 * of max_wal_size, which is about what is written between two checkpoints, or of
 * max_slot_wal_keep_size, beyond which the next one invalidates the slot.
 */
#define SLOT_INTERVAL 10000
#define SLOT_SHARE 16

/* A full message after so many, or so long (in ms), if anything was published. */
#define FULL_MESSAGES 1000
#define FULL_INTERVAL (60 * 60 * 1000)

/*
 * LogLogicalMessage() does not do here: the record must be marked unimportant, or
 * archive_timeout would switch segments for it on an idle server.
 */
static XLogRecPtr
insert_message(StringInfo data)
{
	xl_logical_message header;
	char		prefix[] = EVPUB_MESSAGE_PREFIX;

	header.dbId = InvalidOid;
	header.transactional = false;
	header.prefix_size = sizeof(prefix);
	header.message_size = data->len;
	XLogBeginInsert();
	XLogRegisterData((char *) &header, SizeOfLogicalMessage);
	XLogRegisterData(prefix, sizeof(prefix));
	XLogRegisterData(data->data, data->len);
	XLogSetRecordFlags(XLOG_MARK_UNIMPORTANT);
	return XLogInsert(RM_LOGICALMSG_ID, XLOG_LOGICAL_MESSAGE);
}

/*
 * Say in WAL how far we have come.  A topic in which something has changed is
 * whole in the message, so one that is new needs no full message; those are for
 * readers that begin in the middle, and for topics that are no more.
 */
static void
log_position(EvpubWorker *worker, bool flush)
{
	StringInfoData data;
	EvpubMsec	now = evpub_clock_now();
	EvpubPositionForm form = EVPUB_POSITION_CHANGES;
	XLogRecPtr	end;

	if (worker->full_wanted || worker->messages_since_full >= FULL_MESSAGES ||
		now - worker->full_at >= FULL_INTERVAL)
		form = EVPUB_POSITION_FULL;
	initStringInfo(&data);
	evpub_position_message_begin(&data, form);
	evpub_position_serialize(&data, &worker->position, form);
	evpub_position_message_finish(&data);
	end = insert_message(&data);
	pfree(data.data);
	if (flush || form == EVPUB_POSITION_FULL)
		XLogFlush(end);

	evpub_pins_logged(&worker->position, end);
	worker->messages_since_full++;
	if (form == EVPUB_POSITION_FULL)
	{
		worker->full_wanted = false;
		worker->messages_since_full = 0;
		worker->full_at = now;
	}
}

/* An error of writing: remember it, and put the position back. */
static void
not_written(EvpubWorker *worker, const EvpubPosition *before,
			const ErrorData *error)
{
	/* the array that skips.c made is in another context */
	if (worker->position.skips != before->skips)
		pfree(worker->position.skips);
	worker->position = *before;
	strlcpy(worker->persist_problem, evpub_reason_of_error(error),
			sizeof(worker->persist_problem));
	evpub_state_error(worker, worker->persist_problem);
}

/*
 * Let go of WAL before lsn.  "kept" is what a state needs that the file may turn out to
 * say instead of ours, invalid if there is none.
 */
static void
move_slot(EvpubWorker *worker, XLogRecPtr lsn, XLogRecPtr kept)
{
	XLogRecPtr	old = evpub_slot_position();

	evpub_slot_move(kept == InvalidXLogRecPtr ? lsn : Min(lsn, kept));
	if (evpub_slot_position() != old)
		worker->slot_moved_at = evpub_clock_now();
}

/*
 * File, then slot, then message.  A full disk must not end the worker: the old
 * file stays, the position in memory goes on, and we try again in a second.
 */
bool
evpub_persist_store(EvpubWorker *worker, const EvpubPosition *before,
					XLogRecPtr slot, bool message)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	volatile bool stored = true;
	bool		pins = evpub_pins_wanted(&worker->position);
	bool		growth = evpub_pins_growth_wanted(&worker->position);

	/* a full disk brings us here each second, and an error leaves memory behind */
	context = AllocSetContextCreate(caller, "evpub position", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(context);
	worker->position.sequence++;
	PG_TRY();
	{
		XLogRecPtr	kept = evpub_statefile_advance(&worker->position);

		evpub_pins_written(&worker->position);
		if (slot != InvalidXLogRecPtr)
			move_slot(worker, slot, kept);
		if (message || pins || growth)
			log_position(worker, pins || growth ||
						 worker->position.skips != before->skips ||
						 worker->position.gaps != before->gaps);
		worker->persist_problem[0] = '\0';
		evpub_skips_release(before, &worker->position);
	}
	PG_CATCH();
	{
		not_written(worker, before, evpub_rescue(context));
		stored = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	if (!stored)
		return false;
	evpub_relaytopics_pins_durable(&worker->position, &worker->relay);
	return true;
}

/*
 * Partition counts must be durable before the first record goes out under
 * them, and the growth of a topic before what commits behind its line.  One write
 * serves all topics that the relay has reported, and it does not wait for the second
 * that lies between other writes: the records wait for it.  (A growth takes two: its
 * line is where the message of the first one ends.)  What failed is tried again no
 * sooner than other writes are.
 */
bool
evpub_persist_pins(EvpubWorker *worker)
{
	if (!worker->streaming ||
		(!evpub_pins_wanted(&worker->position) &&
		 !evpub_pins_growth_pending(&worker->position)))
		return true;
	return evpub_persist(worker, !worker->persist_problem[0]);
}

void
evpub_persist_take(EvpubWorker *worker)
{
	EvpubStream *stream = &worker->stream;

	if (!worker->streaming)
		return;
	worker->position.restart_lsn = evpub_stream_restart_lsn(stream);
	worker->position.confirmed_lsn = stream->flight.confirmed_lsn;
	worker->position.next_event = stream->flight.next_event;
	evpub_skips_prune(&worker->position);
}

/* Would it free a segment to move the slot, and is it time? */
static bool
slot_due(const EvpubWorker *worker, XLogRecPtr restart)
{
	XLogRecPtr	slot = evpub_slot_position();
	uint64		behind;
	int			most = max_wal_size_mb;

	if (slot == InvalidXLogRecPtr || restart < slot)
		return false;
	if (max_slot_wal_keep_size_mb >= 0)
		most = Min(most, max_slot_wal_keep_size_mb);
	behind = restart / wal_segment_size - slot / wal_segment_size;
	return behind > 0 &&
		(evpub_clock_passed(worker->slot_moved_at, SLOT_INTERVAL) ||
		 behind >= (uint64) most * 1024 * 1024 / wal_segment_size / SLOT_SHARE);
}

/*
 * Write when events were confirmed, at most once a second; or when a segment
 * of other WAL could be let go (a backup begins with a new segment, and must
 * find a position there).  A position message goes with each of these, so that
 * a standby, which removes WAL by segments, knows a position in what it has.
 * Our own message is WAL, too, but neither events nor a segment, so an idle
 * server stays idle.  The last one of a clean shutdown says all.
 *
 * The slot keeps what the state before this one needs (statefile.h), so it is one write
 * behind.  If no further write comes by itself, there is one for the slot alone,
 * without a message, and then it is up to date.
 *
 * Behind a write that failed there is another one in any case.  It may have nothing new
 * to say, but it shows when the file can be written again; until then the state is
 * "blocked".
 */
bool
evpub_persist(EvpubWorker *worker, bool force)
{
	EvpubStream *stream = &worker->stream;
	EvpubPosition before = worker->position;
	XLogRecPtr	restart;
	bool		moved;
	bool		let_go;

	if (!worker->streaming)
		return true;
	if (!force && !evpub_clock_passed(worker->persisted_at, PERSIST_INTERVAL))
		return true;
	restart = evpub_stream_restart_lsn(stream);
	/* an offset of the relay may come when nothing more is published */
	moved = stream->flight.events_published != stream->flight.events_persisted ||
		restart / wal_segment_size != worker->position.restart_lsn / wal_segment_size ||
		evpub_pins_growth_pending(&worker->position) || worker->persist_problem[0] ||
		worker->offsets_new;
	let_go = force || slot_due(worker, restart);
	if (!moved && !let_go)
		return true;

	worker->persisted_at = evpub_clock_now();
	evpub_persist_take(worker);
	if (!evpub_persist_store(worker, &before, let_go ? restart : InvalidXLogRecPtr,
							 force || moved))
		return false;
	stream->flight.events_persisted = stream->flight.events_published;
	worker->offsets_new = false;
	return true;
}

/* ---- when an ERROR ends the worker ---- */

/* Is what the stream has confirmed behind what the file says, or the same? */
static bool
goes_on_from(const EvpubPosition *file, const EvpubWorker *worker)
{
	const EvpubFlight *flight = &worker->stream.flight;

	if (file->role != EVPUB_ROLE_ACTIVE ||
		evpub_position_publisher(file) != evpub_position_publisher(&worker->position))
		return false;
	if (file->confirmed_lsn == flight->confirmed_lsn)
		return file->next_event <= flight->next_event;
	return file->confirmed_lsn < flight->confirmed_lsn;
}

/* Add to what the file says all that acknowledgements have changed since. */
static void
add_acknowledged(EvpubPosition *file, const EvpubWorker *worker)
{
	const EvpubPosition *position = &worker->position;
	int			t = 0;

	file->sequence++;
	file->confirmed_lsn = worker->stream.flight.confirmed_lsn;
	file->next_event = worker->stream.flight.next_event;
	for (int i = 0; i < file->ngaps; i++)
	{
		EvpubGap   *gap = &file->gaps[i];
		const EvpubGap *now = evpub_position_find_gap(position, gap->to_lsn, gap->repeat);

		if (!now)
			continue;
		gap->announced = gap->announced || now->announced;

		/* a number that the file has not given out may become another partition's */
		gap->next_number = Max(gap->next_number, Min(now->next_number, file->next_number));
	}

	/* both have their topics in the order of their numbers */
	for (int i = 0; i < file->ntopics; i++)
	{
		EvpubTopic *topic = &file->topics[i];

		while (t < position->ntopics && position->topics[t].number < topic->number)
			t++;
		if (t < position->ntopics && position->topics[t].number == topic->number &&
			position->topics[t].partitions == topic->partitions)
			topic->last = position->topics[t].last;
	}
}

/*
 * The error may have come from anywhere, and may have left a step half done.  So
 * the worker's position is not written as it is.  The file is read again, which
 * was whole when it was written, and takes over only what acknowledgements alone
 * change: the confirmed position, the last offsets, and how far gaps are announced.
 * These are right at any time.  Taking in an acknowledgement moves them from one
 * record to the next, and nothing in that can throw.  Otherwise the confirmed
 * position moves only over what has no events left that are not acknowledged, in
 * assignments with nothing between them that can throw, and never after an error.
 *
 * A step that has changed the file and not yet the stream, such as discard() or
 * a gap that opens, has written a later position, or another role; then
 * nothing is saved.  Topics and partition counts stay as the file has them: what
 * was sent was durable there before.  restart_lsn stays, since a transaction that
 * was being taken in may be in none of the stream's structures; what is confirmed
 * is passed over when WAL is read from there.  The slot does not move and no
 * position message is logged, as in a crash between file and slot.
 *
 * When this fails as well, the file is the old one, and up to a second of events
 * is published again, as after a crash.
 */
bool
evpub_persist_acknowledged(const EvpubWorker *worker)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool written = false;

	if (!worker->streaming || worker->verdict != EVPUB_PUBLISH)
		return false;
	PG_TRY();
	{
		EvpubPosition file;
		char	   *problem;

		if (evpub_statefile_read(&file, &problem) == EVPUB_STATEFILE_FOUND &&
			goes_on_from(&file, worker))
		{
			add_acknowledged(&file, worker);
			(void) evpub_statefile_advance(&file);
			written = true;
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		FlushErrorState();
	}
	PG_END_TRY();
	return written;
}
