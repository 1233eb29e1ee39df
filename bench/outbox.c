/*
 * outbox.c
 *		The usual poller of an outbox table: what evpub is compared with.
 *
 *	outbox CONNINFO BROKERS POLL_MS
 *
 * Takes the oldest 1,000 rows of table outbox (id bigint, topic text, key text,
 * payload text) by id, writes them to Kafka, waits until all are acknowledged,
 * and deletes exactly these rows: a row with a smaller id that commits later is
 * not lost, but comes after its followers.  Sleeps POLL_MS when there is no row.
 * Runs until it is killed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

#define PROGRAM "outbox"
#include "common.h"

#define ROWS 1000

static int	missing;			/* records that are not acknowledged yet */

static void
delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
	(void) client;
	(void) opaque;
	if (message->err)
		die("delivery", rd_kafka_err2str(message->err));
	missing--;
}

static void
produce(rd_kafka_t *client, const PGresult *rows, int row)
{
	rd_kafka_resp_err_t error =
		rd_kafka_producev(client, RD_KAFKA_V_TOPIC(PQgetvalue(rows, row, 1)),
						  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
						  RD_KAFKA_V_KEY(PQgetvalue(rows, row, 2), (size_t) PQgetlength(rows, row, 2)),
						  RD_KAFKA_V_VALUE(PQgetvalue(rows, row, 3), (size_t) PQgetlength(rows, row, 3)),
						  RD_KAFKA_V_END);

	if (error)
		die("produce", rd_kafka_err2str(error));
	missing++;
}

static void
forget(PGconn *conn, const PGresult *rows)
{
	static char ids[ROWS * 21 + 3];
	const char *values[1] = {ids};
	size_t		used = 0;
	PGresult   *result;

	for (int i = 0; i < PQntuples(rows); i++)
		used += (size_t) snprintf(ids + used, sizeof(ids) - used, "%c%s", i ? ',' : '{',
								  PQgetvalue(rows, i, 0));
	snprintf(ids + used, sizeof(ids) - used, "}");
	result = PQexecPrepared(conn, "forget", 1, values, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die("DELETE", PQerrorMessage(conn));
	PQclear(result);
}

int
main(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *client;
	PGconn	   *conn;
	char		why[256];
	struct timespec pause;

	if (argc != 4)
		die("usage", "outbox CONNINFO BROKERS POLL_MS");
	pause = (struct timespec) {atoi(argv[3]) / 1000, atoi(argv[3]) % 1000 * 1000000L};
	set(conf, "bootstrap.servers", argv[2]);
	set(conf, "enable.idempotence", "true");
	set(conf, "linger.ms", "0");
	set(conf, "partitioner", "murmur2_random");
	set(conf, "socket.nagle.disable", "true");
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (!client)
		die("rd_kafka_new", why);
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		die("connection", PQerrorMessage(conn));
	PQclear(PQprepare(conn, "take", "SELECT id, topic, key, payload FROM outbox ORDER BY id LIMIT 1000", 0, NULL));
	PQclear(PQprepare(conn, "forget", "DELETE FROM outbox WHERE id = ANY($1::bigint[])", 1, NULL));
	for (;;)
	{
		PGresult   *rows = PQexecPrepared(conn, "take", 0, NULL, NULL, NULL, 0);

		if (PQresultStatus(rows) != PGRES_TUPLES_OK)
			die("SELECT", PQerrorMessage(conn));
		for (int i = 0; i < PQntuples(rows); i++)
			produce(client, rows, i);
		while (missing > 0)
			rd_kafka_poll(client, 100);
		if (PQntuples(rows) > 0)
			forget(conn, rows);
		else
			nanosleep(&pause, NULL);
		PQclear(rows);
	}
}
