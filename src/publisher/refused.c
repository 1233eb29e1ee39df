/*
 * refused.c
 *		The event that Kafka refuses: publishing stands still at it, or it becomes
 *		a dead letter.
 *
 * Only such an event can be given up: it was refused alone, for what it is, and
 * all events before it are acknowledged.  So nobody gives up an event that was
 * merely in one batch with the one to blame.
 *
 * That it is given up is durable before anything follows from it.  Then an
 * evpub.skipped event is published instead (sender/skipped.c).  Should that be
 * refused, too, only log and evpub.status say that the event is not published.
 *
 * With evpub.on_error = dead_letter the event becomes a dead letter by itself
 * (sender/deadletter.c).  That is durable first as well: whoever goes on after a crash,
 * or on a standby, sends the same dead letter, and not the event to a topic that
 * may take it by then.  It is a decision for as long as the settings stay: with
 * on_error = block the event is tried in its own topic again.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "position/pins.h"
#include "position/skips.h"
#include "publisher/advice.h"
#include "publisher/answer.h"
#include "publisher/persist.h"
#include "publisher/refused.h"
#include "settings.h"

void
evpub_refused_passed(EvpubWorker *worker)
{
	worker->refused_id[0] = '\0';
	worker->letter_waits = false;
}

/*
 * Change the entry of the refused event durably; false, with everything as before, if
 * not.  The change is any of skips.h.
 */
typedef enum Change
{
	GIVE_UP,
	SILENCE,
	MAKE_LETTER
} Change;

static void
change_entry(EvpubWorker *worker, Change change, const EvpubFrameFailed *failed,
			 const char *topic)
{
	EvpubPosition *position = &worker->position;
	const char *id = worker->refused_id;
	const EvpubSkip *skip = evpub_skips_find(position, id);

	switch (change)
	{
		case GIVE_UP:
			if (skip && skip->letter)
				evpub_skips_give_up(position, id);
			else
				evpub_skips_add(position, id, worker->refused_reason);
			break;
		case SILENCE:
			evpub_skips_silence(position, id);
			break;
		case MAKE_LETTER:
			evpub_skips_add_letter(position, id, worker->refused_reason, topic,
								   failed->partition, failed->code);
			break;
	}
}

static bool
store(EvpubWorker *worker, Change change, const EvpubFrameFailed *failed,
	  const char *topic)
{
	EvpubPosition before = worker->position;
	EvpubSkip  *pruned;

	evpub_persist_take(worker);
	pruned = worker->position.skips;
	change_entry(worker, change, failed, topic);

	/* a list that was made for this, and not to go back to it */
	if (pruned != before.skips && pruned != worker->position.skips)
		pfree(pruned);
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
	if (!store(worker, SILENCE, NULL, NULL))
		return;					/* it is refused again, and tried again */
	ereport(WARNING,
			(errmsg("evpub: event %s is given up, and nothing is published instead of it",
					worker->refused_id),
			 errdetail("Its evpub.skipped event is refused, too: %s",
					   worker->refused_reason)));
	evpub_refused_passed(worker);
}

/* ---- dead letters ---- */

/* The reason and its hint, with more of both. */
static const char *
with_more(const char *text, const char *before, const char *hint_after)
{
	char	   *hint;
	char	   *reason = evpub_reason_split(text, &hint);

	return psprintf("%s%s\n%s%s%s", before, reason, hint ? hint : evpub_advice(reason),
					hint_after[0] ? " " : "", hint_after);
}

const char *
evpub_refused_context(const EvpubWorker *worker, const char *text)
{
	const EvpubSkip *skip;
	const char *how;

	if (!worker->letter_waits || !text[0])
		return text;
	skip = evpub_skips_find(&worker->position, worker->refused_id);
	if (!skip || !skip->letter || !evpub_deadletter_possible(skip->topic))
		return text;
	how = psprintf("SELECT evpub.skip_event('%s');", skip->id);
	return with_more(text,
					 psprintf("an event that topic \"%.80s\" refused waits to go to dead-letter topic \"%.80s\": ",
							  skip->topic, evpub_dead_letter_topic),
					 strstr(text, how) ? "" :
					 psprintf("To give up exactly this event: %s", how));
}

/* What was in flight was the dead letter, and it was refused. */
static bool
letter_refused(EvpubWorker *worker, const EvpubFrameFailed *failed, const char **text)
{
	EvpubDeadLetter *letter = &worker->stream.batch.letter;

	if (failed->size && letter->may_shrink)
	{
		evpub_deadletter_shrink(failed->bytes);
		ereport(LOG,
				(errmsg("evpub: the dead letter of event %s is cut to be smaller than %llu bytes",
						letter->id, (unsigned long long) failed->bytes)));
		return true;
	}
	*text = evpub_refused_context(worker, *text);
	return false;
}

/* Why an event of this topic does not become a dead letter; NULL: it does. */
static const char *
why_not(const EvpubTopic *topic)
{
	if (!evpub_dead_letter_topic[0])
		return "evpub.on_error is dead_letter, but evpub.dead_letter_topic is not set: ALTER SYSTEM SET evpub.dead_letter_topic = '<topic>'; SELECT pg_reload_conf();";
	if (!topic || !evpub_deadletter_possible(topic->name))
		return "The topic is evpub.dead_letter_topic itself, so its events cannot go there instead.";
	if (topic->letters >= EVPUB_LETTERS_IN_ROW)
		return psprintf("%d events of this topic in a row became dead letters, so the topic is to blame. To have the next %d go to the dead-letter topic, too: SELECT evpub.resume();",
						EVPUB_LETTERS_IN_ROW, EVPUB_LETTERS_IN_ROW);
	return NULL;
}

/*
 * One refused event is often followed by more.  Each that goes out among others costs
 * two relays, one that goes alone costs one; so the more there were in a row, the more
 * records go one by one, up to as many as cost no more time than a relay does.
 */
#define CAREFUL_DOUBLINGS 6

/* True: the refused event is a dead letter from now on. */
static bool
make_letter(EvpubWorker *worker, const EvpubFrameFailed *failed, const char **text)
{
	EvpubTopic *topic = evpub_pins_topic_of_number(&worker->position, failed->topic);
	const char *problem;
	char	   *name;

	if (evpub_on_error != EVPUB_ON_ERROR_DEAD_LETTER)
		return false;
	problem = why_not(topic);
	if (problem)
	{
		*text = with_more(*text, "", problem);
		return false;
	}

	/* a gap that is being announced may not get another topic: see announce.h */
	name = pstrdup(topic->name);
	(void) evpub_pins_topic(&worker->position, evpub_dead_letter_topic);
	topic = evpub_pins_topic_of_number(&worker->position, failed->topic);
	topic->letters++;
	topic->changed = true;
	if (!store(worker, MAKE_LETTER, failed, name))
	{
		topic->letters--;
		return false;			/* it is refused again, and tried again */
	}
	worker->letter_waits = true;
	evpub_flight_be_careful_behind(&worker->stream.flight,
								   1 << Min(topic->letters, CAREFUL_DOUBLINGS));
	strlcpy(worker->last_error, worker->refused_reason, sizeof(worker->last_error));
	worker->last_error_at = GetCurrentTimestamp();
	worker->refused.done = EVPUB_DONE_DEAD_LETTERED;
	evpub_failures_note(worker->refused, worker->refused_reason);
	ereport(WARNING,
			(errmsg("evpub: event %s goes to dead-letter topic \"%s\"",
					worker->refused_id, evpub_dead_letter_topic),
			 errdetail("Kafka refused it: %s", worker->refused_reason)));
	return true;
}

void
evpub_refused_sent(EvpubWorker *worker)
{
	const EvpubBatch *batch = &worker->stream.batch;

	if (worker->letter_waits || !evpub_batch_letter_waits(batch))
		return;
	memcpy(worker->refused_id, batch->letter.id, sizeof(worker->refused_id));
	worker->letter_waits = true;
}

void
evpub_refused_acknowledged(EvpubWorker *worker)
{
	EvpubBatch *batch = &worker->stream.batch;
	EvpubSkip  *skip;

	if (batch->letter.seq == 0 || evpub_batch_letter_waits(batch))
		return;
	skip = evpub_skips_find(&worker->position, batch->letter.id);
	if (skip && !skip->counted)
	{
		worker->dead_lettered++;
		evpub_figures_dead_letter();
	}
	if (skip)
		skip->counted = true;

	/* a transaction may have many, so they do not stay until all of it is confirmed */
	if (batch->letter.seq > worker->stream.flight.acked_seq)
		return;
	if (skip)
		skip->passed = true;
	batch->letter.seq = 0;
}

bool
evpub_refused_resume(EvpubWorker *worker)
{
	EvpubTopic *topic = worker->refused_id[0] && !worker->letter_waits ?
		evpub_pins_topic_of_number(&worker->position, worker->refused_topic) : NULL;

	if (!topic || topic->letters < EVPUB_LETTERS_IN_ROW)
		return false;
	topic->letters = 0;
	topic->changed = true;
	return true;
}

/* ---- what the relay reports, and what a person asks ---- */

/* For evpub.failures, whatever becomes of the event. */
static void
note_what(EvpubWorker *worker, const EvpubFrameFailed *failed)
{
	const EvpubTopic *topic = evpub_pins_topic_of_number(&worker->position, failed->topic);

	worker->refused = evpub_failures_of(EVPUB_FAILED_REFUSED, EVPUB_DONE_BLOCKED);
	if (topic)
		strlcpy(worker->refused.topic, topic->name, sizeof(worker->refused.topic));
	worker->refused.partition = failed->partition;
	worker->refused.code = failed->code;
	memcpy(worker->refused.id, worker->refused_id, sizeof(worker->refused.id));
}

bool
evpub_refused_take(EvpubWorker *worker, const EvpubFrameFailed *failed,
				   const char **text)
{
	const EvpubFlight *flight = &worker->stream.flight;
	const EvpubSkip *skip;

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
	{
		/* a dead letter waits on, and can be given up */
		if (worker->letter_waits)
			*text = evpub_refused_context(worker, *text);
		else
			evpub_refused_passed(worker);
		return false;
	}
	if (evpub_batch_letter_waits(&worker->stream.batch))
		return letter_refused(worker, failed, text);

	evpub_refused_passed(worker);
	memcpy(worker->refused_id, failed->first_id, EVPUB_ID_LENGTH);
	worker->refused_id[EVPUB_ID_LENGTH] = '\0';
	worker->refused_topic = failed->topic;
	note_what(worker, failed);
	strlcpy(worker->refused_reason, evpub_reason_only(*text),
			sizeof(worker->refused_reason));
	skip = evpub_skips_find(&worker->position, worker->refused_id);
	if (!skip)
		return make_letter(worker, failed, text);
	if (skip->letter)

		/* on_error was "block" when it was sent; it may not be any more */
		return evpub_deadletter_possible(skip->topic);
	if (!skip->silent)
		silence(worker);
	return false;
}

/* What waited for the dead-letter topic may be known from the entry alone. */
static void
note_skipped(EvpubWorker *worker, const EvpubSkip *skip)
{
	EvpubFailure failure = worker->refused;

	if (strcmp(failure.id, skip->id) != 0)
	{
		failure = evpub_failures_of(EVPUB_FAILED_REFUSED, EVPUB_DONE_SKIPPED);
		memcpy(failure.id, skip->id, sizeof(failure.id));
		if (skip->topic)
		{
			strlcpy(failure.topic, skip->topic, sizeof(failure.topic));
			failure.partition = skip->partition;
			failure.code = skip->code;
		}
	}
	failure.done = EVPUB_DONE_SKIPPED;
	evpub_failures_note(failure, skip->reason);
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
	if (!store(worker, GIVE_UP, NULL, NULL))
	{
		evpub_answer_refuse(answer, ERRCODE_IO_ERROR, worker->persist_problem, NULL,
							"Try again when the state file can be written.");
		return;
	}
	worker->events_skipped++;
	note_skipped(worker, evpub_skips_find(&worker->position, id));
	ereport(WARNING,
			(errmsg("evpub: event %s was given up by request of role \"%s\"", id, role),
			 errdetail("Kafka refused it: %s",
					   evpub_skips_find(&worker->position, id)->reason)));
	evpub_state_end_relay(worker);
	evpub_state_retry_now(worker);
	evpub_refused_passed(worker);
}
