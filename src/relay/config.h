/*
 * config.h
 *		The settings of this relay, and the producer's configuration.
 */
#ifndef EVPUB_RELAY_CONFIG_H
#define EVPUB_RELAY_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "filemark.h"
#include "relaysettings.h"

/* The kinds of EVPUB_RELAY_SETTINGS. */
typedef const char *setting_text;
typedef bool setting_on_off;
typedef int setting_number;

typedef struct RelaySettings
{
#define FIELD(kind, name) setting_##kind name;
	EVPUB_RELAY_SETTINGS(FIELD)
#undef FIELD
} RelaySettings;

/* librdkafka's queue, and with it most of this process's memory. */
#define CONFIG_QUEUE_KBYTES 16384
#define CONFIG_QUEUE_MESSAGES 32768

/* What a CONFIG frame says; the result stays valid for good. */
extern const RelaySettings *config_parse(const char *payload, uint32_t length);

/*
 * The producer's configuration: evpub's defaults, then the user's file, then
 * what evpub's promises need.  Ends the relay when something is not allowed.
 */
extern rd_kafka_conf_t *config_build(const RelaySettings *settings);

/* A file that the user's file names. */
typedef struct ConfigFile
{
	char	   *key;			/* the property */
	char	   *path;
	char		mark[EVPUB_FILEMARK_MAX];	/* as evpub_filemark() gives it */
} ConfigFile;

#define CONFIG_FILES_MAX 16

extern const ConfigFile *config_files(int *count);

/*
 * The file that librdkafka's text is about, when it begins with the property
 * that names it; else NULL.
 */
extern const char *config_file_of(const char *text);

/* Blanks secrets of the user's file out of a text from librdkafka. */
extern void config_redact(char *text);

#endif							/* EVPUB_RELAY_CONFIG_H */
