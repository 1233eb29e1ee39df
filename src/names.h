/*
 * names.h
 *		Names that are the same everywhere.
 */
#ifndef EVPUB_NAMES_H
#define EVPUB_NAMES_H

/* Name of the schema, the slot, the label provider and the state directory. */
#define EVPUB_NAME "evpub"

/* Name of the schema of the functions that are not for people. */
#define EVPUB_INTERNAL_SCHEMA "evpub_internal"

/* Of a topic's name, with its NUL: Kafka takes no longer one. */
#define EVPUB_TOPIC_LENGTH 250

#endif							/* EVPUB_NAMES_H */
