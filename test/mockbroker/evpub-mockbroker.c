/*
 * evpub-mockbroker.c
 *		A Kafka cluster in one small process: librdkafka's mock brokers, steered
 *		by commands on standard input.
 *
 * For the demo and for faults that a real broker does not produce on request.
 * Never proof of delivery: the mock does not check the sequence numbers of an
 * idempotent producer, and it trims partitions at 5 MiB.
 *
 * It prints "bootstrap HOST:PORT,..." when it is ready, answers each command
 * with "ok" or "error ...", and exits when its standard input ends, so that it
 * never outlives the test that started it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#define WORDS_MAX 8

static rd_kafka_mock_cluster_t *cluster;
static int	brokers = 1;

static void
usage(void)
{
	fprintf(stderr,
			"usage: evpub-mockbroker [--brokers N] [--topic NAME:PARTITIONS]...\n"
			"commands on standard input:\n"
			"  down BROKER                     refuse connections\n"
			"  up BROKER\n"
			"  rtt BROKER MS                   delay every answer\n"
			"  topic-error TOPIC CODE          answer with this error (0: none)\n"
			"  push-error APIKEY CODE [N]      for the next N (1) requests of a kind\n"
			"  clear-errors APIKEY\n"
			"  topic TOPIC PARTITIONS          create a topic\n"
			"  leader TOPIC PARTITION BROKER   move a partition\n"
			"  quit\n");
	exit(2);
}

static rd_kafka_resp_err_t
create_topic(const char *name, int partitions)
{
	/* each broker has a replica, as librdkafka 2.0 sees to by itself */
	return rd_kafka_mock_topic_create(cluster, name, partitions, brokers);
}

static rd_kafka_resp_err_t
push_errors(int16_t api, rd_kafka_resp_err_t code, int count)
{
	rd_kafka_resp_err_t *codes;

	if (count < 1 || count > 1000000)
		return RD_KAFKA_RESP_ERR__INVALID_ARG;
	codes = malloc((size_t) count * sizeof(*codes));
	if (codes == NULL)
		return RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
	for (int i = 0; i < count; i++)
		codes[i] = code;
	rd_kafka_mock_push_request_errors_array(cluster, api, (size_t) count, codes);
	free(codes);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Runs one command; a text means that it was not understood. */
static const char *
run_command(int count, char **words, rd_kafka_resp_err_t *error)
{
	const char *verb = words[0];

	if (strcmp(verb, "down") == 0 && count == 2)
		*error = rd_kafka_mock_broker_set_down(cluster, atoi(words[1]));
	else if (strcmp(verb, "up") == 0 && count == 2)
		*error = rd_kafka_mock_broker_set_up(cluster, atoi(words[1]));
	else if (strcmp(verb, "rtt") == 0 && count == 3)
		*error = rd_kafka_mock_broker_set_rtt(cluster, atoi(words[1]), atoi(words[2]));
	else if (strcmp(verb, "topic-error") == 0 && count == 3)
		rd_kafka_mock_topic_set_error(cluster, words[1],
									  (rd_kafka_resp_err_t) atoi(words[2]));
	else if (strcmp(verb, "push-error") == 0 && (count == 3 || count == 4))
		*error = push_errors((int16_t) atoi(words[1]),
							 (rd_kafka_resp_err_t) atoi(words[2]),
							 count == 4 ? atoi(words[3]) : 1);
	else if (strcmp(verb, "clear-errors") == 0 && count == 2)
		rd_kafka_mock_clear_request_errors(cluster, (int16_t) atoi(words[1]));
	else if (strcmp(verb, "topic") == 0 && count == 3)
		*error = create_topic(words[1], atoi(words[2]));
	else if (strcmp(verb, "leader") == 0 && count == 4)
		*error = rd_kafka_mock_partition_set_leader(cluster, words[1],
													atoi(words[2]), atoi(words[3]));
	else
		return "unknown command";
	return NULL;
}

static void
serve_commands(void)
{
	char		line[1024];

	while (fgets(line, sizeof(line), stdin) != NULL)
	{
		char	   *words[WORDS_MAX];
		int			count = 0;
		char	   *save = NULL;
		const char *problem;
		rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;

		for (char *word = strtok_r(line, " \t\n", &save);
			 word != NULL && count < WORDS_MAX;
			 word = strtok_r(NULL, " \t\n", &save))
			words[count++] = word;
		if (count == 0)
			continue;
		if (strcmp(words[0], "quit") == 0)
		{
			puts("ok");
			fflush(stdout);
			return;
		}
		problem = run_command(count, words, &error);
		if (problem == NULL && error)
			problem = rd_kafka_err2str(error);
		if (problem != NULL)
			printf("error %s\n", problem);
		else
			puts("ok");
		fflush(stdout);
	}
}

/* "NAME:PARTITIONS" from the command line. */
static void
add_topic(char *argument)
{
	char	   *colon = strrchr(argument, ':');
	rd_kafka_resp_err_t error;

	if (colon == NULL)
		usage();
	*colon = '\0';
	error = create_topic(argument, atoi(colon + 1));
	if (error)
	{
		fprintf(stderr, "evpub-mockbroker: topic %s: %s\n", argument,
				rd_kafka_err2str(error));
		exit(1);
	}
}

int
main(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *client;
	char		why[512];

	for (int i = 1; i < argc; i += 2)
	{
		if (i + 1 == argc)
			usage();
		if (strcmp(argv[i], "--brokers") == 0)
			brokers = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--topic") != 0)
			usage();
	}
	if (brokers < 1)
		usage();

	/* the mock cluster lives in a client; this one does nothing else */
	rd_kafka_conf_set_log_cb(conf, NULL);
	client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (client == NULL)
	{
		fprintf(stderr, "evpub-mockbroker: %s\n", why);
		return 1;
	}
	cluster = rd_kafka_mock_cluster_new(client, brokers);
	if (cluster == NULL)
	{
		fprintf(stderr, "evpub-mockbroker: could not start the mock cluster\n");
		return 1;
	}
	for (int i = 1; i < argc; i += 2)
	{
		if (strcmp(argv[i], "--topic") == 0)
			add_topic(argv[i + 1]);
	}
	printf("bootstrap %s\n", rd_kafka_mock_cluster_bootstraps(cluster));
	fflush(stdout);

	serve_commands();

	/* destroying the cluster would only take time */
	fflush(stdout);
	_exit(0);
}
