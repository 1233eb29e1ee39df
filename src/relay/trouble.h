/*
 * trouble.h
 *		What hinders publishing right now, reported to the worker in words.
 */
#ifndef EVPUB_RELAY_TROUBLE_H
#define EVPUB_RELAY_TROUBLE_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

/* servers: for the texts; must stay valid. */
extern void trouble_start(const char *servers);

/* An error event of librdkafka that is not fatal. */
extern void trouble_event(rd_kafka_resp_err_t error, const char *text);

/* A line that librdkafka logs. */
extern void trouble_log(rd_kafka_event_t *event);

/* A question to the cluster was not answered. */
extern void trouble_no_answer(rd_kafka_resp_err_t error, const char *text);

/*
 * A question was answered, but the answer names no brokers: what leads to them
 * has to be found anew, as when nobody answers.
 */
extern void trouble_no_brokers(void);

/* A broker has answered. */
extern void trouble_brokers_answer(void);

/* A record was acknowledged. */
extern void trouble_acknowledged(void);

/*
 * The cluster says that a partition whose records wait has less replicas in
 * sync than it should have.
 */
extern void trouble_replicas(const char *topic, int32_t partition,
							 int in_sync, int all);

/* The cluster says that a partition whose records wait has no leader. */
extern void trouble_no_leader(const char *topic, int32_t partition);

/*
 * Should the cluster be asked something, only to see whether it answers?  At
 * the start too: that makes the connection before the first record needs it.
 */
extern bool trouble_wants_probe(void);

/* Without progress for so long, records count as stuck. */
#define TROUBLE_STUCK_MS 5000

/* When no broker answers for so long, the relay ends; that of a test sooner. */
#ifndef TROUBLE_GIVE_UP_MS
#define TROUBLE_GIVE_UP_MS 30000
#endif

/*
 * Reports to the worker when the hindrance has changed.  topic_text: why the next
 * record's topic is not ready, or "".  waiting_since: time of the last
 * progress if records are unacknowledged, else RELAY_NEVER.  Returns when it
 * wants to be called again.
 */
extern int64_t trouble_report(int64_t now, const char *topic_text,
							  int64_t waiting_since);

#endif							/* EVPUB_RELAY_TROUBLE_H */
