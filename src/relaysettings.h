/*
 * relaysettings.h
 *		What the worker starts a relay with: the settings of a CONFIG frame.
 *
 * This list is all there is of them.  The worker sends each by its name, with
 * the value of the variable evpub_<name>; the relay reads each into the field of
 * its name in RelaySettings.  Plain C, as frame.h, which says how they are sent.
 *
 * setting(kind, name), where "kind" is text, on_off ("on", "off") or number.
 */
#ifndef EVPUB_RELAYSETTINGS_H
#define EVPUB_RELAYSETTINGS_H

#define EVPUB_RELAY_SETTINGS(setting) \
	setting(text, bootstrap_servers) \
	setting(text, kafka_config_file)			/* a path; "": none */ \
	setting(on_off, create_topics) \
	setting(number, topic_partitions)			/* -1: the broker's default */ \
	setting(number, topic_replication_factor)	/* -1: the broker's default */ \
	setting(text, client_id)

#endif							/* EVPUB_RELAYSETTINGS_H */
