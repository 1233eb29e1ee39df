/*
 * lookup.h
 *		Questions to the cluster, one at a time, in a thread of their own.
 */
#ifndef EVPUB_RELAY_LOOKUP_H
#define EVPUB_RELAY_LOOKUP_H

#include <stdbool.h>

#include <librdkafka/rdkafka.h>

typedef enum LookupKind
{
	LOOKUP_METADATA,			/* of one topic, or of all that have a handle */
	LOOKUP_CREATE,				/* create topics */
	LOOKUP_AUTO_CREATE			/* have a broker without CreateTopics create it */
} LookupKind;

/* Topics of one question, at most. */
#define LOOKUP_TOPICS 500

typedef struct LookupResult
{
	rd_kafka_resp_err_t error;
	char		text[256];
} LookupResult;

typedef struct Lookup
{
	/* the question */
	LookupKind	kind;
	rd_kafka_topic_t *topics[LOOKUP_TOPICS];
	int			count;			/* METADATA: 0: is anyone there? more than one:
								 * the answer has others, too */
	int			partitions;
	int			replication_factor;

	/* the answer */
	rd_kafka_resp_err_t error;	/* of the request as a whole */
	char		text[256];		/* what error says, or "" */
	LookupResult results[LOOKUP_TOPICS];	/* CREATE: by topic, if error is none */
	const struct rd_kafka_metadata *metadata;	/* owned by the asker, or NULL */
} Lookup;

/*
 * Starts the thread.  conf is kept: LOOKUP_AUTO_CREATE makes a client from it.
 */
extern void lookup_start(rd_kafka_t *client, rd_kafka_conf_t *conf);

/* Readable when an answer is there. */
extern int	lookup_fd(void);

/* May lookup_ask() be called? */
extern bool lookup_idle(void);

/* Asks; the Lookup is the thread's until lookup_answered(). */
extern void lookup_ask(Lookup *lookup);

/* True once for each question, when its answer is there. */
extern bool lookup_answered(void);

#endif							/* EVPUB_RELAY_LOOKUP_H */
