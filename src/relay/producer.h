/*
 * producer.h
 *		From batches to Kafka, and from delivery reports to acknowledgements.
 */
#ifndef EVPUB_RELAY_PRODUCER_H
#define EVPUB_RELAY_PRODUCER_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "topics.h"

/* Makes the producer; conf is used up.  Ends the relay when it cannot. */
extern rd_kafka_t *producer_start(rd_kafka_conf_t *conf);

/* Readable when librdkafka has events. */
extern int	producer_fd(void);

/* A BATCH frame; payload must stay where it is while producer_has_batch(). */
extern void producer_begin_batch(const char *payload, uint32_t length);

/* Are records of the batch not handed to librdkafka yet? */
extern bool producer_has_batch(void);

/*
 * Hands records of the batch to librdkafka, as many as are good for one turn.
 * True: call again at once; false: something has to happen first.
 */
extern bool producer_produce(int64_t now);

/* The topic that the next record waits for, or NULL. */
extern const Topic *producer_head(void);

/*
 * The topic whose next record waits since its partition is closed, or its tail was
 * passed; NULL: it does not.  And that partition; and is it for the worker to send a
 * TAIL frame now?
 */
extern const Topic *producer_closed(void);
extern int32_t producer_closed_partition(void);
extern bool producer_tail_owed(void);

/*
 * Takes librdkafka's events; "readable": producer_fd() may be.  Returns when it wants
 * to be called again.
 */
extern int64_t producer_serve(int64_t now, bool readable);

/*
 * Microseconds for which producer_fd() need not be waited for, since reports that belong
 * together are awaited.
 */
extern int64_t producer_collects(void);

/*
 * Reports to the worker what was acknowledged, now and then while more is awaited;
 * "all": at once in any case.  Returns when it wants to be called again.
 */
extern int64_t producer_report(int64_t now, bool all);

/* Time of the last progress if records are unacknowledged, else RELAY_NEVER. */
extern int64_t producer_waiting_since(void);

/*
 * Without any acknowledgement for so long, end and let a new relay begin: by
 * then a broker may have forgotten this producer while records are in flight.
 */
#define PRODUCER_GIVE_UP_MS 3600000

#endif							/* EVPUB_RELAY_PRODUCER_H */
