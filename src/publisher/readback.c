/*
 * readback.c
 *		The worker's part of read-back: what its relay has found in Kafka.
 *
 * The relay reads and drops; what it finds is judged here (sender/tails.c), since
 * only the worker knows its lineage and its WAL.  What cannot be ours fences this
 * server: that is written to the state file first, so a restart does not begin to
 * publish again.  A person decides then, by evpub.take_over().
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "position/pins.h"
#include "publisher/licence.h"
#include "publisher/persist.h"
#include "publisher/readback.h"
#include "reader/walend.h"
#include "sender/relaytopics.h"
#include "settings.h"

void
evpub_readback_begin(EvpubWorker *worker)
{
	const EvpubPosition *position = &worker->position;
	EvpubFrameOrigin origin;
	StringInfoData data;
	char		root[EVPUB_FRAME_ROOT_LENGTH + 1];

	worker->relay.reads_back = evpub_delivery == EVPUB_DEDUPLICATED;
	worker->position.delivery = worker->relay.reads_back ?
		EVPUB_DELIVERY_DEDUPLICATED : EVPUB_DELIVERY_AT_LEAST_ONCE;
	if (!worker->relay.reads_back)
		return;
	snprintf(root, sizeof(root), "%08x",
			 (uint32) (evpub_position_publisher(position) >> 32));
	memset(&origin, 0, sizeof(origin));
	memcpy(origin.root, root, EVPUB_FRAME_ROOT_LENGTH);
	origin.count = Max(position->nlineage - 1, 0);
	initStringInfo(&data);
	appendBinaryStringInfo(&data, (char *) &origin, sizeof(origin));
	for (int i = 0; i + 1 < position->nlineage; i++)
	{
		EvpubFrameEntry entry;

		entry.publisher_id = position->lineage[i].publisher_id;
		entry.left_lsn = evpub_position_left(position, i);
		appendBinaryStringInfo(&data, (char *) &entry, sizeof(entry));
	}
	evpub_relay_put(&worker->relay, EVPUB_FRAME_ORIGIN, data.data, data.len);
	pfree(data.data);

	/*
	 * Not only what is to be written is read: so a server that another one has
	 * replaced finds that out at its start, and not when it has published.
	 */
	evpub_relaytopics_announce_known(&worker->position, &worker->relay);
}

/*
 * Another server publishes under our root, or did.  Nothing of what was dropped for
 * it is confirmed, so whoever takes over publishes all of that.
 */
static void
fence(EvpubWorker *worker, const char *why)
{
	EvpubPosition before = worker->position;

	evpub_state_end_relay(worker);
	evpub_persist_take(worker);
	worker->position.role = EVPUB_ROLE_FENCED;
	worker->position.fenced_reason = MemoryContextStrdup(TopMemoryContext, why);
	if (!evpub_persist_store(worker, &before, InvalidXLogRecPtr, false))
	{
		/* a new relay finds the same */
		evpub_state_hinder(worker, EVPUB_HINDRANCE_RETRY, worker->persist_problem);
		return;
	}
	evpub_state_end_streaming(worker);
	evpub_state_set_verdict(worker, EVPUB_STAND_FENCED,
							psprintf("%s\n%s", why, EVPUB_FENCED_BY_RECORD_HINT));
}

static void
put_no_tail(EvpubWorker *worker, uint32 topic, int32 partition)
{
	EvpubFrameFound none;

	memset(&none, 0, sizeof(none));
	none.topic = topic;
	none.partition = partition;
	evpub_relay_put(&worker->relay, EVPUB_FRAME_TAIL, &none, sizeof(none));
}

/*
 * The partition was read, and there is nothing in it that is still to be met: the
 * next relay need not read that again.  The offset may be ahead of what the
 * file says is confirmed, but never is in the file: both are written at the same time.
 *
 * Not so if there is something that the next relay has to find, and that the newest id
 * would not tell it.  What is dropped by its exact id may be still to come for that one,
 * too.  And a partition that was read again has in front of this place the record for
 * whose sake it was: that is not confirmed, and the worker has its id only when the relay
 * reports its offset.
 */
static void
note_read(EvpubWorker *worker, const EvpubTail *read, const EvpubId *newest)
{
	EvpubTopic *topic = evpub_pins_topic_of_number(&worker->position, read->topic);
	EvpubLast  *last;

	if (!topic || read->partition >= topic->partitions)
		return;
	last = &topic->last[read->partition];
	if (newest)
	{
		last->id = *newest;
		topic->changed = true;
	}
	if (read->exact || read->again || read->end - 1 <= last->offset)
		return;
	last->offset = read->end - 1;
	topic->changed = true;
}

static bool
take_found(EvpubWorker *worker, const EvpubFrame *frame)
{
	EvpubStream *stream = &worker->stream;
	EvpubFound	found;
	EvpubJudgement judgement;
	EvpubTail	tail;

	if (frame->length < sizeof(found.frame))
		return false;
	memset(&found, 0, sizeof(found));
	memcpy(&found.frame, frame->data, sizeof(found.frame));
	found.ids = frame->data + sizeof(found.frame);
	found.position = &worker->position;
	found.topic = evpub_pins_topic_of_number(&worker->position, found.frame.topic);
	if (!found.topic || found.frame.partition < 0 ||
		found.frame.partition >= found.topic->partitions || found.frame.end < 0 ||
		found.frame.end > EVPUB_FRAME_OFFSET_MAX ||
		(frame->length - sizeof(found.frame)) / sizeof(EvpubFrameFoundId) != found.frame.count ||
		(frame->length - sizeof(found.frame)) % sizeof(EvpubFrameFoundId) != 0)
		return false;

	found.dead_letters = strcmp(found.topic->name, evpub_dead_letter_topic) == 0;
	ereport(DEBUG1,
			(errmsg_internal("evpub: partition %d of topic \"%s\" was read %s up to offset " INT64_FORMAT,
							 found.frame.partition, found.topic->name,
							 found.frame.again ? "again" : "back", found.frame.end)));

	/*
	 * The WAL up to which the predecessor has published was flushed when it did,
	 * so what is flushed now has all of it.
	 */
	found.flushed = evpub_walreader_end(NULL);
	found.confirmed_lsn = stream->flight.confirmed_lsn;
	evpub_tails_judge(&found, &judgement);
	if (judgement.malformed)
		return false;
	if (judgement.fenced)
	{
		fence(worker, judgement.fenced);
		return true;
	}
	memset(&tail, 0, sizeof(tail));
	tail.topic = found.frame.topic;
	tail.partition = found.frame.partition;
	tail.id = judgement.tail;
	tail.end = found.frame.end;
	tail.exact = judgement.exact;
	tail.again = found.frame.again != 0;

	/* nothing of the partition was sent yet, so nothing is dropped before this */
	if (judgement.replaced != 0)
		evpub_position_add_replaced(&worker->position, judgement.replaced);
	if (evpub_id_known(&tail.id) && !judgement.acknowledged)
		evpub_tails_add(&stream->tails, &tail);
	else
		note_read(worker, &tail, NULL);
	evpub_relay_put(&worker->relay, EVPUB_FRAME_TAIL, judgement.answer.data,
					judgement.answer.len);
	return true;
}

/* The tail is there, and the stream has come to it: all that was dropped is ours. */
static void
take_met(EvpubWorker *worker, EvpubTail *tail)
{
	note_read(worker, tail, &tail->id);
	evpub_tails_remove(&worker->stream.tails, tail);
}

/* The stream has passed the tail, and the tail was not there. */
static void
take_passed(EvpubWorker *worker, EvpubTail *tail)
{
	EvpubTopic *topic;
	char		id[EVPUB_ID_LENGTH + 1];

	if (evpub_tails_explained(&worker->stream.tails, tail, &worker->position))
	{
		put_no_tail(worker, tail->topic, tail->partition);
		take_met(worker, tail);
		return;
	}
	topic = evpub_pins_topic_of_number(&worker->position, tail->topic);
	evpub_id_text(&tail->id, id);
	fence(worker,
		  psprintf("partition %d of topic \"%s\" has event %s, which this server never committed: another server publishes under the same id",
				   tail->partition, topic ? topic->name : "?", id));
}

bool
evpub_readback_take(EvpubWorker *worker, const EvpubFrame *frame)
{
	EvpubFramePartition which;
	EvpubTail  *tail;

	if (!worker->relay.reads_back)
		return false;
	if (frame->type == EVPUB_FRAME_FOUND)
		return take_found(worker, frame);
	if (frame->length != sizeof(which))
		return false;
	memcpy(&which, frame->data, sizeof(which));
	tail = evpub_tails_find(&worker->stream.tails, which.topic, which.partition);
	if (frame->type == EVPUB_FRAME_MET)
	{
		if (tail)
			take_met(worker, tail);
	}
	else if (tail)
		take_passed(worker, tail);
	else
		/*
		 * It needed not be met, as it was acknowledged to us; or it was explained a
		 * moment ago, and the relay does not know yet.
		 */
		put_no_tail(worker, which.topic, which.partition);
	return true;
}

void
evpub_readback_look(EvpubWorker *worker)
{
	EvpubTail  *tail;

	while (worker->verdict == EVPUB_PUBLISH &&
		   worker->relay.socket != PGINVALID_SOCKET &&
		   (tail = evpub_tails_passed(&worker->stream.tails,
									  evpub_stream_put_lsn(&worker->stream))) != NULL)
		take_passed(worker, tail);
}
