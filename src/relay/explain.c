/*
 * explain.c
 *		From librdkafka's text about a connection to a reason and a hint.
 *
 * librdkafka says what its code saw ("SSL handshake failed: error:0A000086"),
 * with one text for everything that is wrong with a certificate.  Whoever is
 * on call needs to know what is wrong and what to do.  So the texts that have
 * been seen are explained here, each by itself.  Others are passed on as they are,
 * since a wrong guess is worse than a raw text.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explain.h"

/* librdkafka before 2.6.1 sends a nonce that Kafka refuses since 3.8.1. */
#define SCRAM_MENDED 0x020601ff

/* The end of a hint about the user's file, or a file that it names. */
#define RELOAD " Then: SELECT pg_reload_conf();"

/*
 * Why OpenSSL did not accept the last certificate of a broker.  Written by
 * librdkafka's threads, read by the event loop.
 */
static atomic_int certificate_error;

static char mechanism[64];
static bool has_certificate;	/* of our own, to show to brokers */
static bool space_after_secret; /* in the user's file */

/*
 * OpenSSL's verdict on one certificate of the chain.  Runs in librdkafka's
 * threads.  It never changes the verdict: a certificate with an error stays
 * refused, and one without stays accepted.
 */
static int
note_certificate(rd_kafka_t *rk, const char *broker_name, int32_t broker_id,
				 int *x509_error, int depth, const char *buf, size_t size,
				 char *errstr, size_t errstr_size, void *opaque)
{
	(void) rk;
	(void) broker_name;
	(void) broker_id;
	(void) depth;
	(void) buf;
	(void) size;
	(void) opaque;

	if (*x509_error == 0)
		return 1;
	atomic_store(&certificate_error, *x509_error);
	snprintf(errstr, errstr_size, "X.509 error %d", *x509_error);
	return 0;
}

static bool
is_set(const rd_kafka_conf_t *conf, const char *name)
{
	size_t		size = 0;

	/* the size counts the NUL */
	return rd_kafka_conf_get(conf, name, NULL, &size) == RD_KAFKA_CONF_OK && size > 1;
}

void
explain_start(rd_kafka_conf_t *conf, bool use_space_after_secret)
{
	size_t		size = sizeof(mechanism);

	space_after_secret = use_space_after_secret;
	if (rd_kafka_conf_get(conf, "sasl.mechanisms", mechanism, &size) != RD_KAFKA_CONF_OK)
		mechanism[0] = '\0';
	has_certificate = is_set(conf, "ssl.certificate.location") ||
		is_set(conf, "ssl.certificate.pem") || is_set(conf, "ssl.keystore.location");
	/* a librdkafka without TLS refuses this, and does not need it */
	(void) rd_kafka_conf_set_ssl_cert_verify_cb(conf, note_certificate);
}

/* Numbers of OpenSSL's x509_vfy.h, which are part of its interface. */
static void
explain_certificate(Explanation *result)
{
	const char *cause;

	switch (atomic_load(&certificate_error))
	{
		case 9:
			cause = "the certificate of the broker is not valid yet";
			result->hint = "Compare the clock of this machine with the time from which on the certificate is valid.";
			break;
		case 10:
			cause = "the certificate of the broker has expired";
			result->hint = "Renew the certificate of the broker.";
			break;
		case 3:
		case 12:
			cause = "there is no valid list of revoked certificates for the certificate of the broker";
			result->hint = "Renew the file that ssl.crl.location names." RELOAD;
			break;
		case 23:
			cause = "the certificate of the broker is revoked";
			result->hint = "Give the broker a new certificate.";
			break;
		case 62:
		case 64:
			cause = "the certificate of the broker is made for another host name";
			result->hint = "evpub.bootstrap_servers and the brokers' advertised.listeners must use a name that stands in the certificate (subjectAltName).";
			break;
		case 2:
		case 18:
		case 19:
		case 20:
		case 21:
			cause = "the certificate of the broker is not signed by an authority that is trusted here";
			result->hint = "Set ssl.ca.location in evpub.kafka_config_file to the certificate of the authority (CA) that has signed the broker's." RELOAD;
			break;
		default:
			snprintf(result->cause, sizeof(result->cause),
					 "the certificate of the broker could not be verified (OpenSSL's error %d)",
					 atomic_load(&certificate_error));
			result->hint = "The number is explained by OpenSSL (x509_vfy.h). Verify the certificate with: openssl s_client -connect host:port.";
			return;
	}
	snprintf(result->cause, sizeof(result->cause), "%s", cause);
}

/* The broker speaks of our certificate; the alert ends the handshake. */
static void
explain_alert(const char *alert, Explanation *result)
{
	if (!has_certificate)
	{
		snprintf(result->cause, sizeof(result->cause),
				 "the broker asks for a certificate, and none is set (%.100s)", alert);
		result->hint = "Set ssl.certificate.location and ssl.key.location (or ssl.keystore.location) in evpub.kafka_config_file." RELOAD;
		return;
	}
	snprintf(result->cause, sizeof(result->cause),
			 "the broker does not accept the certificate of evpub (%.100s)", alert);
	result->hint = "The certificate may have expired, or may be signed by an authority that the broker does not trust. After it is replaced: SELECT pg_reload_conf();";
}

/*
 * The first four bytes of an answer are its length; what another protocol
 * sends there makes a strange one.
 */
static void
explain_size(const char *number, Explanation *result)
{
	unsigned long size = strtoul(number, NULL, 10);
	char		first[5] = "";

	if (size >> 8 == 0x150303 || size >> 8 == 0x150301 || size >> 8 == 0x150302)
	{
		snprintf(result->cause, sizeof(result->cause),
				 "the listener wants TLS, and security.protocol is without");
		result->hint = "Set security.protocol to ssl or sasl_ssl in evpub.kafka_config_file, or use the port of a listener without TLS." RELOAD;
		return;
	}
	for (int i = 0; i < 4; i++)
	{
		char		c = (char) (size >> (24 - 8 * i));

		first[i] = c >= ' ' && c <= '~' ? c : '?';
	}
	snprintf(result->cause, sizeof(result->cause),
			 "this is no listener of Kafka: its answer begins with \"%s\"", first);
	result->hint = "evpub.bootstrap_servers must name ports on which Kafka brokers listen.";
}

/* Texts that stand for one cause. */
static const struct
{
	const char *part;
	const char *cause;
	const char *hint;
	bool		guess;			/* a broker that goes looks the same */
}			known[] = {
	{"wrong version number",
		"the listener does not speak TLS, and security.protocol asks for it",
	"Set security.protocol to plaintext or sasl_plaintext in evpub.kafka_config_file, or use the port of the TLS listener." RELOAD, false},
	{"unexpected eof while reading",
		"the listener has closed the connection instead of answering in TLS; probably it does not speak TLS, and security.protocol asks for it",
	"Set security.protocol to plaintext or sasl_plaintext in evpub.kafka_config_file, or use the port of the TLS listener." RELOAD, false},
	{"PLAINTEXT broker listener",
		"the listener does not speak TLS, and security.protocol asks for it",
	"Set security.protocol to plaintext or sasl_plaintext in evpub.kafka_config_file, or use the port of the TLS listener." RELOAD, false},
	{"while requesting ApiVersion",
		"the listener closes the connection at the first request: it wants TLS, or it is no listener of Kafka",
		"For a TLS listener set security.protocol to ssl or sasl_ssl in evpub.kafka_config_file; otherwise see whether a Kafka broker listens on this port." RELOAD,
	true},
	{"might require SASL authentication",
		"the listener closes the connection; it wants authentication (SASL), and security.protocol is without",
		"Set security.protocol to sasl_plaintext or sasl_ssl, and sasl.mechanism, sasl.username and sasl.password, in evpub.kafka_config_file." RELOAD,
	true},
	{"ApiVersionRequest failed: Local: Timed out",
		"the listener accepts connections and does not answer; the broker hangs, or this is no listener of Kafka",
	"See whether a Kafka broker listens on this port, and whether it is alive.", false},
	{"Request not valid in current SASL state",
		"the listener knows no authentication (SASL), and security.protocol asks for it",
	"Set security.protocol to plaintext or ssl in evpub.kafka_config_file, or use the port of the SASL listener." RELOAD, false},
};

static void
explain_authentication(const char *text, Explanation *result)
{
	const char *from = strstr(text, "SASL authentication error: ");

	result->refused = true;
	snprintf(result->cause, sizeof(result->cause), "%s",
			 from == NULL ? text : from + strlen("SASL authentication error: "));
	result->hint = "Compare sasl.mechanism, sasl.username and sasl.password in evpub.kafka_config_file with what the broker knows." RELOAD;
	if (strncmp(mechanism, "SCRAM-", 6) == 0 && rd_kafka_version() < SCRAM_MENDED)
	{
		size_t		len = strlen(result->cause);

		snprintf(result->cause + len, sizeof(result->cause) - len,
				 "; librdkafka %s cannot authenticate by SCRAM to Kafka 3.8.1 or later, whatever the password",
				 rd_kafka_version_str());
		result->hint = "Use librdkafka 2.6.1 or later for evpub-relay (Debian 13 has one), or sasl.mechanism=PLAIN over TLS." RELOAD;
	}
	else if (space_after_secret)
		result->hint = "A value in evpub.kafka_config_file ends with white space, which is taken as part of it. Remove the white space if it is a mistake." RELOAD;
}

/*
 * Takes the broker's name off the front: "host:port/bootstrap: " for one of
 * the settings, "host:port/1: " for one that the cluster has named.
 */
static const char *
take_broker(const char *text, Explanation *result)
{
	const char *end = strstr(text, ": ");
	const char *slash;
	const char *scheme;

	if (end == NULL || strchr(text, ' ') < end)
		return text;
	scheme = strstr(text, "://");
	if (scheme != NULL && scheme < end)
		text = scheme + 3;
	slash = memchr(text, '/', (size_t) (end - text));
	if (slash != NULL && strncmp(slash, "/bootstrap: ", 12) != 0)
		snprintf(result->broker, sizeof(result->broker), "%.*s",
				 (int) (slash - text), text);
	return end + 2;
}

/*
 * Keeps the part of librdkafka's text that says why: "host:port/bootstrap:
 * Connect to ipv4#1.2.3.4:9092 failed: Connection refused (after 0ms in state
 * CONNECT)" becomes "Connection refused".
 */
static void
keep_core(const char *text, Explanation *result)
{
	char	   *end;

	if (strncmp(text, "Connect to ", 11) == 0)
	{
		const char *at = strstr(text, " failed: ");

		if (at != NULL)
			text = at + 9;
	}
	snprintf(result->cause, sizeof(result->cause), "%s", text);
	/* a reason has one line, and a hint begins behind it */
	for (char *at = result->cause; *at != '\0'; at++)
	{
		if (*at == '\n' || *at == '\r')
			*at = ' ';
	}
	end = strstr(result->cause, " (after ");
	if (end != NULL)
		*end = '\0';
}

/*
 * librdkafka until 2.8 says itself what a connection that is closed at once may
 * mean; 2.14 only says in which state it was.  Returns what stands for it in
 * the table above, or the text.
 */
static const char *
add_guess(const char *text, const char *core)
{
	if (strncmp(core, "Disconnected", 12) != 0)
		return text;
	if (strstr(text, "in state APIVERSION_QUERY") != NULL)
		return "while requesting ApiVersion";
	if (strstr(text, "in state UP") != NULL)
		return "might require SASL authentication";
	return text;
}

void
explain_text(const char *text, bool answered, Explanation *result)
{
	const char *at;

	memset(result, 0, sizeof(*result));
	result->hint = "";
	text = take_broker(text, result);
	keep_core(text, result);
	if (strstr(text, "certificate verify failed") != NULL)
	{
		result->refused = true;
		explain_certificate(result);
		return;
	}
	at = strstr(text, " alert ");
	if (at != NULL && (strstr(at, "certificate") != NULL || strstr(at, "unknown ca") != NULL))
	{
		char		alert[128];

		snprintf(alert, sizeof(alert), "%s", at + 1);
		alert[strcspn(alert, ":(")] = '\0';
		result->refused = true;
		explain_alert(alert, result);
		return;
	}
	at = strstr(text, "Invalid response size ");
	if (at != NULL)
	{
		result->refused = true;
		explain_size(at + strlen("Invalid response size "), result);
		return;
	}
	text = add_guess(text, result->cause);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strstr(text, known[i].part) == NULL)
			continue;
		if (known[i].guess && answered)
		{
			snprintf(result->cause, sizeof(result->cause), "Disconnected");
			return;
		}
		result->refused = true;
		snprintf(result->cause, sizeof(result->cause), "%s", known[i].cause);
		result->hint = known[i].hint;
		return;
	}
	if (strstr(text, "SASL authentication error") != NULL)
	{
		char		core[512];

		memcpy(core, result->cause, sizeof(core));
		explain_authentication(core, result);
	}
	else if (strstr(text, "Unsupported SASL mechanism") != NULL)
	{
		result->refused = true;
		result->hint = "Set sasl.mechanism in evpub.kafka_config_file to one that the broker supports." RELOAD;
	}
	else if (strstr(text, "Failed to create socket") != NULL)
	{
		result->refused = true;
		result->hint = "It is this machine that refuses: look at the limit of open files of the server (ulimit -n, or LimitNOFILE of its unit).";
	}
	else if (strstr(text, "SSL handshake") != NULL)
		result->refused = true;
	else if (strstr(text, "Failed to resolve") != NULL)
		result->hint = "See whether the name is right and whether this machine can resolve it.";
}

void
explain_timeout(Explanation *result)
{
	memset(result, 0, sizeof(*result));
	result->hint = "See whether a Kafka broker listens on this port, whether it is alive, and whether a firewall is between.";
	snprintf(result->cause, sizeof(result->cause), "timed out");
}
