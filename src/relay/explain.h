/*
 * explain.h
 *		From librdkafka's text about a connection to a reason and a hint.
 */
#ifndef EVPUB_RELAY_EXPLAIN_H
#define EVPUB_RELAY_EXPLAIN_H

#include <stdbool.h>

#include <librdkafka/rdkafka.h>

typedef struct Explanation
{
	char		cause[512];		/* "" none */
	const char *hint;			/* what to do, or "" */
	bool		refused;		/* a broker was reached, and it or we refused */

	/* the broker, if the cluster gave its address; "": one of the settings */
	char		broker[256];
} Explanation;

/*
 * Looks at the settings that reasons depend on, and asks for TLS's errors.
 * space_after_secret: a secret ends with white space, which may be a mistake.
 */
extern void explain_start(rd_kafka_conf_t *conf, bool space_after_secret);

/*
 * text: of an error event.  answered: some broker has answered before, so the
 * settings cannot be quite wrong.
 */
extern void explain_text(const char *text, bool answered, Explanation *result);

/* A request was not answered in time. */
extern void explain_timeout(Explanation *result);

#endif							/* EVPUB_RELAY_EXPLAIN_H */
