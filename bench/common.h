/*
 * common.h
 *		What the programs of the bench share.  Each defines PROGRAM, its name, first.
 */
#ifndef EVPUB_BENCH_COMMON_H
#define EVPUB_BENCH_COMMON_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

/* By a clock that only goes forward. */
static inline double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static inline void
die(const char *what, const char *why)
{
	fprintf(stderr, PROGRAM ": %s: %s\n", what, why);
	exit(1);
}

/* Set a property of librdkafka, or end. */
static inline void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		why[256];

	if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) != RD_KAFKA_CONF_OK)
		die(name, why);
}

#endif							/* EVPUB_BENCH_COMMON_H */
