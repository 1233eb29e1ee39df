/*
 * supervise.c
 *		The worker's care of its relay: start, feed, listen, end, start again.
 *
 * Any failure has one answer: end the relay, rewind to the confirmed position,
 * start a new one after a pause.  That repeats events, and never skips one.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "publisher/persist.h"
#include "publisher/readback.h"
#include "publisher/refused.h"
#include "publisher/smalltopics.h"
#include "publisher/state.h"
#include "publisher/supervise.h"
#include "relaysettings.h"
#include "sender/caps.h"
#include "sender/flight.h"
#include "sender/relayplace.h"
#include "sender/relaytopics.h"
#include "settings.h"

/* The name under which brokers know us. */
static const char *const evpub_client_id = "evpub";

/* A relay that ends again in the same way is logged after so long, in ms. */
#define ENDED_AGAIN 60000

/* A configuration that the relay does not take is tried again so late, in ms. */
#define RETRY_CONFIG 10000

/*
 * A relay that is silent for so long, in ms, is ended; it hinders publishing
 * long before, see evpub_state_relay_silent().
 */
#define SILENCE_LONGEST 15000

void
evpub_supervise_leave(EvpubWorker *worker)
{
	evpub_relay_leave(&worker->relay);
}

static const char *
text_of_text(const char *value)
{
	return value;
}

static const char *
text_of_on_off(bool value)
{
	return value ? "on" : "off";
}

static const char *
text_of_number(int value)
{
	return psprintf("%d", value);
}

static void
put_text(StringInfo data, const char *text, char end)
{
	appendStringInfoString(data, text);
	appendStringInfoChar(data, end);
}

/* Names and values of EVPUB_RELAY_SETTINGS, each with "end" behind it. */
static void
put_settings(StringInfo data, char end)
{
#define PUT(kind, name) \
	put_text(data, #name, end); \
	put_text(data, text_of_##kind(evpub_##name), end);
	EVPUB_RELAY_SETTINGS(PUT)
#undef PUT
}

/*
 * All that a relay is started with, as one text.  Of the configuration file it
 * has what differs when that was changed.
 */
static char *
relay_settings(void)
{
	StringInfoData text;
	struct stat st;

	memset(&st, 0, sizeof(st));
	if (evpub_kafka_config_file[0])
		(void) stat(evpub_kafka_config_file, &st);
	initStringInfo(&text);
	put_settings(&text, '\n');
	appendStringInfo(&text, "%s\n%d %llu %llu %lld.%ld", evpub_relay_program,
					 evpub_delivery,
					 (unsigned long long) st.st_ino, (unsigned long long) st.st_size,
					 (long long) st.st_mtim.tv_sec, (long) st.st_mtim.tv_nsec);
	return text.data;
}

/* One that has failed, or has yet to be started, has a cause already. */
static void
leave_for_settings(EvpubWorker *worker)
{
	if (worker->relay.socket != PGINVALID_SOCKET)
		worker->start_cause = EVPUB_START_SETTINGS;
	evpub_supervise_leave(worker);
}

void
evpub_supervise_settings_changed(EvpubWorker *worker)
{
	char	   *now = relay_settings();

	/* whoever has raised the limit of a topic may have come with it */
	evpub_caps_try(&worker->relay, &worker->position);
	evpub_smalltopics_changed();

	/*
	 * A reload for other settings must not repeat events.  While something
	 * hinders, whoever reloads has mended it, perhaps where nobody here can
	 * see it.  Before HELLO the relay has read no files yet, or has not
	 * reported which; it has sent nothing either.
	 */
	if (worker->relay_settings && strcmp(worker->relay_settings, now) == 0 &&
		worker->hindrance == EVPUB_HINDRANCE_NONE && !worker->trouble[0] &&
		worker->hello && !evpub_kafka_files_changed(&worker->kafka_files))
		return;
	leave_for_settings(worker);
	if (worker->hindrance != EVPUB_HINDRANCE_RESUME)
		evpub_state_retry_now(worker);
}

static void
put_config(EvpubWorker *worker)
{
	StringInfoData data;

	initStringInfo(&data);
	put_settings(&data, '\0');
	evpub_relay_put(&worker->relay, EVPUB_FRAME_CONFIG, data.data, data.len);
	pfree(data.data);
}

static void
start_relay(EvpubWorker *worker)
{
	char	   *error;
	char	   *hint;
	char	   *settings;

	/*
	 * Whoever takes over from this server knows its publisher id from WAL, before
	 * there is any record of it in Kafka.
	 */
	if (worker->full_wanted)
		(void) evpub_persist(worker, !worker->persist_problem[0]);
	if (!evpub_relay_start(&worker->relay, &error, &hint))
	{
		evpub_state_hinder_by(worker, EVPUB_HINDRANCE_RETRY,
							  evpub_failures_of(EVPUB_FAILED_RELAY, EVPUB_DONE_RETRIED),
						   hint[0] ? psprintf("%s\n%s", error, hint) : error);
		return;
	}
	/* changed settings, resume() and the like have taken the hindrance away */
	if (worker->hindrance == EVPUB_HINDRANCE_RETRY && worker->relay_starts > 0)
		worker->relay_restarts++;
	worker->relay_starts++;
	evpub_figures_relay_started(worker->start_cause);
	worker->start_cause = EVPUB_START_ASKED;
	evpub_relaytopics_started(&worker->position);

	/* first the new one: without memory for it the old one must stay valid */
	settings = MemoryContextStrdup(TopMemoryContext, relay_settings());
	if (worker->relay_settings)
		pfree(worker->relay_settings);
	worker->relay_settings = settings;
	worker->hindrance = EVPUB_HINDRANCE_NONE;
	worker->hello = false;
	worker->answered = false;
	put_config(worker);
	evpub_readback_begin(worker);
}

/* What evpub.failures says of a relay that has reported why it ends. */
static EvpubFailure
failure_of(const EvpubWorker *worker, const EvpubFrameFailed *failed)
{
	const EvpubTopic *topic = NULL;
	EvpubFailure failure = evpub_failures_of(EVPUB_FAILED_KAFKA, EVPUB_DONE_RETRIED);

	switch ((EvpubFrameFailure) failed->kind)
	{
		case EVPUB_FAILURE_RETRY:
			break;
		case EVPUB_FAILURE_CONFIG:
			failure.kind = EVPUB_FAILED_SETTINGS;
			break;
		case EVPUB_FAILURE_TOPIC:
			failure.kind = EVPUB_FAILED_TOPIC;
			failure.done = EVPUB_DONE_BLOCKED;
			break;
		case EVPUB_FAILURE_RECORD:
			failure.kind = EVPUB_FAILED_REFUSED;
			if (worker->refused_id[0])
				failure.done = EVPUB_DONE_BLOCKED;
			break;
	}
	if (failed->topic != EVPUB_FRAME_NO_TOPIC)
		for (int i = 0; i < worker->position.ntopics && !topic; i++)
			if (worker->position.topics[i].number == failed->topic)
				topic = &worker->position.topics[i];
	if (topic)
		strlcpy(failure.topic, topic->name, sizeof(failure.topic));
	failure.partition = failed->partition;
	failure.code = failed->code;

	/* of several that were refused together, nobody knows which is to blame */
	if (failed->count <= 1)
		memcpy(failure.id, failed->first_id, EVPUB_ID_LENGTH);
	return failure;
}

static EvpubStartCause
cause_of(const EvpubFrameFailed *failed)
{
	switch ((EvpubFrameFailure) failed->kind)
	{
		case EVPUB_FAILURE_RETRY:
			break;
		case EVPUB_FAILURE_CONFIG:
			return EVPUB_START_CONFIGURATION;
		case EVPUB_FAILURE_TOPIC:
			return EVPUB_START_TOPIC;
		case EVPUB_FAILURE_RECORD:
			return EVPUB_START_REFUSED;
	}
	return EVPUB_START_KAFKA;
}

static void
relay_failed(EvpubWorker *worker, const EvpubFrame *frame)
{
	EvpubHindrance hindrance = EVPUB_HINDRANCE_RETRY;
	EvpubFrameFailed failed;
	const char *text;
	bool		goes_on;

	memcpy(&failed, frame->data, sizeof(failed));
	text = pnstrdup(frame->data + sizeof(failed), frame->length - sizeof(failed));
	worker->start_cause = cause_of(&failed);
	if (failed.code != 0)
		evpub_figures_refused(failed.code);
	goes_on = evpub_refused_take(worker, &failed, &text);
	if (failed.kind == EVPUB_FAILURE_TOPIC)
		hindrance = EVPUB_HINDRANCE_RESUME;
	if (failed.kind == EVPUB_FAILURE_RECORD)
	{
		/* all its acknowledgements are taken in: they came before this frame */
		evpub_flight_be_careful(&worker->stream.flight, failed.last);
		evpub_caps_lower(&worker->position, &failed);
	}
	evpub_state_end_relay(worker);
	if (goes_on)
	{
		evpub_state_retry_now(worker);
		return;
	}
	evpub_state_hinder_by(worker, hindrance, failure_of(worker, &failed), text);
	if (failed.kind == EVPUB_FAILURE_CONFIG)
		worker->retry_at = evpub_clock_now() + RETRY_CONFIG;
}

/*
 * After progress the next failure is a new one, and its pause is short.  Only
 * what moves the place where another relay goes on is progress.  Otherwise a
 * record that is refused for ever would have those before it sent, and
 * acknowledged, again and again without a pause.
 */
static void
note_progress(EvpubWorker *worker, uint64 before)
{
	if (worker->stream.flight.progress == before)
		return;
	worker->failures = 0;
	worker->refusals = 0;
	worker->hindrance_text[0] = '\0';
	evpub_refused_passed(worker);
}

static bool
take_ack(EvpubWorker *worker, const EvpubFrame *frame)
{
	EvpubStream *stream = &worker->stream;
	uint64		progress = stream->flight.progress;
	EvpubFrameAck ack;

	if (frame->length != sizeof(ack))
		return false;
	memcpy(&ack, frame->data, sizeof(ack));
	if (!evpub_flight_acknowledge(&stream->flight, ack.sequence, ack.dropped))
		return false;
	evpub_refused_acknowledged(worker);
	note_progress(worker, progress);
	return true;
}

/* A tail that is met may let the position follow what was acknowledged long ago. */
static bool
take_read_back(EvpubWorker *worker, const EvpubFrame *frame)
{
	uint64		progress = worker->stream.flight.progress;

	if (!evpub_readback_take(worker, frame))
		return false;
	if (worker->verdict == EVPUB_PUBLISH)
		note_progress(worker, progress);
	return true;
}

static bool
take_size(EvpubWorker *worker, const EvpubFrame *frame)
{
	const EvpubTopic *topic;

	if (!evpub_relaytopics_size(&worker->position, frame, &topic))
		return false;
	evpub_caps_size(&worker->relay, &worker->position, topic);
	evpub_smalltopics_changed();
	return true;
}

/* False: the frame makes no sense. */
static bool
take_frame(EvpubWorker *worker, const EvpubFrame *frame)
{
	switch (frame->type)
	{
		case EVPUB_FRAME_HELLO:
			worker->hello = true;
			strlcpy(worker->librdkafka_version,
					pnstrdup(frame->data, frame->length),
					sizeof(worker->librdkafka_version));
			return evpub_kafka_files_take(&worker->kafka_files, frame);
		case EVPUB_FRAME_ANSWERED:
			worker->answered = true;
			return true;
		case EVPUB_FRAME_PARTITIONS:
			return evpub_relaytopics_partitions(&worker->position, frame);
		case EVPUB_FRAME_ACK:
			return take_ack(worker, frame);
		case EVPUB_FRAME_ACKED_OFFSET:
			worker->offsets_new = true;
			return evpub_relaytopics_offset(&worker->position, frame,
											worker->stream.flight.holds > 0);
		case EVPUB_FRAME_FOUND:
		case EVPUB_FRAME_MET:
		case EVPUB_FRAME_PASSED:
			return take_read_back(worker, frame);
		case EVPUB_FRAME_TROUBLE:
			strlcpy(worker->trouble,
					evpub_refused_context(worker, pnstrdup(frame->data, frame->length)),
					sizeof(worker->trouble));
			if (worker->trouble[0])
				evpub_state_error_by(worker,
									 evpub_failures_of(EVPUB_FAILED_KAFKA, EVPUB_DONE_RETRIED),
									 worker->trouble);
			return true;
		case EVPUB_FRAME_TOPIC_SIZE:
			return take_size(worker, frame);
		case EVPUB_FRAME_NOTE:
			ereport(LOG,
					(errmsg("evpub: %s", pnstrdup(frame->data, frame->length))));
			return true;
		case EVPUB_FRAME_HEARTBEAT:
			return true;
		case EVPUB_FRAME_FAILED:
			if (frame->length < sizeof(EvpubFrameFailed))
				return false;
			relay_failed(worker, frame);
			return true;
		default:
			return false;
	}
}

/* A program that ends before it has said what it is may be none of evpub's. */
static const char *
unasked_end(bool had_spoken)
{
	char		path[MAXPGPATH];

	if (had_spoken)
		return "the relay ended unexpectedly; see the server log";
	evpub_relay_place(path);
	return psprintf("the relay ended unexpectedly, before \"%s\" had said what it is; see the server log\n"
					"If this is not evpub's program evpub-relay: ALTER SYSTEM RESET evpub.relay_program; SELECT pg_reload_conf(); Else the server log has what it said, and how it ended. It is started again by itself.",
					path);
}

void
evpub_supervise_listen(EvpubWorker *worker)
{
	EvpubFrame	frame;

	/* taking a frame may end the relay */
	while (worker->relay.socket != PGINVALID_SOCKET)
	{
		EvpubRelayInput input = evpub_relay_receive(&worker->relay, &frame);
		bool		had_spoken;

		if (input == EVPUB_RELAY_NOTHING)
			return;
		if (input == EVPUB_RELAY_FRAME && take_frame(worker, &frame))
			continue;
		if (worker->relay.leaving && input == EVPUB_RELAY_CLOSED)
		{
			/* as it was asked to; what it did not report is sent again */
			evpub_state_end_relay(worker);
			return;
		}
		worker->relay.unasked = input == EVPUB_RELAY_CLOSED;
		worker->start_cause = EVPUB_START_DIED;
		had_spoken = worker->hello;
		evpub_state_end_relay(worker);
		evpub_state_hinder_by(worker, EVPUB_HINDRANCE_RETRY,
			   evpub_failures_of(EVPUB_FAILED_RELAY, EVPUB_DONE_RELAY_RESTARTED),
			   input == EVPUB_RELAY_CLOSED ? unasked_end(had_spoken) :
			   "the relay sent what this worker does not understand; is it of the same version?");
	}
}

/*
 * A relay that somebody has killed says nothing, so the log would not say why it ended.
 * The SIGKILL of evpub_state_end_relay() does not change the status: the relay's end of
 * the socket is closed by its exit alone, so it was exiting already.
 */
static void
log_unasked_end(EvpubRelay *relay, int status)
{
	static int	logged = -1;
	static EvpubMsec logged_at = 0;

	/* one that ends as soon as it begins is said once a minute */
	if (relay->unasked && status >= 0 &&
		(status != logged || evpub_clock_passed(logged_at, ENDED_AGAIN)))
	{
		ereport(LOG,
				(errmsg("evpub: the relay ended unexpectedly: %s",
						wait_result_to_str(status))));
		logged = status;
		logged_at = evpub_clock_now();
	}
	relay->unasked = false;
}

/* A process that is stopped, too, is ended by SIGKILL. */
static void
end_hung_relay(EvpubWorker *worker)
{
	EvpubRelay *relay = &worker->relay;

	if (relay->socket == PGINVALID_SOCKET)
		return;
	if (relay->leaving && evpub_clock_now() >= relay->leave_until)
		evpub_state_end_relay(worker);
	else if (relay->silent >= SILENCE_LONGEST)
	{
		worker->start_cause = EVPUB_START_HUNG;
		evpub_state_end_relay(worker);
		evpub_state_hinder_by(worker, EVPUB_HINDRANCE_RETRY,
							  evpub_failures_of(EVPUB_FAILED_RELAY, EVPUB_DONE_RELAY_RESTARTED),
						   "the relay did not answer for 15 s and was ended\nIf it was not stopped by hand, look whether this machine has enough memory and processor time.");
	}
}

/*
 * An event that goes without a record, since it was given up, is passed without
 * an acknowledgement.  It may be the last one, and then none follows either.
 */
static bool
send_batches(EvpubWorker *worker)
{
	uint64		progress = worker->stream.flight.progress;
	bool		more;

	more = evpub_batch_send(&worker->stream.batch, &worker->relay, &worker->gate);
	evpub_refused_sent(worker);
	evpub_readback_look(worker);
	if (worker->verdict == EVPUB_PUBLISH)
		note_progress(worker, progress);
	return more;
}

bool
evpub_supervise(EvpubWorker *worker)
{
	int			status = -1;

	if (!evpub_bootstrap_servers[0])
		leave_for_settings(worker);

	/* one that was ended must be gone before the next may start */
	if (worker->relay.socket == PGINVALID_SOCKET)
	{
		if (!evpub_relay_gone(&worker->relay, &status))
			return false;
		log_unasked_end(&worker->relay, status);
		if (!evpub_bootstrap_servers[0] ||
			worker->hindrance == EVPUB_HINDRANCE_RESUME ||
			evpub_clock_now() < worker->retry_at)
			return false;
		start_relay(worker);
	}
	evpub_supervise_listen(worker);
	end_hung_relay(worker);

	/*
	 * With nothing to send, no acknowledgement will show that it works.  That is
	 * known only when WAL is read, which may be long after a broker has answered.
	 */
	if (worker->answered && evpub_stream_drained(&worker->stream))
		worker->hindrance_text[0] = '\0';
	if (worker->relay.socket == PGINVALID_SOCKET || worker->relay.leaving)
		return false;
	(void) evpub_persist_pins(worker);
	evpub_caps_raise(&worker->relay, &worker->position);
	if (worker->hello && !worker->position.paused)
		return send_batches(worker);
	(void) evpub_relay_flush(&worker->relay);
	return false;
}
