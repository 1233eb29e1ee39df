/*
 * trouble.c
 *		What hinders publishing right now, told to the worker in words.
 *
 * Nothing here changes what the relay does: it goes on trying.  A text is sent
 * when it differs from the last one, and not more often than a person can
 * read, since librdkafka repeats its errors with every attempt to connect.
 */
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "relay.h"
#include "stream.h"
#include "trouble.h"

#define REPORT_PAUSE_MS 500

static const char *servers;
static bool unreachable;
static bool answered;			/* a broker did, since the start */
static char cause[512];			/* newest reason of librdkafka */
static char old_cause[512];		/* the one before brokers answered */
static bool refused;			/* cause is about TLS or authentication */
static char sent[RELAY_TEXT_MAX];
static int64_t next_report;

void
trouble_start(const char *use_servers)
{
	servers = use_servers;
}

/*
 * Keeps the part of librdkafka's text that says why: "host:port/bootstrap:
 * Connect to ipv4#1.2.3.4:9092 failed: Connection refused (after 0ms in state
 * CONNECT)" becomes "Connection refused".
 */
static void
set_cause(const char *text, bool is_refusal)
{
	const char *from = text;
	const char *at = strstr(text, ": ");
	char	   *end;

	if (at != NULL && strchr(text, ' ') > at)
		from = at + 2;			/* the broker's name */
	if (strncmp(from, "Connect to ", 11) == 0)
	{
		at = strstr(from, " failed: ");
		if (at != NULL)
			from = at + 9;
	}
	refused = is_refusal;
	snprintf(cause, sizeof(cause), "%s", from);
	end = strstr(cause, " (after ");
	if (end != NULL)
		*end = '\0';

	/* a line feed would begin a hint */
	while ((end = strpbrk(cause, "\r\n")) != NULL)
		*end = ' ';
}

void
trouble_event(rd_kafka_resp_err_t error, const char *text)
{
	switch (error)
	{
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
			unreachable = true;
			/* librdkafka does not repeat a reason that is still the same */
			if (cause[0] == '\0')
				memcpy(cause, old_cause, sizeof(cause));
			break;
		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR__SSL:
			unreachable = true;
			set_cause(text, true);
			break;
		default:
			/* a failed handshake comes as a mere disconnect, too */
			if (strstr(text, "SSL handshake") != NULL)
				set_cause(text, true);
			else if (!refused || strstr(text, "Connect to ") != NULL)
				set_cause(text, false);
			/* else: what was refused says more than the disconnect after it */
			break;
	}
}

void
trouble_no_answer(rd_kafka_resp_err_t error, const char *text)
{
	unreachable = true;
	if (cause[0] == '\0')
	{
		if (error == RD_KAFKA_RESP_ERR__TIMED_OUT ||
			error == RD_KAFKA_RESP_ERR__TRANSPORT)
			text = "timed out";
		snprintf(cause, sizeof(cause), "%s", text);
	}
}

void
trouble_brokers_answer(void)
{
	if (!answered)
		stream_send(EVPUB_FRAME_ANSWERED, "", 0, NULL, 0);
	answered = true;
	unreachable = false;
	refused = false;
	if (cause[0] == '\0')
		return;
	memcpy(old_cause, cause, sizeof(old_cause));
	cause[0] = '\0';
}

bool
trouble_wants_probe(void)
{
	return unreachable || !answered;
}

/* Returns when the text may change by itself. */
static int64_t
compose(char *text, int64_t now, const char *topic_text, int64_t waiting_since)
{
	*text = '\0';
	if (unreachable)
		snprintf(text, RELAY_TEXT_MAX, "%s%s%s%s%s",
				 refused ? "no connection to " : "no broker of ", servers,
				 refused ? "" : " answers",
				 cause[0] == '\0' ? "" : ": ", cause);
	else if (topic_text[0] != '\0')
		snprintf(text, RELAY_TEXT_MAX, "%s", topic_text);
	else if (waiting_since != RELAY_NEVER)
	{
		int64_t		waited = TROUBLE_STUCK_MS;

		if (now - waiting_since < waited)
			return waiting_since + waited;
		/* twice as long each time: every text may become a line in a log */
		while (now - waiting_since >= waited * 2)
			waited *= 2;
		snprintf(text, RELAY_TEXT_MAX,
				 "no acknowledgement from %s for %lld s%s%s", servers,
				 (long long) (waited / 1000),
				 cause[0] == '\0' ? "" : ": ", cause);
		return waiting_since + waited * 2;
	}
	return RELAY_NEVER;
}

int64_t
trouble_report(int64_t now, const char *topic_text, int64_t waiting_since)
{
	char		text[RELAY_TEXT_MAX];
	int64_t		again = compose(text, now, topic_text, waiting_since);

	config_redact(text);
	if (strcmp(text, sent) == 0)
		return again;
	if (now < next_report)
		return next_report;
	memcpy(sent, text, sizeof(sent));
	stream_send(EVPUB_FRAME_TROUBLE, text, strlen(text), NULL, 0);
	next_report = now + REPORT_PAUSE_MS;
	return again;
}
