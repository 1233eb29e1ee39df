/*
 * reader.h
 *		Reads partitions back, in a thread of its own with a consumer of its own.
 */
#ifndef EVPUB_RELAY_READER_H
#define EVPUB_RELAY_READER_H

#include <stdbool.h>

#include <librdkafka/rdkafka.h>

/*
 * An end below the acknowledged offset is believed when it stays for so long, in
 * ms: a leader may lag.  That of a test sooner.
 */
#ifndef READER_BELOW_MS
#define READER_BELOW_MS 30000
#endif

/*
 * So many records are read again at most, and fewer in a test: a predecessor has a
 * fraction of it in flight.  Others may have written for days since the partition was
 * read, and meanwhile all that is published waits.
 */
#ifndef READER_AGAIN_MOST
#define READER_AGAIN_MOST 262144
#endif

/* Starts the thread.  conf: that of the producer, a copy, which is kept. */
extern void reader_start(rd_kafka_conf_t *conf);

/* Does this error last until somebody grants a right? */
extern bool reader_lacks_rights(rd_kafka_resp_err_t error);

#endif							/* EVPUB_RELAY_READER_H */
