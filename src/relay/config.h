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

typedef struct RelaySettings
{
	const char *bootstrap_servers;
	const char *kafka_config_file;	/* "": none */
	const char *client_id;
	bool		create_topics;
	int			topic_partitions;	/* -1: the broker's default */
	int			topic_replication_factor;	/* -1: the broker's default */
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
	char		mark[EVPUB_FILEMARK_MAX];	/* as evpub_filemark() tells */
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
