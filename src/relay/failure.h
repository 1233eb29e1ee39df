/*
 * failure.h
 *		Failed delivery reports: what they say together, and the relay's end.
 */
#ifndef EVPUB_RELAY_FAILURE_H
#define EVPUB_RELAY_FAILURE_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "topics.h"

/* A record that has failed. */
typedef struct FailedRecord
{
	rd_kafka_resp_err_t error;
	const Topic *topic;
	int32_t		partition;
	uint64_t	sequence;
	uint64_t	bytes;			/* about how large it is on the wire */
	const char *id;				/* EVPUB_FRAME_ID_LENGTH bytes, or NULL */
} FailedRecord;

/* Notes one; the relay is to end at failure_due(). */
extern void failure_note(const FailedRecord *record, int64_t now);

/* librdkafka has raised a fatal error; the report that explains it may follow. */
extern void failure_note_fatal(int64_t now);

/* Is anything noted?  Then no further record may be handed to librdkafka. */
extern bool failure_noted(void);

/*
 * When the relay is to end; RELAY_NEVER: nothing is noted.  "unreported": the
 * records in flight that have no report yet; once there are none, nothing is
 * left to wait for.
 */
extern int64_t failure_due(int64_t now, uint64_t unreported);

/* Ends the relay with what was noted. */
extern void failure_end(rd_kafka_t *client) __attribute__((noreturn));

#endif							/* EVPUB_RELAY_FAILURE_H */
