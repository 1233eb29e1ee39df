/*
 * refused.c
 *		The event that Kafka refuses, and that publishing stands still at.
 *
 * Only such an event can be given up: it was refused alone, for what it is, and
 * all events before it are acknowledged.  So nobody gives up an event that was
 * merely in one batch with the one to blame.
 *
 * That it is given up is durable before anything follows from it.  Then an
 * evpub.skipped event is published instead (sender/skipped.c).  Should that be
 * refused, too, only log and evpub.status say that the event is not published.
 */
#include "postgres.h"

#include "position/skips.h"
#include "publisher/answer.h"
#include "publisher/persist.h"
#include "publisher/refused.h"

void
evpub_refused_passed(EvpubWorker *worker)
{
	worker->refused_id[0] = '\0';
}

/* Change the list of skips durably; false, with everything as before, if not. */
static bool
store(EvpubWorker *worker, const char *id, const char *reason)
{
	EvpubPosition before = worker->position;

	evpub_persist_take(worker);
	if (reason)
		evpub_skips_add(&worker->position, id, reason);
	else
		evpub_skips_silence(&worker->position, id);
	return evpub_persist_store(worker, &before, InvalidXLogRecPtr, true);
}

/*
 * What was refused is the evpub.skipped event itself, and not the event that it
 * stands for: nothing of that is on its way any more, since evpub_refused_skip()
 * ends the relay.
 */
static void
silence(EvpubWorker *worker)
{
	if (!store(worker, worker->refused_id, NULL))
		return;					/* it is refused again, and tried again */
	ereport(WARNING,
			(errmsg("evpub: event %s is given up, and nothing is published instead of it",
					worker->refused_id),
			 errdetail("Its evpub.skipped event is refused, too: %s",
					   worker->refused_reason)));
	evpub_refused_passed(worker);
}

void
evpub_refused_take(EvpubWorker *worker, const EvpubFrameFailed *failed,
				   const char *text)
{
	const EvpubFlight *flight = &worker->stream.flight;
	const EvpubSkip *skip;

	evpub_refused_passed(worker);

	/*
	 * Only what was on its way alone was refused for what it is.  The relay counts
	 * the records of one partition, and another partition may have refused a whole
	 * batch at the same time; the first record of that may be innocent.  After the
	 * first refusal records go one by one, so the one to blame comes here soon.
	 */
	if (failed->kind != EVPUB_FAILURE_RECORD || failed->count != 1 ||
		failed->first_id[0] == '\0' ||
		failed->first != flight->done_seq + 1 ||
		failed->first != flight->sent_seq)
		return;
	memcpy(worker->refused_id, failed->first_id, EVPUB_ID_LENGTH);
	worker->refused_id[EVPUB_ID_LENGTH] = '\0';
	strlcpy(worker->refused_reason, evpub_reason_only(text),
			sizeof(worker->refused_reason));
	skip = evpub_skips_find(&worker->position, worker->refused_id);
	if (skip && !skip->silent)
		silence(worker);
}

void
evpub_refused_skip(EvpubWorker *worker, const char *id, const char *role,
				   EvpubAnswer *answer)
{
	if (!worker->refused_id[0] || strcmp(id, worker->refused_id) != 0)
	{
		evpub_answer_refuse(answer, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							psprintf("publishing does not stand still at event \"%s\"", id),
							worker->refused_id[0] ?
							psprintf("It stands still at event \"%s\".", worker->refused_id) :
							"No event is known that Kafka refuses alone.",
							"Only an event that Kafka refuses alone can be given up. The state_reason in evpub.status ends with its id.");
		return;
	}
	if (!store(worker, id, worker->refused_reason))
	{
		evpub_answer_refuse(answer, ERRCODE_IO_ERROR, worker->persist_problem, NULL,
							"Try again when the state file can be written.");
		return;
	}
	worker->events_skipped++;
	ereport(WARNING,
			(errmsg("evpub: event %s was given up by request of role \"%s\"", id, role),
			 errdetail("Kafka refused it: %s", worker->refused_reason)));
	evpub_state_end_relay(worker);
	evpub_state_retry_now(worker);
	evpub_refused_passed(worker);
}
