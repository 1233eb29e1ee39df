/*
 * trouble.c
 *		What hinders publishing right now, reported to the worker in words.
 *
 * While no broker answers the relay goes on trying, for half a minute; then it
 * ends, and the worker starts another after a pause.  A text is sent
 * when it differs from the last one, and not more often than a person can
 * read, since librdkafka repeats its errors with every attempt to connect.
 */
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "explain.h"
#include "frames.h"
#include "relay.h"
#include "trouble.h"

/* Of syslog's levels: what is worse comes as an event of its own, too. */
#define LOG_LEVEL_ERROR 3

#define REPORT_PAUSE_MS 500

/*
 * A cluster that has answered is reported as unreachable only when it was for so
 * long, in ms: more than PROBE_MS of survey.c and the time of an answer.  Since
 * 2.10, librdkafka goes back to the servers of the settings when all addresses
 * that they gave are dead, gets the same addresses again, and says each time that
 * no broker is left.
 */
#define SURE_MS 2000

static const char *servers;
static int64_t unreachable_since = RELAY_NEVER; /* RELAY_NEVER: brokers answer */
static bool answered;			/* a broker did, since the start */
static Explanation cause;		/* newest reason of librdkafka */
static Explanation old_cause;	/* the one before brokers answered */
static char replicas[320];		/* a partition that lacks replicas in sync, or a leader */
static bool leaderless;			/* it is a leader */
static char sent[RELAY_TEXT_MAX];
static int64_t next_report;

void
trouble_start(const char *use_servers)
{
	servers = use_servers;
}

static void
no_one_answers(void)
{
	if (unreachable_since == RELAY_NEVER)
		unreachable_since = relay_now();
}

void
trouble_event(rd_kafka_resp_err_t error, const char *text)
{
	Explanation now;

	if (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
	{
		no_one_answers();
		/* librdkafka does not repeat a reason that is still the same */
		if (cause.cause[0] == '\0')
			cause = old_cause;
		return;
	}
	explain_text(text, answered, &now);
	if (error == RD_KAFKA_RESP_ERR__AUTHENTICATION || error == RD_KAFKA_RESP_ERR__SSL)
	{
		no_one_answers();
		now.refused = true;
	}
	/* what was refused says more than the disconnect after it */
	if (!cause.refused || now.refused || strstr(text, "Connect to ") != NULL)
		cause = now;
}

/*
 * A connection that a broker has closed is only logged by newer versions of
 * librdkafka (2.14; not 2.8), in the words of an error event.  At the start there
 * is no other sign of a listener that wants TLS or SASL.
 */
static void
take_failure_log(const char *text)
{
	const char *end;

	if (strncmp(text, "[thrd:", 6) == 0 && (end = strstr(text, "]: ")) != NULL)
		text = end + 3;
	trouble_event(RD_KAFKA_RESP_ERR__TRANSPORT, text);
}

void
trouble_log(rd_kafka_event_t *event)
{
	const char *text;
	int			level;
	const char *facility;

	/*
	 * Errors come as events too, so only what has no other way out.  A fatal error
	 * is what the FAILED frame says; a record that is refused for ever would write
	 * it into the log with each attempt.
	 */
	if (rd_kafka_event_log(event, &facility, &text, &level) != 0)
		return;
	if (level <= 2 && strcmp(facility, "FATAL") != 0)
		fprintf(stderr, "evpub-relay: %s: %s\n", facility, text);
	else if (level > LOG_LEVEL_ERROR && strcmp(facility, "FAIL") == 0)
		take_failure_log(text);
}

void
trouble_no_answer(rd_kafka_resp_err_t error, const char *text)
{
	no_one_answers();
	if (cause.cause[0] != '\0')
		return;
	explain_timeout(&cause);
	if (error != RD_KAFKA_RESP_ERR__TIMED_OUT &&
		error != RD_KAFKA_RESP_ERR__TRANSPORT)
	{
		snprintf(cause.cause, sizeof(cause.cause), "%s", text);
		cause.hint = "";
	}
}

void
trouble_no_brokers(void)
{
	no_one_answers();
	memset(&cause, 0, sizeof(cause));
	snprintf(cause.cause, sizeof(cause.cause), "the cluster says that it has no brokers");
	cause.hint = "The cluster may be starting. See whether its brokers have joined it.";
}

void
trouble_brokers_answer(void)
{
	if (!answered)
		frames_send(EVPUB_FRAME_ANSWERED, "", 0, NULL, 0);
	answered = true;
	unreachable_since = RELAY_NEVER;
	if (cause.cause[0] == '\0')
		return;
	old_cause = cause;
	cause.cause[0] = '\0';
	cause.refused = false;
}

void
trouble_acknowledged(void)
{
	/* whoever acknowledges was reached */
	old_cause.cause[0] = '\0';
	replicas[0] = '\0';
	trouble_brokers_answer();
	old_cause.cause[0] = '\0';
}

void
trouble_replicas(const char *topic, int32_t partition, int in_sync, int all)
{
	snprintf(replicas, sizeof(replicas),
			 "partition %d of topic \"%s\" has %d of %d replicas in sync",
			 partition, topic, in_sync, all);
	leaderless = false;
}

void
trouble_no_leader(const char *topic, int32_t partition)
{
	snprintf(replicas, sizeof(replicas), "partition %d of topic \"%s\" has no leader",
			 partition, topic);
	leaderless = true;
}

bool
trouble_wants_probe(void)
{
	return unreachable_since != RELAY_NEVER || !answered;
}

/* Adds a cause to a text, and its hint behind a line feed. */
static void
add_cause(char *text, const Explanation *why, const char *hint)
{
	size_t		len = strlen(text);

	if (why->cause[0] != '\0')
		snprintf(text + len, RELAY_TEXT_MAX - len, ": %s", why->cause);
	if (why->cause[0] != '\0' && why->hint[0] != '\0')
		hint = why->hint;
	len = strlen(text);
	if (hint[0] != '\0')
		snprintf(text + len, RELAY_TEXT_MAX - len, "\n%s", hint);
}

/* Is the broker one that the settings do not name? */
static bool
is_elsewhere(const Explanation *why)
{
	return why->cause[0] != '\0' && why->broker[0] != '\0' &&
		strstr(servers, why->broker) == NULL;
}

/* No broker can be reached. */
static void
compose_unreachable(char *text)
{
	if (is_elsewhere(&cause))
	{
		/* the settings are right, and what the cluster says is not */
		snprintf(text, RELAY_TEXT_MAX,
				 "no broker answers at %s, the address that the cluster gave",
				 cause.broker);
		add_cause(text, &cause,
				  "See whether the broker is alive, and whether its advertised.listeners name an address that this machine can reach.");
		return;
	}
	snprintf(text, RELAY_TEXT_MAX, "%s%s%s",
			 cause.refused ? "no connection to " : "no broker of ", servers,
			 cause.refused ? "" : " answers");
	add_cause(text, &cause,
			  "See whether the brokers are alive, and whether evpub.bootstrap_servers names them.");
}

/* Records are in flight, and nobody acknowledges them for so many seconds. */
static void
compose_stuck(char *text, long long seconds)
{
	const Explanation *why = cause.cause[0] != '\0' ? &cause : &old_cause;

	if (is_elsewhere(why))
	{
		snprintf(text, RELAY_TEXT_MAX,
				 "no acknowledgement for %lld s; no connection to the broker at %s, the address that the cluster gave",
				 seconds, why->broker);
		add_cause(text, why,
				  "See whether the broker is alive, and whether its advertised.listeners name an address that this machine can reach.");
	}
	else if (replicas[0] != '\0')
		snprintf(text, RELAY_TEXT_MAX,
				 "brokers answer, and have not acknowledged for %lld s: %s\n%s",
				 seconds, replicas, leaderless ?
				 "Start the brokers that hold replicas of it; kafka-topics.sh --describe --unavailable-partitions names them." :
				 "Compare with min.insync.replicas of the topic; bring back the brokers that are missing.");
	else
	{
		snprintf(text, RELAY_TEXT_MAX, "no acknowledgement from %s for %lld s",
				 servers, seconds);
		add_cause(text, &cause, "");
	}
}

/* Returns when the text may change by itself. */
static int64_t
compose(char *text, int64_t now, const char *topic_text, int64_t waiting_since)
{
	int64_t		sure = RELAY_NEVER;

	*text = '\0';
	if (unreachable_since != RELAY_NEVER)
	{
		if (!answered || now - unreachable_since >= SURE_MS)
		{
			compose_unreachable(text);
			return RELAY_NEVER;
		}
		sure = unreachable_since + SURE_MS;
	}
	if (topic_text[0] != '\0')
		snprintf(text, RELAY_TEXT_MAX, "%s", topic_text);
	else if (waiting_since != RELAY_NEVER)
	{
		int64_t		waited = TROUBLE_STUCK_MS;

		if (now - waiting_since < waited)
			return relay_earlier(sure, waiting_since + waited);
		/* twice as long each time: every text may become a line in a log */
		while (now - waiting_since >= waited * 2)
			waited *= 2;
		compose_stuck(text, (long long) (waited / 1000));
		return relay_earlier(sure, waiting_since + waited * 2);
	}
	return sure;
}

int64_t
trouble_report(int64_t now, const char *topic_text, int64_t waiting_since)
{
	char		text[RELAY_TEXT_MAX];
	int64_t		again = compose(text, now, topic_text, waiting_since);

	/*
	 * librdkafka tries the addresses that the cluster gave last.  When brokers
	 * have moved they may all be dead, and the ones of the settings not; it
	 * goes back to those only since 2.10, and versions until 2.15 can be left
	 * without any address.  A new relay begins with the settings, and reads
	 * renewed certificates, too.
	 */
	if (unreachable_since != RELAY_NEVER)
	{
		if (now - unreachable_since >= TROUBLE_GIVE_UP_MS)
			relay_fail(EVPUB_FAILURE_RETRY, "%s", text);
		if (unreachable_since + TROUBLE_GIVE_UP_MS < again)
			again = unreachable_since + TROUBLE_GIVE_UP_MS;
	}
	config_redact(text);
	if (strcmp(text, sent) == 0)
		return again;
	if (now < next_report)
		return next_report < again ? next_report : again;
	memcpy(sent, text, sizeof(sent));
	frames_send(EVPUB_FRAME_TROUBLE, text, strlen(text), NULL, 0);
	next_report = now + REPORT_PAUSE_MS;
	return again;
}
