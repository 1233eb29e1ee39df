/*
 * steer.c
 *		Waiting for the publisher, and steering it.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

#include "admin/arguments.h"
#include "admin/status.h"
#include "clock.h"
#include "compat.h"
#include "publisher/label.h"
#include "publisher/registry.h"
#include "reader/walreader.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(evpub_wait_published);
PG_FUNCTION_INFO_V1(evpub_pause);
PG_FUNCTION_INFO_V1(evpub_resume);
PG_FUNCTION_INFO_V1(evpub_take_over);
PG_FUNCTION_INFO_V1(evpub_accept_gap);
PG_FUNCTION_INFO_V1(evpub_discard);
PG_FUNCTION_INFO_V1(evpub_forget_topic);
PG_FUNCTION_INFO_V1(evpub_skip_event);

/* How long to wait for the worker's answer, in ms. */
#define STEER_TIMEOUT 15000

/* Why evpub.wait_published() has waited in vain. */
static void
notice_not_published(XLogRecPtr target)
{
	EvpubStatus status;
	char	   *waits;

	evpub_status_read(&status);
	if (status.publisher_id == 0 || status.state == EVPUB_FENCED)
		waits = psprintf("This server does not publish what it commits");
	else
		waits = psprintf("Confirmed is %X/%X, with %llu events in flight",
						 LSN_FORMAT_ARGS(status.confirmed_lsn),
						 (unsigned long long) status.events_in_flight);
	ereport(NOTICE,
			(errmsg("not everything up to %X/%X is published yet",
					LSN_FORMAT_ARGS(target)),
			 errdetail("%s; the state is \"%s\"%s%s.", waits,
					   evpub_state_names[status.state],
					   status.reason[0] ? ": " : "", status.reason),
			 status.hint[0] ? errhint("%s", status.hint) : 0));
}

/*
 * Wait until everything up to an LSN is in Kafka.  Without one: all that was
 * committed before the call, asynchronous commits included, so the worker is
 * asked to flush and read up to the end of WAL.
 */
Datum
evpub_wait_published(PG_FUNCTION_ARGS)
{
	long		timeout;
	EvpubMsec	started = evpub_clock_now();
	XLogRecPtr	target;
	bool		published = false;

	evpub_require_preloaded();
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("recovery is in progress"),
				 errhint("Wait on the server that publishes.")));
	timeout = evpub_timeout_argument(fcinfo, 1);
	target = PG_ARGISNULL(0) ? evpub_walreader_insert_end() :
		evpub_walreader_before_header(PG_GETARG_LSN(0));
	evpub_wake_publisher(Min(target, evpub_walreader_insert_end()));

	ConditionVariablePrepareToSleep(&EvpubShmem->changed);
	for (;;)
	{
		EvpubStatus status;
		long		left;

		evpub_shmem_status(&status);

		/* the position of a copy says nothing of what this server committed */
		published = status.publisher_id != 0 && status.state != EVPUB_FENCED &&
			status.confirmed_lsn >= target;
		left = timeout - (evpub_clock_now() - started);
		if (published || left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&EvpubShmem->changed, Min(left, 1000),
										   evpub_wait_event("EvpubWaitPublished"));
	}
	ConditionVariableCancelSleep();

	/* who does not wait only asks */
	if (!published && timeout > 0)
		notice_not_published(target);
	PG_RETURN_BOOL(published);
}

/* ---- questions to the worker ---- */

static void
report_no_answer(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the evpub worker does not answer"),
			 errhint("Look at evpub.status and the server log, and whether it was done after all, before you ask again.")));
}

static void
sleep_for_answer(EvpubMsec started)
{
	if (evpub_clock_passed(started, STEER_TIMEOUT))
		report_no_answer();
	(void) ConditionVariableTimedSleep(&EvpubShmem->changed, 1000,
									   evpub_wait_event("EvpubSteer"));
}

/* Put the question as soon as the one before is answered; returns its number. */
static uint64
put_question(EvpubAsk what, XLogRecPtr lsn, const char *subject, EvpubMsec started)
{
	EvpubSteering *steering = &EvpubShmem->steering;
	char	   *role = GetUserNameFromId(GetSessionUserId(), false);
	uint64		number = 0;

	for (;;)
	{
		LWLockAcquire(EvpubShmem->lock, LW_EXCLUSIVE);
		if (steering->asked == steering->answered)
		{
			steering->what = what;
			steering->lsn = lsn;
			strlcpy(steering->subject, subject, sizeof(steering->subject));
			strlcpy(steering->role, role, sizeof(steering->role));
			number = ++steering->asked;
		}
		LWLockRelease(EvpubShmem->lock);
		if (number != 0)
			break;
		sleep_for_answer(started);
	}
	evpub_shmem_wake();
	return number;
}

static void
report_refusal(const EvpubAnswer *answer)
{
	ereport(ERROR,
			(errcode(answer->sqlerrcode),
			 errmsg("%s", answer->error),
			 answer->detail[0] ? errdetail("%s", answer->detail) : 0,
			 answer->hint[0] ? errhint("%s", answer->hint) : 0));
}

/* The asker gives up: cancelled, terminated, or too long without an answer. */
static void
withdraw(int code, Datum number)
{
	EvpubSteering *steering = &EvpubShmem->steering;

	(void) code;
	LWLockAcquire(EvpubShmem->lock, LW_EXCLUSIVE);
	if (steering->asked == DatumGetUInt64(number) &&
		steering->answered < steering->asked)
		steering->withdrawn = steering->asked;
	LWLockRelease(EvpubShmem->lock);
}

static void
wait_for_answer(uint64 number, EvpubMsec started, EvpubAnswer *answer)
{
	EvpubSteering *steering = &EvpubShmem->steering;
	bool		answered;

	for (;;)
	{
		LWLockAcquire(EvpubShmem->lock, LW_SHARED);
		answered = steering->answered >= number;
		*answer = steering->answers[number % EVPUB_ANSWERS];
		LWLockRelease(EvpubShmem->lock);
		if (answered)
			break;
		sleep_for_answer(started);
	}
}

/* Ask the worker, and wait until what was asked is durable.  Refusals throw. */
static void
ask_about(EvpubAsk what, XLogRecPtr lsn, const char *subject, EvpubAnswer *answer)
{
	EvpubMsec	started = evpub_clock_now();
	uint64		number;

	evpub_require_preloaded();
	PreventCommandDuringRecovery("steering the publisher");
	ConditionVariablePrepareToSleep(&EvpubShmem->changed);
	number = put_question(what, lsn, subject, started);
	PG_ENSURE_ERROR_CLEANUP(withdraw, UInt64GetDatum(number));
	{
		wait_for_answer(number, started, answer);
	}
	PG_END_ENSURE_ERROR_CLEANUP(withdraw, UInt64GetDatum(number));
	ConditionVariableCancelSleep();

	/* so many questions later that ours has been overwritten */
	if (answer->number != number)
		report_no_answer();
	if (answer->sqlerrcode != 0)
		report_refusal(answer);
}

static void
ask(EvpubAsk what, XLogRecPtr lsn, EvpubAnswer *answer)
{
	ask_about(what, lsn, "", answer);
}

Datum
evpub_pause(PG_FUNCTION_ARGS)
{
	EvpubAnswer answer;

	(void) fcinfo;
	ask(EVPUB_ASK_PAUSE, InvalidXLogRecPtr, &answer);
	ereport(LOG, (errmsg("evpub: publishing was paused by user request")));
	PG_RETURN_VOID();
}

Datum
evpub_resume(PG_FUNCTION_ARGS)
{
	EvpubAnswer answer;

	(void) fcinfo;
	ask(EVPUB_ASK_RESUME, InvalidXLogRecPtr, &answer);
	if (answer.nothing_to_do)
		ereport(NOTICE,
				(errmsg("evpub was not paused, and nothing waits for resume()"),
				 errhint("evpub.status says what hinders publishing, if anything does.")));
	ereport(LOG, (errmsg("evpub: publishing was resumed by user request")));
	PG_RETURN_VOID();
}

/*
 * Have this server publish though it may be a copy.  The worker's part is
 * durable when it answers; the labels follow with this transaction.  They are only
 * needed when slot and state file are both gone, to know whose database it was.  So
 * nothing is wrong if the transaction rolls back.
 */
Datum
evpub_take_over(PG_FUNCTION_ARGS)
{
	EvpubAnswer answer;

	(void) fcinfo;
	ask(EVPUB_ASK_TAKE_OVER, InvalidXLogRecPtr, &answer);
	evpub_label_rename(answer.publisher_id);
	PG_RETURN_VOID();
}

static void
notice_given_up(const EvpubAnswer *answer)
{
	if (answer->gave_up)
		ereport(NOTICE,
				(errmsg("evpub gives up %s", evpub_lost_text(&answer->lost))));
}

Datum
evpub_accept_gap(PG_FUNCTION_ARGS)
{
	EvpubAnswer answer;

	ask(EVPUB_ASK_ACCEPT_GAP, PG_GETARG_LSN(0), &answer);
	if (answer.publisher_id != 0)
		evpub_label_rename(answer.publisher_id);
	notice_given_up(&answer);
	PG_RETURN_VOID();
}

Datum
evpub_discard(PG_FUNCTION_ARGS)
{
	EvpubAnswer answer;

	ask(EVPUB_ASK_DISCARD, PG_GETARG_LSN(0), &answer);
	if (answer.nothing_to_do)
		ereport(NOTICE,
				(errmsg("everything up to %X/%X is published already",
						LSN_FORMAT_ARGS(PG_GETARG_LSN(0)))));
	notice_given_up(&answer);
	PG_RETURN_VOID();
}

Datum
evpub_forget_topic(PG_FUNCTION_ARGS)
{
	char	   *topic = text_to_cstring(PG_GETARG_TEXT_PP(0));
	EvpubAnswer answer;

	/* the name would be cut, and another one forgotten */
	if (strlen(topic) >= EVPUB_TOPIC_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("topic \"%s\" was never published to", topic),
				 errdetail("The name of a topic has at most %d characters.",
						   EVPUB_TOPIC_LENGTH - 1)));
	ask_about(EVPUB_ASK_FORGET_TOPIC, InvalidXLogRecPtr, topic, &answer);
	PG_RETURN_VOID();
}

/*
 * A longer one is no id of an event: what is cut of it is not the refused one.  It
 * is cut between two characters, since the worker's answer shows it.
 */
Datum
evpub_skip_event(PG_FUNCTION_ARGS)
{
	char	   *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	EvpubAnswer answer;

	id[pg_mbcliplen(id, strlen(id), EVPUB_TOPIC_LENGTH - 1)] = '\0';
	ask_about(EVPUB_ASK_SKIP_EVENT, InvalidXLogRecPtr, id, &answer);
	PG_RETURN_VOID();
}
