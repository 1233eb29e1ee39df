/*
 * failurefile.h
 *		The newest failures of publishing, for people: view evpub.failures.
 */
#ifndef EVPUB_FAILUREFILE_H
#define EVPUB_FAILUREFILE_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "event/event.h"
#include "position/checkedfile.h"
#include "position/statefile.h"
#include "shmem.h"

#define EVPUB_FAILURE_FILE EVPUB_STATE_DIRECTORY "/failures"

/* So many are kept. */
#define EVPUB_FAILURES_KEPT 100

/* What has failed. */
typedef enum EvpubFailureKind
{
	EVPUB_FAILED_REFUSED = 'r', /* Kafka refuses an event for what it is */
	EVPUB_FAILED_KAFKA = 'k',	/* brokers, connections, rights */
	EVPUB_FAILED_TOPIC = 't',	/* was deleted and made again */
	EVPUB_FAILED_SETTINGS = 'c',
	EVPUB_FAILED_RELAY = 'p',	/* its process */
	EVPUB_FAILED_SERVER = 's',	/* WAL, disk, memory */
	EVPUB_FAILED_GAP = 'g',
	EVPUB_FAILED_FENCED = 'x'
} EvpubFailureKind;

/* What was done about it. */
typedef enum EvpubFailureDone
{
	EVPUB_DONE_RETRIED = 'r',
	EVPUB_DONE_BLOCKED = 'b',	/* nothing goes on before a person acts, or a topic takes it */
	EVPUB_DONE_SKIPPED = 's',
	EVPUB_DONE_DEAD_LETTERED = 'd',
	EVPUB_DONE_RELAY_RESTARTED = 'p',
	EVPUB_DONE_WORKER_RESTARTED = 'w',
	EVPUB_DONE_GIVEN_UP = 'g'	/* with all that was not published */
} EvpubFailureDone;

/* One failure, which may have come several times.  Texts are ASCII. */
typedef struct EvpubFailure
{
	TimestampTz first_at;
	TimestampTz last_at;
	int64		count;
	int32		partition;		/* -1: none */
	int32		code;			/* Kafka's; 0: none */
	char		kind;			/* EvpubFailureKind */
	char		done;			/* EvpubFailureDone */
	char		topic[EVPUB_TOPIC_LENGTH];	/* "" none */
	char		id[EVPUB_ID_LENGTH + 1];	/* of an event; "" none */
	char		text[EVPUB_TEXT_LENGTH];
} EvpubFailure;

typedef struct EvpubFailures
{
	int			count;
	EvpubFailure list[EVPUB_FAILURES_KEPT]; /* the newest first */
} EvpubFailures;

/* The names that users see; NULL: there is no such one. */
extern const char *evpub_failure_kind(char kind);
extern const char *evpub_failure_done(char done);

/*
 * Read the file.  The list is empty unless it was found; *problem says what is wrong
 * with one that cannot be used.
 */
extern EvpubCheckedfile evpub_failurefile_read(EvpubFailures *failures, char **problem);

/* Replace the file, durably; ERROR if it cannot be written. */
extern void evpub_failurefile_write(const EvpubFailures *failures);

#endif							/* EVPUB_FAILUREFILE_H */
