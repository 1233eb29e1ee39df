/*
 * steering.c
 *		What a person asks of the worker: pause, resume, take over, accept a
 *		gap, discard, forget a topic, skip an event.
 *
 * Only the worker changes position, state file and slot, so a backend puts a
 * question into shared memory and waits.  It is answered when what it wants is
 * durable, or refused with the reason; nothing is half done.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "position/pins.h"
#include "publisher/accept.h"
#include "publisher/answer.h"
#include "publisher/gap.h"
#include "publisher/licence.h"
#include "publisher/persist.h"
#include "publisher/refused.h"
#include "publisher/rescue.h"
#include "publisher/show.h"
#include "publisher/smalltopics.h"
#include "publisher/steering.h"
#include "sender/caps.h"

/* Refuse with the error that was just thrown. */
static void
refuse_with_error(EvpubAnswer *answer, MemoryContext context)
{
	ErrorData  *error = evpub_rescue_and_abort(context);

	evpub_answer_refuse(answer, error->sqlerrcode, error->message,
						error->detail, error->hint);
}

static void
pause_or_resume(EvpubWorker *worker, bool pause, const char *role,
				EvpubAnswer *answer)
{
	EvpubPosition before = worker->position;
	bool		letters = false;
	bool		waits = worker->position.paused || worker->hindrance == EVPUB_HINDRANCE_RESUME;

	if (worker->position.role == EVPUB_ROLE_NONE)
	{
		evpub_answer_refuse(answer, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							"there is no publisher on this server",
							evpub_reason_only(worker->verdict_reason), NULL);
		return;
	}
	evpub_persist_take(worker);
	worker->position.paused = pause;
	strlcpy(worker->position.paused_by, role, sizeof(worker->position.paused_by));
	worker->position.paused_at = GetCurrentTimestamp();
	if (!pause)
		letters = evpub_refused_resume(worker);
	if (!evpub_persist_store(worker, &before, worker->position.restart_lsn,
							 worker->verdict == EVPUB_PUBLISH))
	{
		evpub_answer_refuse(answer, ERRCODE_IO_ERROR, worker->persist_problem, NULL,
							"Try again when the state file can be written.");
		return;
	}
	answer->nothing_to_do = !pause && !waits && !letters;
	if (letters)
		evpub_state_retry_now(worker);
	if (!pause)
		evpub_caps_lift(&worker->relay, &worker->position, NULL);
	if (!pause && worker->hindrance == EVPUB_HINDRANCE_RESUME)
	{
		/* if this cannot be written now, the next write has it */
		before = worker->position;
		if (evpub_pins_accept_remade(&worker->position))
			(void) evpub_persist_store(worker, &before, InvalidXLogRecPtr, true);
		evpub_state_retry_now(worker);
	}
}

/* Only a server that publishes has topics and events; else the answer refuses. */
static bool
publishes(const EvpubWorker *worker, EvpubAnswer *answer)
{
	if (worker->verdict == EVPUB_PUBLISH)
		return true;
	evpub_answer_refuse(answer, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						"this server does not publish",
						psprintf("State is \"%s\".", evpub_state_name(worker)),
						"End that state first; evpub.status says how.");
	return false;
}

/*
 * A topic is retired: gaps are not announced in it any more, and publishing does
 * not stop when it is deleted.  Events for it that are on their way, or come later,
 * find it as one that was never published to.  What is in flight may hold its number,
 * so the relay ends, and sends anew what is not acknowledged.
 */
static void
forget_topic(EvpubWorker *worker, const char *topic, const char *role,
			 EvpubAnswer *answer)
{
	EvpubPosition before = worker->position;

	evpub_persist_take(worker);
	if (!evpub_pins_forget_topic(&worker->position, topic))
	{
		worker->position = before;
		evpub_answer_refuse(answer, ERRCODE_UNDEFINED_OBJECT,
							psprintf("topic \"%s\" was never published to", topic), NULL,
							"View evpub.topics shows the topics that were.");
		return;
	}

	/* a message of changes says nothing of what is not there any more */
	worker->full_wanted = true;
	if (!evpub_persist_store(worker, &before, InvalidXLogRecPtr, true))
	{
		evpub_answer_refuse(answer, ERRCODE_IO_ERROR, worker->persist_problem, NULL,
							"Try again when the state file can be written.");
		return;
	}
	ereport(LOG,
			(errmsg("evpub: topic \"%s\" was forgotten by request of role \"%s\"",
					topic, role)));
	evpub_state_end_relay(worker);
	evpub_caps_lift(&worker->relay, &worker->position, topic);
	evpub_smalltopics_changed();
	evpub_state_retry_now(worker);
}

static void
take_over(EvpubWorker *worker, EvpubAnswer *answer)
{
	if (worker->verdict != EVPUB_STAND_FENCED)
	{
		evpub_answer_refuse(answer, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							"this server is not fenced",
							psprintf("State is \"%s\".", evpub_state_name(worker)),
							NULL);
		return;
	}
	evpub_licence_take_over(&worker->position);
	answer->publisher_id = evpub_position_publisher(&worker->position);
	ereport(LOG,
			(errmsg("evpub: publishing was taken over by user request, as publisher %016llx, from %X/%X",
					(unsigned long long) answer->publisher_id,
					LSN_FORMAT_ARGS(worker->position.confirmed_lsn))));
	evpub_state_set_verdict(worker, EVPUB_PUBLISH, NULL);
}

static void
decide(EvpubWorker *worker, EvpubAsk what, XLogRecPtr lsn, const char *subject,
	   const char *role, EvpubAnswer *answer)
{
	switch (what)
	{
		case EVPUB_ASK_PAUSE:
		case EVPUB_ASK_RESUME:
			pause_or_resume(worker, what == EVPUB_ASK_PAUSE, role, answer);
			break;
		case EVPUB_ASK_TAKE_OVER:
			take_over(worker, answer);
			break;
		case EVPUB_ASK_ACCEPT_GAP:
			evpub_accept_open_gap(worker, lsn, answer);
			break;
		case EVPUB_ASK_DISCARD:
			evpub_accept_discard(worker, lsn, answer);
			break;
		case EVPUB_ASK_FORGET_TOPIC:
			if (publishes(worker, answer))
				forget_topic(worker, subject, role, answer);
			break;
		case EVPUB_ASK_SKIP_EVENT:
			if (publishes(worker, answer))
				evpub_refused_skip(worker, subject, role, answer);
			break;
	}
}

/*
 * Whoever decides looks at evpub.status next.  If WAL of before is missing, as
 * it mostly is after take_over(), that must stand there already: so the first
 * of it is read before the answer.
 */
static void
look_ahead(EvpubWorker *worker)
{
	if (worker->verdict != EVPUB_PUBLISH || worker->stream.queue.caught_up)
		return;
	(void) evpub_stream_read(&worker->stream);

	/*
	 * WAL that is not there is looked for twice, since a moment later it may
	 * be.  The second look comes at once here: "streaming" would be wrong.
	 */
	if (worker->stream.queue.missed)
	{
		worker->stream.queue.read_again_at = 1;
		(void) evpub_stream_read(&worker->stream);
	}
	if (evpub_stream_at_break(&worker->stream))
		evpub_gap_unreadable(worker);
}

/*
 * What was decided stands, whatever becomes of this.  An error may leave a record
 * behind that the reader has passed, and the assembler has not taken in; so
 * everything that is not confirmed is read again, as after any error of publishing.
 */
static void
try_to_look_ahead(EvpubWorker *worker, MemoryContext caller)
{
	PG_TRY();
	{
		look_ahead(worker);
	}
	PG_CATCH();
	{
		ErrorData  *error = evpub_rescue_and_abort(caller);

		if (worker->relay.socket != PGINVALID_SOCKET)
			evpub_state_end_relay(worker);
		else
			evpub_stream_rewind(&worker->stream);
		evpub_state_hinder(worker, EVPUB_HINDRANCE_RETRY, evpub_reason_of_error(error));
	}
	PG_END_TRY();
}

static bool
question_open(void)
{
	bool		open;

	LWLockAcquire(EvpubShmem->lock, LW_SHARED);
	open = EvpubShmem->steering.asked != EvpubShmem->steering.answered;
	LWLockRelease(EvpubShmem->lock);
	return open;
}

void
evpub_steering_serve(EvpubWorker *worker)
{
	EvpubSteering *steering = &EvpubShmem->steering;
	MemoryContext caller = CurrentMemoryContext;
	EvpubAnswer answer;
	EvpubAsk	what;
	XLogRecPtr	lsn;
	char		subject[EVPUB_TOPIC_LENGTH];
	char		role[NAMEDATALEN];
	bool		open;

	if (!question_open())
		return;
	LWLockAcquire(EvpubShmem->lock, LW_EXCLUSIVE);
	open = steering->withdrawn != steering->asked;
	if (!open)
		steering->answered = steering->asked;
	memset(&answer, 0, sizeof(answer));
	answer.number = steering->asked;
	what = steering->what;
	lsn = steering->lsn;
	strlcpy(subject, steering->subject, sizeof(subject));
	strlcpy(role, steering->role, sizeof(role));
	LWLockRelease(EvpubShmem->lock);
	if (!open)
	{
		ConditionVariableBroadcast(&EvpubShmem->changed);
		return;
	}

	PG_TRY();
	{
		decide(worker, what, lsn, subject, role, &answer);
	}
	PG_CATCH();
	{
		/*
		 * The file has what was decided, but the stream could not be set up for
		 * it: a new worker does that, and answers.
		 */
		if (worker->position.role == EVPUB_ROLE_ACTIVE && !worker->streaming &&
			worker->verdict != EVPUB_STAND_FENCED)
			PG_RE_THROW();
		refuse_with_error(&answer, caller);
	}
	PG_END_TRY();
	try_to_look_ahead(worker, caller);

	/* the status that the asker looks at next must be the new one */
	evpub_show_current(worker);
	LWLockAcquire(EvpubShmem->lock, LW_EXCLUSIVE);
	steering->answers[answer.number % EVPUB_ANSWERS] = answer;
	steering->answered = answer.number;
	LWLockRelease(EvpubShmem->lock);
	ConditionVariableBroadcast(&EvpubShmem->changed);
}
