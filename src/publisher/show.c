/*
 * show.c
 *		The worker's status in shared memory, for everybody.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "publisher/advice.h"
#include "publisher/catchup.h"
#include "publisher/show.h"
#include "publisher/slot.h"
#include "publisher/smalltopics.h"

/* What has been published, by the workers before this one, too. */
static void
fill_published(const EvpubWorker *worker, EvpubStatus *status)
{
	const EvpubFlight *flight = &worker->stream.flight;

	status->confirmed_lsn = flight->confirmed_lsn;
	status->next_event = flight->next_event;
	status->events_published = worker->before.events_published +
		flight->events_published;
	status->transactions_published = worker->before.transactions_published +
		flight->transactions_published;
	status->duplicates_dropped = worker->before.duplicates_dropped +
		flight->duplicates_dropped;
}

void
evpub_show_published(const EvpubWorker *worker)
{
	SpinLockAcquire(&EvpubShmem->mutex);
	fill_published(worker, &EvpubShmem->status);
	SpinLockRelease(&EvpubShmem->mutex);
}

static void
fill_stream_status(EvpubWorker *worker, EvpubStatus *status)
{
	EvpubStream *stream = &worker->stream;

	fill_published(worker, status);
	status->read_lsn = stream->queue.reading ?
		stream->queue.reader->position : worker->position.restart_lsn;
	status->oldest_unconfirmed = evpub_stream_oldest(stream);
	status->events_in_flight = stream->flight.sent_seq - stream->flight.done_seq;
	status->forged_dropped = worker->before.forged_dropped + evpub_queue_forged(&stream->queue);
}

static void
fill_status(EvpubWorker *worker, EvpubStatus *status)
{
	status->publisher_id = evpub_position_publisher(&worker->position);
	status->timeline = worker->position.timeline;
	status->slot_lsn = evpub_slot_position();
	status->relay_pid = worker->relay.pid;
	status->events_skipped = worker->before.events_skipped + worker->events_skipped;
	status->dead_lettered = worker->before.dead_lettered + worker->dead_lettered;
	status->relay_restarts = worker->before.relay_restarts + worker->relay_restarts;
	strlcpy(status->last_error, worker->last_error, sizeof(status->last_error));
	status->last_error_at = worker->last_error_at;
	strlcpy(status->librdkafka_version, worker->librdkafka_version,
			sizeof(status->librdkafka_version));
	status->paused = worker->position.paused;
	status->nholders = worker->holders.count;
	memcpy(status->holders, worker->holders.oldest, sizeof(status->holders));
	evpub_smalltopics_report(&worker->position, status->small_topics,
					 sizeof(status->small_topics));

	/* where a reader may start: what is durable */
	status->restart_lsn = worker->position.restart_lsn;
	if (worker->streaming)
	{
		fill_stream_status(worker, status);
		return;
	}
	status->confirmed_lsn = worker->position.confirmed_lsn;
	status->next_event = worker->position.next_event;
	status->read_lsn = InvalidXLogRecPtr;
	status->oldest_unconfirmed = 0;
	status->events_in_flight = 0;
}

void
evpub_show(EvpubWorker *worker, EvpubState state, const char *reason)
{
	EvpubStatus status;
	EvpubStatus old;
	char	   *hint;

	reason = evpub_reason_split(reason ? reason : "", &hint);
	evpub_shmem_status(&old);
	if (!hint && state == EVPUB_BLOCKED)
		hint = pstrdup(evpub_advice(reason));
	status = old;
	status.state = state;
	status.failed = false;
	strlcpy(status.reason, reason, sizeof(status.reason));
	strlcpy(status.hint, hint ? hint : "", sizeof(status.hint));
	fill_status(worker, &status);
	if (old.state != state || old.since == 0)
	{
		status.since = GetCurrentTimestamp();
		ereport(state == EVPUB_BLOCKED || state == EVPUB_GAP || state == EVPUB_FENCED ?
				WARNING : LOG,
				(errmsg("evpub is %s%s%s", evpub_state_names[state],
						reason[0] ? ": " : "", reason),
				 hint ? errhint("%s", hint) : 0));
	}

	SpinLockAcquire(&EvpubShmem->mutex);
	EvpubShmem->status = status;
	SpinLockRelease(&EvpubShmem->mutex);
	if (old.state != state || old.confirmed_lsn != status.confirmed_lsn ||
		old.paused != status.paused)
		ConditionVariableBroadcast(&EvpubShmem->changed);
}

void
evpub_show_current(EvpubWorker *worker)
{
	const char *reason;
	EvpubState	state;

	if (worker->streaming && worker->stream.queue.reading)
		evpub_holders_look(&worker->holders, worker->stream.queue.assembler,
						   worker->stream.queue.reader->position);
	else
		evpub_holders_look(&worker->holders, NULL, InvalidXLogRecPtr);
	state = evpub_state_current(worker, &reason);
	evpub_show(worker, state, reason);
	evpub_catchup_look(worker);
}
