/*
 * state.c
 *		The worker's state: what may be together in it, what changes verdict and
 *		hindrance, and what evpub.status says of it.
 *
 * The verdict (verdict.h) says what the worker does, and the role (position.h)
 * what the state file says of this server.  The hindrance says why no relay runs.
 * A relay that starts ends it (supervise.c), but its text stays, and with it the
 * state "blocked", until an acknowledgement or a broker's answer shows that the
 * relay works.  The retirement says how far the worker is on its way to drop the
 * slot (registrar.c).  The state is the one name of all this for people.
 *
 * Pairs that are legal between two steps of the worker's loop; a function that
 * goes from one row to another may be in between, but never returns there:
 *
 *	verdict		 role						state
 *	-----------	 ------------------------	-------------------------------------
 *	NOTHING		 NONE						unconfigured
 *	PUBLISH		 ACTIVE						paused, unconfigured (no brokers set),
 *											blocked, starting, streaming: the
 *											first of these that applies
 *	STAND_FENCED FENCED						fenced
 *				 CREATING, ACTIVE, GAP,		fenced: the file is another server's,
 *				 FOLLOWING					and stays as it was found
 *	STAND_GAP	 GAP						gap: position.gap says which
 *				 NONE						gap: the state file is lost
 *				 any						gap: a slot that is not ours has our
 *											name, until it is dropped and the
 *											worker starts anew
 *
 * RETIRED is in the file only while the slot is dropped, and CREATING only while
 * it is made; a worker that finds one of them finishes that first (licence.c).
 * Before there is a verdict, the state is "standby" while the server is in
 * recovery (worker.c).
 *
 *	verdict		 stream		relay	hindrance				retirement
 *	-----------	 --------	------	----------------------	------------------
 *	PUBLISH		 is set up	runs	NONE					any
 *				 is set up	none	NONE, RETRY, RESUME		any
 *	STAND_GAP	 none		none	left over: no meaning	any; the slot stays until
 *															a limit is reached
 *	STAND_FENCED none		none	left over: no meaning	any
 *	NOTHING		 none		none	left over: no meaning	NOT
 *
 * "paused" is in the position: it is durable, and only what a person asks for
 * changes it.  A relay that runs may be "leaving", for at most a second or so: the
 * settings have changed, no brokers are set any more, or the worker ends, which
 * then is "shutting_down" and starts no other relay.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "publisher/advice.h"
#include "publisher/licence.h"
#include "publisher/state.h"
#include "reason.h"
#include "sender/relaytopics.h"
#include "settings.h"

/* Pauses before a new relay, in ms: doubled with each failure in a row. */
#define RETRY_FIRST 100
#define RETRY_LONGEST 10000

/* A relay that is silent for so long, in ms, hinders publishing. */
#define SILENCE_NOTED 5000

/* Say that a commit waits for visibility after so long, in ms. */
#define HEAD_PATIENCE 1000

/* An error that stays the same is logged so often, in ms. */
#define LOG_INTERVAL (60 * 1000)

/* ---- what changes the state ---- */

/* See the table above; builds with assertions look. */
pg_attribute_unused()
static bool
is_legal(EvpubVerdict verdict, EvpubRole role)
{
	switch (verdict)
	{
		case EVPUB_NOTHING:
			return role == EVPUB_ROLE_NONE;
		case EVPUB_PUBLISH:
			return role == EVPUB_ROLE_ACTIVE;
		case EVPUB_STAND_FENCED:
			return role != EVPUB_ROLE_NONE && role != EVPUB_ROLE_RETIRED;
		case EVPUB_STAND_GAP:
			return role != EVPUB_ROLE_RETIRED;
	}
	return false;
}

void
evpub_state_set_verdict(EvpubWorker *worker, EvpubVerdict verdict, const char *reason)
{
	char	   *old_reason = worker->verdict_reason;

	Assert(is_legal(verdict, worker->position.role));

	/* first what may fail */
	if (verdict == EVPUB_PUBLISH && !worker->streaming)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		evpub_stream_init(&worker->stream, &worker->position);
		MemoryContextSwitchTo(old);
		worker->streaming = true;
		worker->full_wanted = true;
	}
	if (verdict == EVPUB_STAND_GAP && worker->verdict != EVPUB_STAND_GAP)
		evpub_figures_gap(worker->position.role == EVPUB_ROLE_GAP ?
						  worker->position.gap.from_lsn : InvalidXLogRecPtr);
	else if (verdict != EVPUB_STAND_GAP)

		/* it may have been a worker before this one that stood there */
		evpub_figures_no_gap();
	worker->verdict_reason = reason ? MemoryContextStrdup(TopMemoryContext, reason) : NULL;
	if (old_reason)
		pfree(old_reason);
	worker->verdict = verdict;
	worker->verdict_at = evpub_clock_now();
	if (worker->verdict_reason &&
		(verdict == EVPUB_STAND_GAP || verdict == EVPUB_STAND_FENCED))
		evpub_failures_note(evpub_failures_of(verdict == EVPUB_STAND_GAP ?
											  EVPUB_FAILED_GAP : EVPUB_FAILED_FENCED,
											  EVPUB_DONE_BLOCKED),
							worker->verdict_reason);
}

/* The relay, and what is known of it. */
static void
stop_relay(EvpubWorker *worker)
{
	evpub_relay_stop(&worker->relay);
	worker->hello = false;
	worker->answered = false;
	worker->trouble[0] = '\0';
	evpub_relaytopics_forget(&worker->position);
}

void
evpub_state_end_streaming(EvpubWorker *worker)
{
	if (worker->relay.socket != PGINVALID_SOCKET)
		stop_relay(worker);
	if (!worker->streaming)
		return;
	worker->streaming = false;

	/* the event may be given up by a gap, or be another's now: see refused.h */
	worker->refused_id[0] = '\0';
	worker->letter_waits = false;
	worker->before.events_published += worker->stream.flight.events_published;
	worker->before.transactions_published += worker->stream.flight.transactions_published;
	worker->before.duplicates_dropped += worker->stream.flight.duplicates_dropped;
	worker->before.forged_dropped += evpub_queue_forged(&worker->stream.queue);
	evpub_queue_close(&worker->stream.queue);
	MemoryContextDelete(worker->stream.context);
	memset(&worker->stream, 0, sizeof(worker->stream));
}

void
evpub_state_error_by(EvpubWorker *worker, EvpubFailure failure, const char *text)
{
	char	   *hint;
	char	   *reason = evpub_reason_split(text, &hint);

	/* an outage repeats the same error every few seconds: log it once a minute */
	if (strncmp(worker->last_error, reason, sizeof(worker->last_error) - 1) != 0 ||
		evpub_clock_passed(worker->error_logged_at, LOG_INTERVAL))
	{
		worker->error_logged_at = evpub_clock_now();
		ereport(WARNING,
				(errmsg("evpub: %s", reason),
				 errhint("%s", hint ? hint : evpub_advice(reason))));
	}
	strlcpy(worker->last_error, reason, sizeof(worker->last_error));
	worker->last_error_at = GetCurrentTimestamp();
	evpub_failures_note(failure, text);
}

void
evpub_state_error(EvpubWorker *worker, const char *text)
{
	evpub_state_error_by(worker,
						 evpub_failures_of(EVPUB_FAILED_SERVER, EVPUB_DONE_RETRIED), text);
}

void
evpub_state_hinder(EvpubWorker *worker, EvpubHindrance hindrance, const char *text)
{
	evpub_state_hinder_by(worker, hindrance,
						  evpub_failures_of(EVPUB_FAILED_SERVER, EVPUB_DONE_RETRIED), text);
}

void
evpub_state_hinder_by(EvpubWorker *worker, EvpubHindrance hindrance,
					  EvpubFailure failure, const char *text)
{
	int			pause = RETRY_FIRST << Min(worker->failures, 10);

	worker->failures++;
	worker->hindrance = hindrance;
	worker->retry_at = evpub_clock_now() + Min(pause, RETRY_LONGEST);
	strlcpy(worker->hindrance_text, text, sizeof(worker->hindrance_text));
	evpub_state_error_by(worker, failure, text);
}

void
evpub_state_end_relay(EvpubWorker *worker)
{
	if (worker->relay.socket == PGINVALID_SOCKET)
		return;
	stop_relay(worker);
	if (worker->streaming && !worker->shutting_down)
		evpub_stream_rewind(&worker->stream);
}

void
evpub_state_retry_now(EvpubWorker *worker)
{
	worker->failures = 0;
	worker->hindrance = EVPUB_HINDRANCE_NONE;
	worker->hindrance_text[0] = '\0';
	worker->retry_at = 0;
}

/* ---- what it is called ---- */

bool
evpub_state_relay_silent(const EvpubWorker *worker)
{
	return worker->relay.silent >= SILENCE_NOTED;
}

/* The reason for a gap, with what to do when nobody is registered. */
static const char *
gap_reason(const EvpubWorker *worker)
{
	if (worker->retirement == EVPUB_RETIRE_NOT)
		return worker->verdict_reason;
	return psprintf("%s; no database is registered any more: CREATE EXTENSION evpub in any, then accept the gap",
					evpub_reason_only(worker->verdict_reason));
}

/* WAL that is put back ends a gap only if the gap came about for want of it. */
static const char *
gap_hint(const EvpubWorker *worker)
{
	if (worker->position.role == EVPUB_ROLE_NONE)
		return "The call that the reason names gives up nothing more. It publishes again what is kept, so some events come twice, under other ids.";
	if (worker->position.gap.given_up)
		return "A limit gave this up, so WAL that is put back does not end the gap. Read what is lost; the call that the reason names accepts that.";
	return "Put the WAL back if there is a copy of it; else the call that the reason names gives up what is in the gap.";
}

/* A reason that may bring a hint, with this one if it does not. */
static const char *
with_hint(const char *reason, const char *hint)
{
	if (reason && strchr(reason, '\n'))
		return reason;
	return psprintf("%s\n%s", reason ? reason : "", hint);
}

/* Who paused, and what else there is to say. */
static const char *
paused_reason(const EvpubWorker *worker, const char *more)
{
	const char *by = psprintf("by role \"%s\" at %s", worker->position.paused_by,
							  timestamptz_to_str(worker->position.paused_at));
	char	   *hint;

	if (!worker->stream.queue.caught_up && !worker->stream.queue.broken)
		return psprintf("%s; WAL since then is being read\nSELECT evpub.resume();", by);
	if (!more)
		return psprintf("%s\nSELECT evpub.resume();", by);
	more = evpub_reason_split(more, &hint);
	return psprintf("%s; %s\nSELECT evpub.resume();%s%s", by, more,
					hint ? " " : "", hint ? hint : "");
}

EvpubState
evpub_state_current(const EvpubWorker *worker, const char **reason)
{
	*reason = worker->verdict_reason;
	switch (worker->verdict)
	{
		case EVPUB_NOTHING:
			*reason = with_hint(*reason, EVPUB_NOBODY_HINT);
			return EVPUB_UNCONFIGURED;
		case EVPUB_STAND_FENCED:
			*reason = with_hint(*reason, EVPUB_FENCED_HINT_FOR(&worker->position));
			return EVPUB_FENCED;
		case EVPUB_STAND_GAP:
			*reason = with_hint(gap_reason(worker), gap_hint(worker));
			return EVPUB_GAP;
		case EVPUB_PUBLISH:
			break;
	}
	*reason = worker->persist_problem[0] ? worker->persist_problem :
		evpub_holders_reason(&worker->holders, worker->position.restart_lsn);
	if (worker->position.paused)
	{
		*reason = paused_reason(worker, *reason);
		return EVPUB_PAUSED;
	}
	if (!evpub_bootstrap_servers[0])
	{
		*reason = psprintf("evpub.bootstrap_servers is not set%s%s\nALTER SYSTEM SET evpub.bootstrap_servers = '<host>:9092'; SELECT pg_reload_conf();",
						   worker->persist_problem[0] ? "; " : "",
						   evpub_reason_only(worker->persist_problem));
		return EVPUB_UNCONFIGURED;
	}

	/* while it cannot be written, no limit can give the backlog up */
	if (worker->persist_problem[0])
		return EVPUB_BLOCKED;
	if (evpub_state_relay_silent(worker))
	{
		*reason = "the relay does not answer; if it goes on so, it is ended and a new one is started\nIf it was not stopped by hand, look whether this machine has enough memory and processor time.";
		return EVPUB_BLOCKED;
	}
	if (worker->hindrance_text[0] || worker->trouble[0])
	{
		*reason = worker->trouble[0] ? worker->trouble : worker->hindrance_text;
		return EVPUB_BLOCKED;
	}
	if (worker->stream.queue.unread)
	{
		*reason = worker->stream.queue.unread;
		return EVPUB_BLOCKED;
	}
	if (worker->stream.batch.waiting_xid != InvalidTransactionId &&
		evpub_clock_passed(worker->stream.batch.waiting_since, HEAD_PATIENCE))
	{
		*reason = psprintf("transaction %u, committed at %X/%X, is not visible yet: it waits for synchronous replication\nBring the synchronous standby back, or: ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf();",
						   worker->stream.batch.waiting_xid,
						   LSN_FORMAT_ARGS(worker->stream.batch.waiting_lsn));
		return EVPUB_BLOCKED;
	}
	if (worker->answered)
		return EVPUB_STREAMING;
	*reason = worker->hello ? "no broker has answered yet" : "the relay starts";
	return EVPUB_STARTING;
}

const char *
evpub_state_name(const EvpubWorker *worker)
{
	const char *reason;

	return evpub_state_names[evpub_state_current(worker, &reason)];
}
