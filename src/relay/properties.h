/*
 * properties.h
 *		Which properties the user's file may set.
 */
#ifndef EVPUB_RELAY_PROPERTIES_H
#define EVPUB_RELAY_PROPERTIES_H

#include <stdbool.h>
#include <stddef.h>

#include <librdkafka/rdkafka.h>

/* Is this key in the allow-list?  *secret: its value is a secret. */
extern bool properties_allowed(const char *key, bool *secret);

/* Is the value the path of a file that is read when connecting? */
extern bool properties_is_path(const char *key);

/*
 * Why a key that is not allowed is refused, and what to do: a reason and, after
 * a line feed, a hint.  conf: any configuration of this librdkafka.
 */
extern void properties_explain(const rd_kafka_conf_t *conf, const char *key,
							   char *text, size_t size);

#endif							/* EVPUB_RELAY_PROPERTIES_H */
