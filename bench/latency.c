/*
 * latency.c
 *		From INSERT to a consumer.
 *
 *	latency CONNINFO BROKERS TOPIC TABLE RATE SECONDS
 *
 * Inserts rows into TABLE (id bigint primary key, tenant_id text, name text),
 * of which TOPIC gets events, one row a transaction, RATE a second over eight
 * connections; a consumer in another thread reads the topic from its end.  A
 * row's latency runs from before its INSERT is sent until the consumer has its
 * event.  Prints "p50 p99 max rate": milliseconds, and the rows a second that
 * were inserted in fact.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

#define PROGRAM "latency"
#include "common.h"

#define FIRST_ID 1000000000L
#define CONNECTIONS 8

static double *sent;			/* by number of the row; 0: not sent yet */
static double *latency;			/* 0: not received yet */
static long rows;
static double rate;
static double start;
static const char *conninfo;
static const char *table;
static atomic_long received;
static atomic_int consumer_ready;
static atomic_int done;

/*
 * The number of the row in an event, or -1: the first "id" whose value is a
 * number, whoever made the event.
 */
static long
row_of(const char *payload, size_t len)
{
	const char *end = payload + len;
	const char *at;

	while ((at = memmem(payload, (size_t) (end - payload), "\"id\"", 4)) != NULL)
	{
		at += 4;
		while (at < end && (*at == ' ' || *at == ':'))
			at++;
		/* the payload is not NUL-terminated, but ends with a brace */
		if (at < end && *at == '1')
			return strtol(at, NULL, 10) - FIRST_ID;
		payload = at;
	}
	return -1;
}

static void
take(const rd_kafka_message_t *message)
{
	double		now = seconds();
	long		n = row_of(message->payload, message->len);

	if (n < 0 || n >= rows || latency[n] != 0)
		return;
	latency[n] = now - sent[n];
	atomic_fetch_add(&received, 1);
}

/* All partitions of the topic, from their ends. */
static rd_kafka_topic_partition_list_t *
partitions_of(rd_kafka_t *rk, const char *topic)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, rkt, &metadata, 10000);

	if (err || metadata->topics[0].partition_cnt == 0)
		die(topic, err ? rd_kafka_err2str(err) : "no such topic");
	list = rd_kafka_topic_partition_list_new(metadata->topics[0].partition_cnt);
	for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
	{
		int64_t		low;
		int64_t		high;

		err = rd_kafka_query_watermark_offsets(rk, topic, i, &low, &high, 10000);
		if (err)
			die("offsets", rd_kafka_err2str(err));
		rd_kafka_topic_partition_list_add(list, topic, i)->offset = high;
	}
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_topic_destroy(rkt);
	return list;
}

static void *
consume(void *argument)
{
	const char **names = argument;
	char		why[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;

	set(conf, "bootstrap.servers", names[0]);
	set(conf, "group.id", "evpub-bench");
	set(conf, "enable.auto.commit", "false");
	set(conf, "fetch.wait.max.ms", "100");
	set(conf, "socket.nagle.disable", "true");
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
	if (!rk)
		die("consumer", why);
	rd_kafka_poll_set_consumer(rk);
	rd_kafka_assign(rk, partitions_of(rk, names[1]));
	atomic_store(&consumer_ready, 1);
	while (!atomic_load(&done))
	{
		rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 50);

		if (!message)
			continue;
		if (!message->err && message->payload)
			take(message);
		rd_kafka_message_destroy(message);
	}
	rd_kafka_consumer_close(rk);
	rd_kafka_destroy(rk);
	return NULL;
}

static void
sleep_for(double wait)
{
	struct timespec ts = {(time_t) wait, (long) ((wait - (double) (time_t) wait) * 1e9)};

	if (wait > 0)
		nanosleep(&ts, NULL);
}

/* One of the connections: every eighth row. */
static void *
insert_rows(void *argument)
{
	PGconn	   *conn = PQconnectdb(conninfo);
	char		sql[256];

	if (PQstatus(conn) != CONNECTION_OK)
		die("connection", PQerrorMessage(conn));
	snprintf(sql, sizeof(sql), "PREPARE i AS INSERT INTO %s VALUES ($1, $2, 'name')", table);
	PQclear(PQexec(conn, sql));
	for (long n = (long) (intptr_t) argument; n < rows; n += CONNECTIONS)
	{
		char		id[32];
		char		tenant[32];
		const char *values[2] = {id, tenant};
		PGresult   *result;

		sleep_for(start + (double) n / rate - seconds());
		snprintf(id, sizeof(id), "%ld", FIRST_ID + n);
		snprintf(tenant, sizeof(tenant), "tenant-%ld", n % 20);
		sent[n] = seconds();
		result = PQexecPrepared(conn, "i", 2, values, NULL, NULL, 0);
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			die("insert", PQerrorMessage(conn));
		PQclear(result);
	}
	PQfinish(conn);
	return NULL;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

int
main(int argc, char **argv)
{
	pthread_t	consumer;
	pthread_t	writers[CONNECTIONS];
	struct timespec tick = {0, 1000000};
	double		took;
	double		end;

	if (argc != 7)
		die("usage", "latency CONNINFO BROKERS TOPIC TABLE RATE SECONDS");
	conninfo = argv[1];
	table = argv[4];
	rate = atof(argv[5]);
	rows = atol(argv[5]) * atol(argv[6]);
	sent = calloc((size_t) rows, sizeof(double));
	latency = calloc((size_t) rows, sizeof(double));
	pthread_create(&consumer, NULL, consume, (const char *[]) {argv[2], argv[3]});
	while (!atomic_load(&consumer_ready))
		nanosleep(&tick, NULL);
	/* later than all are connected */
	start = seconds() + 0.3;
	for (long i = 0; i < CONNECTIONS; i++)
		pthread_create(&writers[i], NULL, insert_rows, (void *) (intptr_t) i);
	for (int i = 0; i < CONNECTIONS; i++)
		pthread_join(writers[i], NULL);
	took = seconds() - start;
	end = seconds() + 180;
	while (atomic_load(&received) < rows && seconds() < end)
		nanosleep(&tick, NULL);
	atomic_store(&done, 1);
	pthread_join(consumer, NULL);
	if (atomic_load(&received) < rows)
		die("consumer", "not all events arrived");
	qsort(latency, (size_t) rows, sizeof(double), compare);
	printf("%.2f %.2f %.2f %.0f\n", latency[rows / 2] * 1000,
		   latency[rows * 99 / 100] * 1000, latency[rows - 1] * 1000, (double) rows / took);
	return 0;
}
