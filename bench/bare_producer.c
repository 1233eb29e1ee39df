/*
 * bare_producer.c
 *		What librdkafka alone can do here: the measure for evpub's throughput.
 *
 *	bare_producer BROKERS TOPIC PARTITIONS COUNT VALUE_BYTES
 *
 * Writes COUNT records as evpub does (key of one of 20 tenants, one header of
 * 51 bytes, explicit partition by murmur2, idempotent and gapless), and prints
 * records per second from the first call to the last acknowledgement.
 * Queue limits are librdkafka's own: nothing is saved on memory here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#define PROGRAM "bare_producer"
#include "common.h"

#define TENANTS 20

static long acked;

static void
delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
	(void) client;
	(void) opaque;
	if (message->err)
		die("delivery", rd_kafka_err2str(message->err));
	acked++;
}

static rd_kafka_t *
connect_to(const char *brokers)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *client;
	char		why[256];

	set(conf, "bootstrap.servers", brokers);
	set(conf, "log_level", "3");
	set(conf, "enable.idempotence", "true");
	set(conf, "enable.gapless.guarantee", "true");
	set(conf, "acks", "all");
	set(conf, "max.in.flight", "5");
	set(conf, "message.timeout.ms", "0");
	set(conf, "socket.nagle.disable", "true");
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (client == NULL)
		die("rd_kafka_new", why);
	return client;
}

static void
produce(rd_kafka_t *client, rd_kafka_topic_t *topic, int partitions, long n,
		const char *value, size_t value_len)
{
	char		key[32];
	char		id[64];
	int			key_len = snprintf(key, sizeof(key), "tenant-%ld", n % TENANTS);
	int32_t		partition;
	rd_kafka_resp_err_t error;

	snprintf(id, sizeof(id), "%016x-%08x-%016lX-%08x", 1, 1, n, 0);
	partition = rd_kafka_msg_partitioner_murmur2(topic, key, (size_t) key_len,
												 partitions, NULL, NULL);
	for (;;)
	{
		rd_kafka_headers_t *headers = rd_kafka_headers_new(1);

		rd_kafka_header_add(headers, "evpub-id", 8, id, 51);
		error = rd_kafka_producev(client, RD_KAFKA_V_RKT(topic),
								  RD_KAFKA_V_PARTITION(partition),
								  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								  RD_KAFKA_V_KEY(key, (size_t) key_len),
								  RD_KAFKA_V_VALUE((void *) value, value_len),
								  RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
		if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
			return;
		rd_kafka_headers_destroy(headers);
		if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			die("produce", rd_kafka_err2str(error));
		rd_kafka_poll(client, 10);
	}
}

int
main(int argc, char **argv)
{
	rd_kafka_t *client;
	rd_kafka_topic_t *topic;
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t error;
	char	   *value;
	size_t		value_len;
	int			partitions;
	long		count;
	double		start;

	if (argc != 6)
	{
		fprintf(stderr,
				"usage: bare_producer BROKERS TOPIC PARTITIONS COUNT VALUE_BYTES\n");
		return 2;
	}
	partitions = atoi(argv[3]);
	count = atol(argv[4]);
	value_len = (size_t) atol(argv[5]);
	value = malloc(value_len + 1);
	if (value == NULL || partitions < 1)
		die("arguments", "not usable");
	memset(value, 'x', value_len);

	client = connect_to(argv[1]);
	topic = rd_kafka_topic_new(client, argv[2], NULL);
	/* connect before the clock starts */
	error = rd_kafka_metadata(client, 0, topic, &metadata, 30000);
	if (error)
		die("metadata", rd_kafka_err2str(error));
	rd_kafka_metadata_destroy(metadata);

	start = seconds();
	for (long n = 0; n < count; n++)
	{
		produce(client, topic, partitions, n, value, value_len);
		if (n % 100 == 0)
			rd_kafka_poll(client, 0);
	}
	while (acked < count)
		rd_kafka_poll(client, 100);
	printf("%.0f\n", (double) count / (seconds() - start));

	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(client);
	free(value);
	return 0;
}
