/*
 * kafkafiles.h
 *		The files that the Kafka settings name: certificates, keys, keytabs.
 */
#ifndef EVPUB_KAFKAFILES_H
#define EVPUB_KAFKAFILES_H

#include "sender/relayclient.h"

typedef struct EvpubKafkaFiles
{
	char	   *pairs;			/* path and mark, each with its NUL; or NULL */
	Size		length;
} EvpubKafkaFiles;

/* Take what a HELLO frame holds behind librdkafka's version; false: malformed. */
extern bool evpub_kafka_files_take(EvpubKafkaFiles *files, const EvpubFrame *frame);

/* Is one of them another file than the relay has read? */
extern bool evpub_kafka_files_changed(const EvpubKafkaFiles *files);

#endif							/* EVPUB_KAFKAFILES_H */
