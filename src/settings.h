/*
 * settings.h
 *		Values of the extension's configuration parameters (evpub.*).
 */
#ifndef EVPUB_SETTINGS_H
#define EVPUB_SETTINGS_H

#include "postgres.h"

/* evpub.delivery */
typedef enum EvpubDelivery
{
	EVPUB_AT_LEAST_ONCE,
	EVPUB_DEDUPLICATED
} EvpubDelivery;

/* evpub.on_error: what becomes of an event that Kafka refuses alone */
typedef enum EvpubOnError
{
	EVPUB_ON_ERROR_BLOCK,
	EVPUB_ON_ERROR_DEAD_LETTER	/* it goes to evpub.dead_letter_topic */
} EvpubOnError;

/* for the publisher and the relay; changed by a reload */
extern char *evpub_bootstrap_servers;
extern char *evpub_kafka_config_file;
extern bool evpub_create_topics;
extern int	evpub_topic_partitions; /* -1: the broker's default */
extern int	evpub_topic_replication_factor; /* -1: the broker's default */
extern int	evpub_delivery;
extern int	evpub_on_error;
extern char *evpub_dead_letter_topic;	/* "": none */
extern int	evpub_linger;		/* ms */
extern int	evpub_decode_memory;	/* kB */
extern int	evpub_max_lag_size; /* MB; -1: no limit */
extern char *evpub_min_disk_free;	/* percentage or size */
extern char *evpub_relay_program;	/* "": beside the server's own programs */

/* for capture; superuser */
extern char *evpub_default_topic;	/* template */
extern uint32 evpub_default_topic_generation;	/* moves when it is set */
/*
 * The largest value of evpub.max_event_bytes.  An event travels in one WAL record
 * and one Kafka message, and the publisher holds several at a time within
 * evpub.decode_memory.
 */
#define EVPUB_MAX_EVENT_BYTES (16 * 1024 * 1024)
extern int	evpub_max_event_bytes;	/* bytes */

/* for capture; superuser */
extern bool evpub_capture_enabled;
extern char *evpub_allowed_topics;	/* regular expression */

extern int	evpub_collapse_memory;	/* kB; changed by a reload */

/* for capture; anybody */
extern char *evpub_extra_headers;	/* JSON object, or empty */
extern uint32 evpub_extra_headers_generation;	/* moves when it is set */

/*
 * What evpub.min_disk_free may be: a percentage, or a size with a unit; without
 * one, MB.  True if it is either; of the two results one is set, and the other is 0.
 */
extern bool evpub_disk_free_parse(const char *text, double *percent, uint64 *bytes);

/* Bytes that evpub.min_disk_free means on a file system of that size. */
extern uint64 evpub_min_disk_free_bytes(uint64 total);

#endif							/* EVPUB_SETTINGS_H */
