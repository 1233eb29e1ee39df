/*
 * config.c
 *		The settings of this relay, and the producer's configuration.
 *
 * The user's file passes the allow-list of properties.c.  What evpub's
 * promises rest on is set last and read back.
 *
 * White space before and behind a key and before a value means nothing, as in
 * the property files of Java.  Behind a value it belongs to a secret, as there;
 * everywhere else it can only be a mistake, and is refused.
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
#include "explain.h"
#include "filemark.h"
#include "properties.h"
#include "relay.h"

#define LINE_MAX_BYTES 65536

/* A number of a macro as text. */
#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number

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
	{"queue.buffering.max.messages", TEXT(CONFIG_QUEUE_MESSAGES)},
	/* the largest event that evpub.max_event_bytes lets through, and its frame */
	{"message.max.bytes", "16842752"},
	/* a topic that was published to is never made again by evpub */
	{"allow.auto.create.topics", "false"},
	{"statistics.interval.ms", "0"},
	{"log.queue", "true"},
	/* or a listener that wants TLS would only be a time-out */
	{"log.connection.close", "true"},
};

/* Files that the user's file names, and what they were like when read. */
static ConfigFile files[CONFIG_FILES_MAX];
static int	files_count;

static char **secrets;
static size_t secrets_count;
static bool space_after_secret;

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

static setting_text
read_text(const char *value)
{
	return value;
}

static setting_on_off
read_on_off(const char *value)
{
	return strcmp(value, "on") == 0;
}

static setting_number
read_number(const char *value)
{
	return atoi(value);
}

const RelaySettings *
config_parse(const char *payload, uint32_t length)
{
	static RelaySettings settings;
	char	   *copy = relay_realloc(NULL, (size_t) length + 1);

	memcpy(copy, payload, length);
	copy[length] = '\0';

#define READ(kind, name) settings.name = read_##kind(setting(copy, length, #name));
	EVPUB_RELAY_SETTINGS(READ)
#undef READ
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

/*
 * A file that a property names must be readable: librdkafka's own message
 * would not say which one is not.  What it is like now, before librdkafka reads
 * it, is remembered; so a change after this is always seen.
 */
static void
note_file(const char *path, int number, const char *key, const char *value)
{
	ConfigFile *file = &files[files_count];

	/* a word of librdkafka's: the system's usual places */
	if (value[0] == '\0' || strcmp(value, "probe") == 0)
		return;
	if (access(value, R_OK) != 0)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "%s line %d: could not read file \"%s\" of \"%s\": %s\n"
				   "The file must be readable by the user of the server; then: SELECT pg_reload_conf();",
				   path, number, value, key, strerror(errno));
	if (files_count == CONFIG_FILES_MAX)
		return;
	file->key = strdup(key);
	file->path = strdup(value);
	evpub_filemark(value, file->mark, sizeof(file->mark));
	if (file->key != NULL && file->path != NULL)
		files_count++;
}

const ConfigFile *
config_files(int *count)
{
	*count = files_count;
	return files;
}

const char *
config_file_of(const char *text)
{
	for (int i = 0; i < files_count; i++)
	{
		size_t		len = strlen(files[i].key);

		if (strncmp(text, files[i].key, len) == 0 && text[len] == ' ')
			return files[i].path;
	}
	return NULL;
}

static void
set_property(rd_kafka_conf_t *conf, const char *path, int number,
			 const char *key, const char *value)
{
	char		why[512];

	switch (rd_kafka_conf_set(conf, key, value, why, sizeof(why)))
	{
		case RD_KAFKA_CONF_OK:
			break;
		case RD_KAFKA_CONF_UNKNOWN:
			relay_fail(EVPUB_FAILURE_CONFIG,
					   "%s line %d: librdkafka %s does not know property \"%s\"\n"
					   "Remove the line, or use a librdkafka that has this property, then: SELECT pg_reload_conf();",
					   path, number, rd_kafka_version_str(), key);
		default:
			relay_fail(EVPUB_FAILURE_CONFIG,
					   "%s line %d: value of \"%s\" is not valid for librdkafka %s%s",
					   path, number, key, rd_kafka_version_str(),
					   strcmp(key, "sasl.oauthbearer.method") == 0 ?
					   "\nThe value is oidc, which needs a librdkafka that was built with libcurl. Debian 12 has none, Debian 13 has." : "");
	}
}

/* Cuts the end of a line off, as Unix or Windows write it. */
static void
cut_line_end(char *line)
{
	size_t		len = strlen(line);

	if (len > 0 && line[len - 1] == '\n')
		line[--len] = '\0';
	if (len > 0 && line[len - 1] == '\r')
		line[len - 1] = '\0';
}

static void
read_line(rd_kafka_conf_t *conf, const char *path, int number, char *line)
{
	char	   *key = line + strspn(line, " \t\f");
	char	   *value;
	bool		secret;

	cut_line_end(key);
	if (*key == '\0' || *key == '#')
		return;
	value = strchr(key, '=');
	if (value == NULL && *trim(key) == '\0')
		return;
	if (value == NULL)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "%s line %d: expected key=value", path, number);
	*value++ = '\0';
	key = trim(key);
	value += strspn(value, " \t\f");
	if (!looks_like_key(key))
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "%s line %d: not a property name before \"=\"", path, number);
	if (!properties_allowed(key, &secret))
	{
		char		why[512];

		properties_explain(conf, key, why, sizeof(why));
		relay_fail(EVPUB_FAILURE_CONFIG, "%s line %d: %s", path, number, why);
	}
	if (*value != '\0' && isspace((unsigned char) value[strlen(value) - 1]))
	{
		if (!secret)
			relay_fail(EVPUB_FAILURE_CONFIG,
					   "%s line %d: value of \"%s\" ends with white space\n"
					   "Remove the white space at the end of the line, then: SELECT pg_reload_conf();",
					   path, number, key);
		space_after_secret = true;
	}
	if (strncmp(key, "sasl.kerberos.", 14) == 0 && !is_plain_word(value))
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "%s line %d: value of \"%s\" may hold only letters, digits and ._/@:-",
				   path, number, key);
	if (strlen(key) > 4 && strcmp(key + strlen(key) - 4, ".pem") == 0)
		unescape_pem(value);
	if (secret)
		remember_secret(value);
	if (properties_is_path(key))
		note_file(path, number, key, value);
	set_property(conf, path, number, key, value);
}

/* Windows' editors put a mark before the text, which is no part of a name. */
static void
refuse_byte_order_mark(const char *path, const char *line)
{
	if (strncmp(line, "\xef\xbb\xbf", 3) == 0 ||
		strncmp(line, "\xff\xfe", 2) == 0 || strncmp(line, "\xfe\xff", 2) == 0)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "%s line 1: the file begins with a byte order mark\n"
				   "Save the file as UTF-8 without a byte order mark (BOM), then: SELECT pg_reload_conf();", path);
}

/* Is this a group in which the server's user is? */
static bool
own_group(gid_t group)
{
	int			count = getgroups(0, NULL);
	gid_t	   *groups;
	bool		found = group == getegid();

	if (found || count <= 0)
		return found;
	groups = relay_realloc(NULL, (size_t) count * sizeof(*groups));
	count = getgroups(count, groups);
	for (int i = 0; i < count; i++)
		found |= groups[i] == group;
	free(groups);
	return found;
}

/*
 * Nobody but the server may read the file, and nobody but its owner write it.  A
 * group of the server's may read it, since secrets reach a container, and
 * Debian's ssl-cert a machine, as files of root's with such a group.
 */
static void
check_access(const char *path, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		relay_fail(EVPUB_FAILURE_CONFIG, "\"%s\" is not a regular file", path);
	if (st->st_uid != 0 && st->st_uid != geteuid())
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "file \"%s\" must be owned by the user of the server or by root", path);
	if ((st->st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) != 0)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "file \"%s\" must not be accessible to others, and only readable by its group (chmod 0640 or 0600)",
				   path);
	if ((st->st_mode & S_IRGRP) != 0 && !own_group(st->st_gid))
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "file \"%s\" must not be accessible to group %ld, in which the server's user is not (chmod 0600)",
				   path, (long) st->st_gid);
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
	check_access(path, &st);
	file = fdopen(fd, "r");
	if (file == NULL)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "could not read file \"%s\": %s", path, strerror(errno));
	for (int number = 1; fgets(line, sizeof(line), file) != NULL; number++)
	{
		if (number == 1)
			refuse_byte_order_mark(path, line);
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

/* librdkafka takes no white space behind a server's name. */
static void
set_servers(rd_kafka_conf_t *conf, const char *servers)
{
	char	   *packed = relay_realloc(NULL, strlen(servers) + 1);
	char	   *to = packed;

	for (const char *from = servers; *from != '\0'; from++)
	{
		if (!isspace((unsigned char) *from))
			*to++ = *from;
	}
	*to = '\0';
	set_own(conf, "bootstrap.servers", packed);
	free(packed);
}

/*
 * Tokens come from librdkafka's own client of a token endpoint, or from nowhere:
 * with another method librdkafka would wait for ever for a program that hands it
 * one, and the connection would only be a time-out.
 */
static void
use_tokens(rd_kafka_conf_t *conf)
{
	char		method[64];

	get(conf, "sasl.oauthbearer.method", method, sizeof(method));
	if (strcmp(method, "oidc") != 0)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "sasl.mechanism OAUTHBEARER gets no token without sasl.oauthbearer.method=oidc\n"
				   "Set sasl.oauthbearer.method, token.endpoint.url, client.id and client.secret in evpub.kafka_config_file, then: SELECT pg_reload_conf();");
	rd_kafka_conf_enable_sasl_queue(conf, 1);
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
	set_servers(conf, settings->bootstrap_servers);
	set_own(conf, "client.id", settings->client_id);
	set_owned(conf);

	/* events only: little of our code runs in librdkafka's threads (explain.c) */
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR |
							 RD_KAFKA_EVENT_LOG);
	explain_start(conf, space_after_secret);
	get(conf, "sasl.mechanisms", value, sizeof(value));
	if (strcmp(value, "OAUTHBEARER") == 0)
		use_tokens(conf);
	return conf;
}
