/*
 * config.c
 *		The settings of this relay, and the producer's configuration.
 *
 * The user's file passes an allow-list, not a deny-list: librdkafka has
 * aliases (delivery.timeout.ms is message.timeout.ms), properties that run
 * code (plugin.library.paths, sasl.kerberos.kinit.cmd), and new versions bring
 * new ones.  What evpub's promises rest on is set last and read back.
 *
 * No message may carry a value of the file: messages end up in the server log
 * and in evpub.status, values are passwords.  librdkafka's own messages do
 * quote values, so none of them is passed on from here, and secrets are cut
 * out of what librdkafka says later.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "relay.h"

#define LINE_MAX_BYTES 65536

typedef struct Property
{
	const char *name;
	const char *value;
} Property;

/* Where the user's file may say otherwise. */
static const Property defaults[] = {
	/*
	 * Waiting buys nothing: under load batches form while requests are in
	 * flight, and at 500 records/s even 0.2 ms asked for are 1.3 ms in fact
	 * (against 0.2 ms), since librdkafka waits in whole milliseconds.
	 */
	{"linger.ms", "0"},
	{"reconnect.backoff.ms", "100"},
	{"reconnect.backoff.max.ms", "1000"},
	{"socket.connection.setup.timeout.ms", "10000"},
};

/* What evpub's promises rest on. */
static const Property owned[] = {
	{"enable.idempotence", "true"},
	{"enable.gapless.guarantee", "true"},
	{"acks", "all"},
	{"max.in.flight", "5"},
	/* a record is never given up; only the whole relay is */
	{"message.timeout.ms", "0"},
	/* the documented maximum overflows in librdkafka; this does not */
	{"topic.metadata.propagation.max.ms", "2000000"},
	{"socket.timeout.ms", "10000"},
	{"socket.nagle.disable", "true"},
	{"queue.buffering.max.messages", "32768"},
	/* the largest event that evpub.max_event_bytes lets through, and its frame */
	{"message.max.bytes", "16842752"},
	/* a topic that was published to is never made again by evpub */
	{"allow.auto.create.topics", "false"},
	{"statistics.interval.ms", "0"},
	{"log.queue", "true"},
	{"log.connection.close", "false"},
};

/* Keys that the user's file may set; '*': the value is a secret. */
static const char *const allowed[] = {
	"security.protocol",
	"ssl.cipher.suites", "ssl.curves.list", "ssl.sigalgs.list",
	"ssl.key.location", "*ssl.key.password", "*ssl.key.pem",
	"ssl.certificate.location", "ssl.certificate.pem",
	"ssl.ca.location", "ssl.ca.pem", "ssl.crl.location",
	"ssl.keystore.location", "*ssl.keystore.password",
	"enable.ssl.certificate.verification",
	"ssl.endpoint.identification.algorithm",
	"https.ca.location", "https.ca.pem",
	"sasl.mechanism", "sasl.mechanisms",
	"sasl.username", "*sasl.password",
	"sasl.kerberos.service.name", "sasl.kerberos.principal",
	"sasl.kerberos.keytab", "sasl.kerberos.min.time.before.relogin",
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

static char **secrets;
static size_t secrets_count;

/* Value of a setting in a CONFIG payload, which ends in a NUL. */
static const char *
setting(const char *payload, uint32_t length, const char *name)
{
	uint32_t	at = 0;

	while (at < length)
	{
		const char *key = payload + at;
		const char *value;

		at += (uint32_t) strlen(key) + 1;
		if (at >= length)
			break;
		value = payload + at;
		at += (uint32_t) strlen(value) + 1;
		if (strcmp(key, name) == 0)
			return value;
	}
	relay_fail(EVPUB_FAILURE_RETRY, "the server sent no setting \"%s\"", name);
}

const RelaySettings *
config_parse(const char *payload, uint32_t length)
{
	static RelaySettings settings;
	char	   *copy = relay_realloc(NULL, (size_t) length + 1);

	memcpy(copy, payload, length);
	copy[length] = '\0';

	settings.bootstrap_servers = setting(copy, length, "bootstrap_servers");
	settings.kafka_config_file = setting(copy, length, "kafka_config_file");
	settings.client_id = setting(copy, length, "client_id");
	settings.create_topics =
		strcmp(setting(copy, length, "create_topics"), "on") == 0;
	settings.topic_partitions =
		atoi(setting(copy, length, "topic_partitions"));
	settings.topic_replication_factor =
		atoi(setting(copy, length, "topic_replication_factor"));
	return &settings;
}

/* Sets what evpub itself wants; a refusal means an unsuitable librdkafka. */
static void
set_own(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		why[256];

	if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) != RD_KAFKA_CONF_OK)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "librdkafka %s does not accept %s", rd_kafka_version_str(), name);
}

static void
remember_secret(const char *value)
{
	/* shorter ones would blank out words of ordinary messages */
	if (strlen(value) < 4)
		return;
	secrets = relay_realloc(secrets, (secrets_count + 1) * sizeof(*secrets));
	secrets[secrets_count] = strdup(value);
	if (secrets[secrets_count] != NULL)
		secrets_count++;
}

void
config_redact(char *text)
{
	for (size_t i = 0; i < secrets_count; i++)
	{
		char	   *at = text;

		while ((at = strstr(at, secrets[i])) != NULL)
		{
			size_t		len = strlen(secrets[i]);

			memset(at, '*', len);
			at += len;
		}
	}
}

/* Is this key in the allow-list?  Tells whether its value is a secret. */
static bool
is_allowed(const char *key, bool *secret)
{
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
	{
		*secret = allowed[i][0] == '*';
		if (strcmp(allowed[i] + *secret, key) == 0)
			return true;
	}
	return false;
}

/*
 * librdkafka puts these values into a command line for a shell, so they must
 * not contain anything that a shell takes as more than a word.
 */
static bool
is_plain_word(const char *value)
{
	return strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789._/@:-") == strlen(value);
}

/* A PEM text stands in one line, its line ends written as \n. */
static void
unescape_pem(char *value)
{
	char	   *to = value;

	for (char *from = value; *from != '\0'; from++)
	{
		if (from[0] == '\\' && from[1] == 'n')
		{
			*to++ = '\n';
			from++;
		}
		else
			*to++ = *from;
	}
	*to = '\0';
}

/* Removes white space at both ends. */
static char *
trim(char *text)
{
	char	   *end;

	while (isspace((unsigned char) *text))
		text++;
	end = text + strlen(text);
	while (end > text && isspace((unsigned char) end[-1]))
		end--;
	*end = '\0';
	return text;
}

/* A key is named in messages; keep out what is not a key at all. */
static bool
looks_like_key(const char *key)
{
	return *key != '\0' && strlen(key) <= 64 &&
		strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			   "0123456789._-") == strlen(key);
}

static void
read_line(rd_kafka_conf_t *conf, const char *path, int number, char *line)
{
	char	   *key = trim(line);
	char	   *value;
	char		why[512];
	bool		secret;

	if (*key == '\0' || *key == '#')
		return;
	value = strchr(key, '=');
	if (value == NULL)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "%s line %d: expected key=value", path, number);
	*value++ = '\0';
	key = trim(key);
	value = trim(value);
	if (!looks_like_key(key))
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "%s line %d: not a property name before \"=\"", path, number);
	if (!is_allowed(key, &secret))
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "%s line %d: property \"%s\" is not allowed here", path, number, key);
	if (strncmp(key, "sasl.kerberos.", 14) == 0 && !is_plain_word(value))
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "%s line %d: value of \"%s\" may hold only letters, digits and ._/@:-",
				   path, number, key);
	if (strlen(key) > 4 && strcmp(key + strlen(key) - 4, ".pem") == 0)
		unescape_pem(value);
	if (secret)
		remember_secret(value);

	switch (rd_kafka_conf_set(conf, key, value, why, sizeof(why)))
	{
		case RD_KAFKA_CONF_OK:
			break;
		case RD_KAFKA_CONF_UNKNOWN:
			relay_fail(EVPUB_FAILURE_CONFIG,
					   "%s line %d: librdkafka %s does not know property \"%s\"",
					   path, number, rd_kafka_version_str(), key);
		default:
			relay_fail(EVPUB_FAILURE_CONFIG,
					   "%s line %d: value of \"%s\" is not valid for librdkafka %s",
					   path, number, key, rd_kafka_version_str());
	}
}

static void
read_file(rd_kafka_conf_t *conf, const char *path)
{
	static char line[LINE_MAX_BYTES];
	struct stat st;
	FILE	   *file;
	int			fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) != 0)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "could not open file \"%s\": %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		relay_fail(EVPUB_FAILURE_CONFIG, "\"%s\" is not a regular file", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "file \"%s\" must be owned by the user of the server or by root", path);
	if ((st.st_mode & 077) != 0)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "file \"%s\" must not be accessible to group or others (chmod 0600)",
				   path);
	file = fdopen(fd, "r");
	if (file == NULL)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "could not read file \"%s\": %s", path, strerror(errno));
	for (int number = 1; fgets(line, sizeof(line), file) != NULL; number++)
	{
		if (strchr(line, '\n') == NULL && !feof(file))
			relay_fail(EVPUB_FAILURE_CONFIG, "%s line %d: line is too long",
					   path, number);
		read_line(conf, path, number, line);
	}
	if (ferror(file))
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "could not read file \"%s\": %s", path, strerror(errno));
	fclose(file);
	explicit_bzero(line, sizeof(line));
}

static void
get(const rd_kafka_conf_t *conf, const char *name, char *value, size_t size)
{
	if (rd_kafka_conf_get(conf, name, value, &size) != RD_KAFKA_CONF_OK)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "librdkafka %s does not know %s", rd_kafka_version_str(), name);
}

/* Sets what evpub's promises rest on, and sees that librdkafka took it. */
static void
set_owned(rd_kafka_conf_t *conf)
{
	char		value[64];
	int64_t		kbytes;

	for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
		set_own(conf, owned[i].name, owned[i].value);

	get(conf, "message.max.bytes", value, sizeof(value));
	/* the largest message must fit into the queue, or it would wait for ever */
	kbytes = atoll(value) / 1024 + 1;
	if (kbytes < CONFIG_QUEUE_KBYTES)
		kbytes = CONFIG_QUEUE_KBYTES;
	snprintf(value, sizeof(value), "%lld", (long long) kbytes);
	set_own(conf, "queue.buffering.max.kbytes", value);

	for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
	{
		const char *expected = owned[i].value;

		if (strcmp(expected, "all") == 0)
			expected = "-1";
		get(conf, owned[i].name, value, sizeof(value));
		if (strcmp(value, expected) != 0)
			relay_fail(EVPUB_FAILURE_CONFIG,
					   "librdkafka %s has not accepted %s=%s",
					   rd_kafka_version_str(), owned[i].name, owned[i].value);
	}
}

rd_kafka_conf_t *
config_build(const RelaySettings *settings)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		value[64];

	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		set_own(conf, defaults[i].name, defaults[i].value);
	if (settings->kafka_config_file[0] != '\0')
		read_file(conf, settings->kafka_config_file);
	set_own(conf, "bootstrap.servers", settings->bootstrap_servers);
	set_own(conf, "client.id", settings->client_id);
	set_owned(conf);

	/* events only: none of our code runs in librdkafka's threads */
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR |
							 RD_KAFKA_EVENT_LOG);
	get(conf, "sasl.mechanisms", value, sizeof(value));
	if (strcmp(value, "OAUTHBEARER") == 0)
		rd_kafka_conf_enable_sasl_queue(conf, 1);
	return conf;
}
