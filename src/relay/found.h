/*
 * found.h
 *		Evpub's own records among those that are read back of a partition.
 */
#ifndef EVPUB_RELAY_FOUND_H
#define EVPUB_RELAY_FOUND_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "frame.h"

/* What was found in one partition: the body of a FOUND frame.  {0}: nothing. */
typedef struct Found
{
	EvpubFrameFoundId *ids;
	uint32_t	count;
	uint32_t	size;
} Found;

/* An ORIGIN frame; before anything is read.  Ends the relay when it makes no sense. */
extern void found_start(const char *payload, uint32_t length);

/* Takes in a record that was read, whoever has written it. */
extern void found_take(Found *found, rd_kafka_message_t *message);

/* Leave out events up to this one in the order of publishing. */
extern void found_leave_out(Found *found, const char *id);

extern void found_free(Found *found);

#endif							/* EVPUB_RELAY_FOUND_H */
