/*
 * survey.h
 *		What the cluster knows of topics: asks for them, and has missing ones
 *		created.
 */
#ifndef EVPUB_RELAY_SURVEY_H
#define EVPUB_RELAY_SURVEY_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "config.h"
#include "topics.h"

extern void survey_start(rd_kafka_t *client, const RelaySettings *settings);

/*
 * Takes answers and asks the next question.  "head": the topic that the next
 * record waits for, or NULL.  "stuck": records are not acknowledged, so look
 * at their topics.  Returns when it wants to be called again.
 */
extern int64_t survey_work(int64_t now, const Topic *head, bool stuck);

/*
 * A topic that was there when records of it were produced, and is not there
 * now; NULL if there is none.
 */
extern const Topic *survey_vanished(void);

#endif							/* EVPUB_RELAY_SURVEY_H */
