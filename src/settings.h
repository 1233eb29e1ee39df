/*
 * settings.h
 *		The extension's configuration parameters (evpub.*).
 */
#ifndef EVPUB_SETTINGS_H
#define EVPUB_SETTINGS_H

/* evpub.delivery; only at_least_once is there yet. */
typedef enum EvpubDelivery
{
	EVPUB_AT_LEAST_ONCE
} EvpubDelivery;

/* for the publisher and the relay; changed by a reload */
extern char *evpub_bootstrap_servers;
extern char *evpub_kafka_config_file;
extern bool evpub_create_topics;
extern int	evpub_topic_partitions; /* -1: the broker's default */
extern int	evpub_topic_replication_factor; /* -1: the broker's default */
extern int	evpub_delivery;
extern int	evpub_decode_memory;	/* kB */
extern char *evpub_relay_program;	/* "": beside the server's own programs */

/* for capture; superuser */
extern char *evpub_default_topic;	/* template */
extern uint32 evpub_default_topic_generation;	/* moves when it is set */
extern int	evpub_max_event_bytes;	/* bytes */

extern void evpub_define_settings(void);

#endif							/* EVPUB_SETTINGS_H */
