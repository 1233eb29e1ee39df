/*
 * parameters.c
 *		Defining the extension's configuration parameters (evpub.*), and what
 *		they may be set to.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "brokers.h"
#include "capture/headers.h"
#include "capture/template.h"
#include "parameters.h"
#include "settings.h"
#include "shmem.h"

static const struct config_enum_entry delivery_options[] = {
	{"at_least_once", EVPUB_AT_LEAST_ONCE, false},
	{"deduplicated", EVPUB_DEDUPLICATED, false},
	{NULL, 0, false}
};

static const struct config_enum_entry on_error_options[] = {
	{"block", EVPUB_ON_ERROR_BLOCK, false},
	{"dead_letter", EVPUB_ON_ERROR_DEAD_LETTER, false},
	{NULL, 0, false}
};

/* -1 leaves the choice to the broker, or is no limit; 0 makes no sense. */
static bool
check_count(int *newval, void **extra, GucSource source)
{
	(void) extra;
	(void) source;

	if (*newval == 0)
	{
		GUC_check_errdetail("The value must be -1 or at least 1.");
		return false;
	}
	return true;
}

/* A relative path would be one in the data directory. */
static bool
check_relay_program(char **newval, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if ((*newval)[0] == '\0' || is_absolute_path(*newval))
		return true;
	GUC_check_errdetail("The path must be absolute.");
	return false;
}

static bool
check_default_topic(char **newval, void **extra, GucSource source)
{
	char	   *detail;

	(void) extra;
	(void) source;

	if (!evpub_template_check(*newval, EVPUB_TEMPLATE_TOPIC, &detail))
	{
		GUC_check_errdetail("%s", detail);
		return false;
	}
	return true;
}

/* Compiled capture settings that hold the topic are compiled again. */
static void
assign_default_topic(const char *newval, void *extra)
{
	(void) newval;
	(void) extra;

	evpub_default_topic_generation++;
}

/* Empty, or a name as Kafka takes it. */
static bool
check_dead_letter_topic(char **newval, void **extra, GucSource source)
{
	const char *name = *newval;

	(void) extra;
	(void) source;

	if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == strlen(name) &&
		strlen(name) < EVPUB_TOPIC_LENGTH &&
		strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
		return true;
	GUC_check_errdetail("The name of a topic has at most %d letters, digits, dots, underscores and dashes.",
						EVPUB_TOPIC_LENGTH - 1);
	return false;
}

static bool
check_allowed_topics(char **newval, void **extra, GucSource source)
{
	char	   *detail;

	(void) extra;
	(void) source;

	if (!evpub_topic_pattern_check(*newval, &detail))
	{
		GUC_check_errdetail("The regular expression is invalid: %s.", detail);
		return false;
	}
	return true;
}

/* No other character, neither written nor as a JSON escape. */
static bool
is_plain_ascii(const char *text)
{
	for (const char *c = text; *c; c++)
	{
		if (IS_HIGHBIT_SET(*c))
			return false;
		if (c[0] != '\\' || c[1] == '\0')
			continue;
		if (c[1] == 'u' &&
			!(strncmp(c + 2, "00", 2) == 0 && c[4] >= '0' && c[4] <= '7'))
			return false;
		c++;
	}
	return true;
}

static bool
check_extra_headers(char **newval, void **extra, GucSource source)
{
	char	   *detail;

	(void) extra;

	/*
	 * A file is read by processes of no database, in which an escape such as
	 * \u00e9 means nothing, and by those of databases of different encodings.
	 * ALTER SYSTEM checks with the same source, so it refuses what would keep
	 * the server from starting.
	 */
	if (source == PGC_S_FILE && !is_plain_ascii(*newval))
	{
		GUC_check_errdetail("In ALTER SYSTEM and configuration files the value must be ASCII, without escapes (\\u) of other characters.");
		return false;
	}
	if (!evpub_headers_check(*newval, &detail))
	{
		GUC_check_errdetail("%s", detail);
		return false;
	}
	return true;
}

static void
assign_extra_headers(const char *newval, void *extra)
{
	(void) newval;
	(void) extra;

	evpub_extra_headers_generation++;
}

/*
 * The brokers, as Kafka's clients take them: host, host:port or [IPv6]:port,
 * with commas between; a missing port is 9092.  Here is said what a client
 * would only warn of in its own log.
 */
static bool
check_bootstrap_servers(char **newval, void **extra, GucSource source)
{
	const char *hint = NULL;
	char	   *bad = NULL;

	(void) extra;
	(void) source;

	if (evpub_brokers_check(*newval, &bad, &hint))
		return true;
	GUC_check_errdetail("\"%s\" is not the address of a broker.", bad);
	GUC_check_errhint("%s", hint);
	return false;
}

static bool
check_min_disk_free(char **newval, void **extra, GucSource source)
{
	double		percent;
	uint64		bytes;

	(void) extra;
	(void) source;

	if (!evpub_disk_free_parse(*newval, &percent, &bytes))
	{
		GUC_check_errdetail("The value must be a percentage (\"5%%\"), a size (\"10GB\"), or -1.");
		return false;
	}
	return true;
}

static void
define_limits(void)
{
	DefineCustomIntVariable("evpub.max_lag_size",
							"Sets how much WAL may be kept for publishing.",
							"Beyond it the backlog is given up, and the state is \"gap\"; -1: no limit.",
							&evpub_max_lag_size, -1, -1, MAX_KILOBYTES,
							PGC_SIGHUP, GUC_UNIT_MB,
							check_count, NULL, NULL);
	DefineCustomStringVariable("evpub.min_disk_free",
							   "Sets how much of the file system of pg_wal must stay free.",
							   "Below it the backlog is given up, and the state is \"gap\"; a percentage, a size, or -1.",
							   &evpub_min_disk_free, "5%",
							   PGC_SIGHUP, 0,
							   check_min_disk_free, NULL, NULL);
}

static void
define_error_settings(void)
{
	DefineCustomEnumVariable("evpub.on_error",
							 "Sets what becomes of an event that Kafka refuses for what it is.",
							 "\"block\": nothing behind it is published; \"dead_letter\": it goes to evpub.dead_letter_topic.",
							 &evpub_on_error, EVPUB_ON_ERROR_BLOCK, on_error_options,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("evpub.dead_letter_topic",
							   "Sets the topic for events that Kafka refuses.",
							   "Only with evpub.on_error = dead_letter.",
							   &evpub_dead_letter_topic, "",
							   PGC_SIGHUP, 0,
							   check_dead_letter_topic, NULL, NULL);
}

static void
define_publisher_settings(void)
{
	DefineCustomStringVariable("evpub.bootstrap_servers",
							   "Sets the Kafka brokers to publish to.",
							   "A comma-separated list of host:port (without a port: 9092); nothing is published while it is empty.",
							   &evpub_bootstrap_servers, "",
							   PGC_SIGHUP, GUC_LIST_INPUT,
							   check_bootstrap_servers, NULL, NULL);
	DefineCustomStringVariable("evpub.kafka_config_file",
							   "Sets the file with librdkafka properties (TLS, SASL, tuning).",
							   "The file must not be readable by others.",
							   &evpub_kafka_config_file, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomBoolVariable("evpub.create_topics",
							 "Creates a missing topic that was never published to.",
							 NULL,
							 &evpub_create_topics, true,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("evpub.topic_partitions",
							"Sets the number of partitions of a topic that is created.",
							"-1 uses the broker's default.",
							&evpub_topic_partitions, -1, -1, 100000,
							PGC_SIGHUP, 0,
							check_count, NULL, NULL);
	DefineCustomIntVariable("evpub.topic_replication_factor",
							"Sets the replication factor of a topic that is created.",
							"-1 uses the broker's default.",
							&evpub_topic_replication_factor, -1, -1, SHRT_MAX,
							PGC_SIGHUP, 0,
							check_count, NULL, NULL);
	DefineCustomEnumVariable("evpub.delivery",
							 "Sets how often an event may reach Kafka.",
							 "\"deduplicated\": a new relay reads back what its predecessor got into Kafka, and does not send it again; \"at_least_once\": it sends again what was not acknowledged.",
							 &evpub_delivery, EVPUB_DEDUPLICATED, delivery_options,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("evpub.linger",
							"Sets how long committed transactions may be collected when many come.",
							"Below 1,000 transactions a second, and while there is a backlog, none waits.",
							&evpub_linger, 40, 0, 100,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("evpub.decode_memory",
							"Sets the memory for events of transactions that are being read.",
							"Beyond it, events are read from WAL again when their transaction commits.",
							&evpub_decode_memory, 16 * 1024, 64, 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomStringVariable("evpub.relay_program",
							   "Sets the program that talks to Kafka.",
							   "Empty: evpub-relay, beside the server's own programs or the library.",
							   &evpub_relay_program, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE,
							   check_relay_program, NULL, NULL);
}

static void
define_capture_settings(void)
{
	DefineCustomStringVariable("evpub.default_topic",
							   "Sets the topic of events for which none is given.",
							   "A template, such as {database}-events.",
							   &evpub_default_topic, "{database}-events",
							   PGC_SUSET, 0,
							   check_default_topic, assign_default_topic, NULL);
	DefineCustomIntVariable("evpub.collapse_memory",
							"Sets the memory in which events of one row wait to become one.",
							"A transaction with more events has more of them published.",
							&evpub_collapse_memory, 4 * 1024, 64, MAX_KILOBYTES,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomStringVariable("evpub.allowed_topics",
							   "Sets which topics events may go to.",
							   "A regular expression that the whole name of each topic must match.",
							   &evpub_allowed_topics, ".*",
							   PGC_SUSET, 0,
							   check_allowed_topics, assign_default_topic, NULL);
	DefineCustomBoolVariable("evpub.capture",
							 "Makes events of changes.",
							 "Off, this session's changes are not published; for repairs.",
							 &evpub_capture_enabled, true,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("evpub.extra_headers",
							   "Sets Kafka headers for the events of this session.",
							   "A JSON object whose values are strings.",
							   &evpub_extra_headers, "",
							   PGC_USERSET, 0,
							   check_extra_headers, assign_extra_headers, NULL);
	DefineCustomIntVariable("evpub.max_event_bytes",
							"Sets the size of the largest event (key, value and headers).",
							"A statement that makes a larger event fails.",
							&evpub_max_event_bytes, 900 * 1024, 1024, EVPUB_MAX_EVENT_BYTES,
							PGC_SUSET, GUC_UNIT_BYTE,
							NULL, NULL, NULL);
}

void
evpub_parameters_define(void)
{
	define_publisher_settings();
	define_error_settings();
	define_limits();
	define_capture_settings();
	MarkGUCPrefixReserved("evpub");
}
