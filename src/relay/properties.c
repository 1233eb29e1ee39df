/*
 * properties.c
 *		Which properties the user's file may set.
 *
 * An allow-list, not a deny-list: librdkafka has aliases (delivery.timeout.ms
 * is message.timeout.ms), properties that run code (plugin.library.paths,
 * sasl.kerberos.kinit.cmd), and new versions bring new ones.
 *
 * A key that is not in the list is either one of librdkafka's that evpub does
 * not leave to the user, or a mistake.  Whoever has typed it needs to know
 * which: librdkafka is asked whether it knows the key.
 */
#include <stdio.h>
#include <string.h>

#include "properties.h"

/* The longest key that is compared with those of the list, in bytes. */
#define KEY_MAX 64

#define RELOAD "then: SELECT pg_reload_conf();"

/* '*': the value is a secret; '/': it is the path of a file or directory. */
static const char *const allowed[] = {
	"security.protocol",
	"ssl.cipher.suites", "ssl.curves.list", "ssl.sigalgs.list",
	"/ssl.key.location", "*ssl.key.password", "*ssl.key.pem",
	"/ssl.certificate.location", "ssl.certificate.pem",
	"/ssl.ca.location", "ssl.ca.pem", "/ssl.crl.location",
	"/ssl.keystore.location", "*ssl.keystore.password",
	"enable.ssl.certificate.verification",
	"ssl.endpoint.identification.algorithm",
	"/https.ca.location", "https.ca.pem",
	"sasl.mechanism", "sasl.mechanisms",
	"sasl.username", "*sasl.password",
	"sasl.kerberos.service.name", "sasl.kerberos.principal",
	"/sasl.kerberos.keytab", "sasl.kerberos.min.time.before.relogin",
	"sasl.oauthbearer.method", "sasl.oauthbearer.client.id",
	"*sasl.oauthbearer.client.secret", "sasl.oauthbearer.scope",
	"sasl.oauthbearer.extensions", "sasl.oauthbearer.token.endpoint.url",
	"compression.codec", "compression.type", "compression.level",
	"batch.num.messages", "batch.size", "linger.ms", "queue.buffering.max.ms",
	"message.copy.max.bytes", "request.timeout.ms",
	"retry.backoff.ms", "retry.backoff.max.ms",
	"reconnect.backoff.ms", "reconnect.backoff.max.ms",
	"socket.keepalive.enable", "socket.send.buffer.bytes",
	"socket.receive.buffer.bytes", "socket.connection.setup.timeout.ms",
	"connections.max.idle.ms", "broker.address.ttl", "broker.address.family",
	"client.dns.lookup", "client.rack",
};

#define ALLOWED_COUNT (sizeof(allowed) / sizeof(allowed[0]))

/* What has a setting or a counterpart under another name. */
static const struct
{
	const char *key;
	const char *hint;
}			elsewhere[] = {
	{"bootstrap.servers", "The brokers are set by evpub.bootstrap_servers."},
	{"metadata.broker.list", "The brokers are set by evpub.bootstrap_servers."},
	{"ssl.truststore.location", "This is a property of Java clients. Name the certificates of the authorities in PEM format by ssl.ca.location."},
	{"ssl.truststore.certificates", "This is a property of Java clients. Name the certificates of the authorities in PEM format by ssl.ca.location or ssl.ca.pem."},
	{"ssl.truststore.password", "This is a property of Java clients. ssl.ca.location names certificates in PEM format, which have no password."},
	{"ssl.truststore.type", "This is a property of Java clients. ssl.ca.location names certificates in PEM format."},
	{"ssl.keystore.type", "This is a property of Java clients. ssl.keystore.location names a file in PKCS#12 format; for PEM there are ssl.certificate.location and ssl.key.location."},
	{"sasl.jaas.config", "This is a property of Java clients. Set sasl.username and sasl.password."},
	{"message.max.bytes", "The largest event is set by evpub.max_event_bytes."},
	{"acks", "evpub always waits for all replicas in sync (acks=all)."},
};

static const char *
name_of(size_t i)
{
	return allowed[i] + (allowed[i][0] == '*' || allowed[i][0] == '/');
}

bool
properties_allowed(const char *key, bool *secret)
{
	for (size_t i = 0; i < ALLOWED_COUNT; i++)
	{
		*secret = allowed[i][0] == '*';
		if (strcmp(name_of(i), key) == 0)
			return true;
	}
	return false;
}

bool
properties_is_path(const char *key)
{
	for (size_t i = 0; i < ALLOWED_COUNT; i++)
	{
		if (allowed[i][0] == '/' && strcmp(name_of(i), key) == 0)
			return true;
	}
	return false;
}

static int
least(int a, int b, int c)
{
	int			ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* Insertions, deletions and replacements from one text to the other. */
static int
distance(const char *a, const char *b)
{
	int			row[KEY_MAX + 1];
	int			len = (int) strlen(b);

	for (int j = 0; j <= len; j++)
		row[j] = j;
	for (int i = 1; a[i - 1] != '\0'; i++)
	{
		int			diagonal = row[0];

		row[0] = i;
		for (int j = 1; j <= len; j++)
		{
			int			above = row[j];

			row[j] = least(above + 1, row[j - 1] + 1,
						   diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[len];
}

/* The name in the list that is nearest to this one, or NULL. */
static const char *
nearest(const char *key)
{
	const char *best = NULL;
	int			best_distance = (int) strlen(key) / 3 + 1;

	if (strlen(key) > KEY_MAX)
		return NULL;
	for (size_t i = 0; i < ALLOWED_COUNT; i++)
	{
		int			d = distance(key, name_of(i));

		if (d < best_distance)
		{
			best_distance = d;
			best = name_of(i);
		}
	}
	return best;
}

void
properties_explain(const rd_kafka_conf_t *conf, const char *key,
				   char *text, size_t size)
{
	const char *near = nearest(key);
	size_t		unused = 0;
	bool		known;

	known = rd_kafka_conf_get(conf, key, NULL, &unused) == RD_KAFKA_CONF_OK;
	for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
	{
		if (strcmp(key, elsewhere[i].key) != 0)
			continue;
		snprintf(text, size, "property \"%s\" is not allowed here\n%s Remove or mend the line, " RELOAD,
				 key, elsewhere[i].hint);
		return;
	}
	if (known)
		snprintf(text, size,
				 "property \"%s\" is not allowed here\n"
				 "librdkafka knows this property, but evpub sets it itself or does not use it. Remove the line, " RELOAD,
				 key);
	else if (near != NULL)
		snprintf(text, size,
				 "unknown property \"%s\"\n"
				 "Perhaps you meant \"%s\". Mend the line, " RELOAD, key, near);
	else
		snprintf(text, size,
				 "unknown property \"%s\"\n"
				 "No property of librdkafka has this name. Names of properties are written in lower case with dots. Mend the line, " RELOAD,
				 key);
}
