/*
 * admin.c
 *		evpub-kafka-admin: what tests and the bench ask of a Kafka cluster
 *		besides reading and writing.
 *
 *		evpub-kafka-admin BROKERS create TOPIC PARTITIONS [broker=N] [NAME=VALUE ...]
 *		evpub-kafka-admin BROKERS delete TOPIC
 *		evpub-kafka-admin BROKERS grow TOPIC PARTITIONS
 *		evpub-kafka-admin BROKERS set TOPIC NAME=VALUE ...
 *		evpub-kafka-admin BROKERS allow TOPIC USER READ|WRITE|CREATE|DESCRIBE_CONFIGS
 *		evpub-kafka-admin BROKERS transact TOPIC PARTITION COUNT commit|abort
 *		evpub-kafka-admin BROKERS offsets TOPIC
 *		evpub-kafka-admin BROKERS delete-records TOPIC PARTITION OFFSET
 *		evpub-kafka-admin BROKERS topics
 *
 * Kafka's own tools do this as well, but each call starts a Java machine, two
 * seconds on a small computer.  "offsets" prints a line "partition low high"
 * for each partition, "topics" a line "topic partitions" for each topic.
 * "delete-records" deletes those before the offset.  "transact" writes records in
 * a transaction, whose end is a record that no reader gets.  A new topic has as many
 * replicas as the brokers' default.replication.factor says, or one, on that broker.
 * Errors go to stderr, with exit status 1.
 */
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 30000
#define USAGE "BROKERS create|delete|grow|set|allow|transact|offsets|delete-records|topics ..."

static rd_kafka_t *rk;
static char errstr[512];

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "evpub-kafka-admin: %s: %s\n", what, why);
	exit(1);
}

/* Split NAME=VALUE in place; returns the value. */
static char *
split(char *setting)
{
	char	   *equals = strchr(setting, '=');

	if (equals == NULL)
		die(setting, "is not NAME=VALUE");
	*equals = '\0';
	return equals + 1;
}

/*
 * Wait for the answer to an admin request and die unless all of it is good.
 * Create, delete, grow and set name one topic each, so there is one result.
 */
static void
check_answer(rd_kafka_queue_t *queue, const char *what)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, TIMEOUT_MS + 5000);
	const rd_kafka_topic_result_t **topics = NULL;
	size_t		count = 0;

	if (event == NULL)
		die(what, "no answer");
	if (rd_kafka_event_error(event))
		die(what, rd_kafka_event_error_string(event));

	switch (rd_kafka_event_type(event))
	{
		case RD_KAFKA_EVENT_CREATETOPICS_RESULT:
			topics = rd_kafka_CreateTopics_result_topics(
				rd_kafka_event_CreateTopics_result(event), &count);
			break;
		case RD_KAFKA_EVENT_DELETETOPICS_RESULT:
			topics = rd_kafka_DeleteTopics_result_topics(
				rd_kafka_event_DeleteTopics_result(event), &count);
			break;
		case RD_KAFKA_EVENT_CREATEPARTITIONS_RESULT:
			topics = rd_kafka_CreatePartitions_result_topics(
				rd_kafka_event_CreatePartitions_result(event), &count);
			break;
		case RD_KAFKA_EVENT_ALTERCONFIGS_RESULT:
			{
				const rd_kafka_ConfigResource_t **resources =
					rd_kafka_AlterConfigs_result_resources(
						rd_kafka_event_AlterConfigs_result(event), &count);

				if (count != 1)
					die(what, "unexpected answer");
				if (rd_kafka_ConfigResource_error(resources[0]))
					die(what, rd_kafka_ConfigResource_error_string(resources[0]));
				rd_kafka_event_destroy(event);
				return;
			}
		default:
			die(what, "unexpected answer");
	}
	if (count != 1)
		die(what, "unexpected answer");
	if (rd_kafka_topic_result_error(topics[0]))
		die(what, rd_kafka_topic_result_error_string(topics[0]) != NULL
				? rd_kafka_topic_result_error_string(topics[0])
				: rd_kafka_err2str(rd_kafka_topic_result_error(topics[0])));
	rd_kafka_event_destroy(event);
}

static const rd_kafka_metadata_t *
metadata(const char *name)
{
	rd_kafka_topic_t *topic = NULL;
	const rd_kafka_metadata_t *found;
	rd_kafka_resp_err_t err;

	if (name != NULL)
		topic = rd_kafka_topic_new(rk, name, NULL);
	err = rd_kafka_metadata(rk, name == NULL, topic, &found, TIMEOUT_MS);
	if (err)
		die("metadata", rd_kafka_err2str(err));
	if (name != NULL && (found->topic_cnt != 1 || found->topics[0].err))
		die(name, found->topic_cnt != 1 ? "unknown topic"
										: rd_kafka_err2str(found->topics[0].err));
	return found;
}

static void
create(rd_kafka_queue_t *queue, char **args, int count)
{
	bool		has_broker = count > 2 && strncmp(args[2], "broker=", 7) == 0;
	int			partitions = atoi(args[1]);
	rd_kafka_NewTopic_t *topic =
		rd_kafka_NewTopic_new(args[0], partitions, -1, errstr, sizeof(errstr));

	if (topic == NULL)
		die("create", errstr);
	for (int i = 0; has_broker && i < partitions; i++)
	{
		int32_t		broker = atoi(args[2] + 7);

		if (rd_kafka_NewTopic_set_replica_assignment(topic, i, &broker, 1, errstr,
													 sizeof(errstr)))
			die("create", errstr);
	}
	for (int i = has_broker ? 3 : 2; i < count; i++)
	{
		char	   *value = split(args[i]);

		rd_kafka_NewTopic_set_config(topic, args[i], value);
	}
	rd_kafka_CreateTopics(rk, &topic, 1, NULL, queue);
	check_answer(queue, "create");
}

static void
set(rd_kafka_queue_t *queue, char **args, int count)
{
	rd_kafka_ConfigResource_t *topic =
		rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, args[0]);

	for (int i = 1; i < count; i++)
	{
		char	   *value = split(args[i]);

		rd_kafka_ConfigResource_set_config(topic, args[i], value);
	}
	rd_kafka_AlterConfigs(rk, &topic, 1, NULL, queue);
	check_answer(queue, "set");
}

static void
allow(rd_kafka_queue_t *queue, char **args)
{
	rd_kafka_AclOperation_t operation = strcmp(args[2], "READ") == 0 ?
		RD_KAFKA_ACL_OPERATION_READ : strcmp(args[2], "WRITE") == 0 ?
		RD_KAFKA_ACL_OPERATION_WRITE : strcmp(args[2], "CREATE") == 0 ?
		RD_KAFKA_ACL_OPERATION_CREATE : RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS;
	char		user[256];
	rd_kafka_AclBinding_t *acl;
	rd_kafka_event_t *event;
	const rd_kafka_acl_result_t **results;
	const rd_kafka_error_t *error;
	size_t		count = 0;

	snprintf(user, sizeof(user), "User:%s", args[1]);
	acl = rd_kafka_AclBinding_new(RD_KAFKA_RESOURCE_TOPIC, args[0],
								  RD_KAFKA_RESOURCE_PATTERN_LITERAL, user, "*",
								  operation, RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
								  errstr, sizeof(errstr));
	if (acl == NULL)
		die("allow", errstr);
	rd_kafka_CreateAcls(rk, &acl, 1, NULL, queue);
	event = rd_kafka_queue_poll(queue, TIMEOUT_MS + 5000);
	if (event == NULL)
		die("allow", "no answer");
	if (rd_kafka_event_error(event))
		die("allow", rd_kafka_event_error_string(event));
	results = rd_kafka_CreateAcls_result_acls(
		rd_kafka_event_CreateAcls_result(event), &count);
	if (count != 1)
		die("allow", "unexpected answer");
	error = rd_kafka_acl_result_error(results[0]);
	if (error != NULL)
		die("allow", rd_kafka_error_string(error));
	rd_kafka_event_destroy(event);
}

static void
delete_records(rd_kafka_queue_t *queue, char **args)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	const rd_kafka_topic_partition_list_t *result;
	rd_kafka_DeleteRecords_t *del;
	rd_kafka_event_t *event;

	rd_kafka_topic_partition_list_add(list, args[0], atoi(args[1]))->offset = atoll(args[2]);
	del = rd_kafka_DeleteRecords_new(list);
	rd_kafka_DeleteRecords(rk, &del, 1, NULL, queue);
	event = rd_kafka_queue_poll(queue, TIMEOUT_MS + 5000);
	if (event == NULL)
		die("delete-records", "no answer");
	if (rd_kafka_event_error(event))
		die("delete-records", rd_kafka_event_error_string(event));
	result = rd_kafka_DeleteRecords_result_offsets(
		rd_kafka_event_DeleteRecords_result(event));
	if (result->cnt != 1)
		die("delete-records", "unexpected answer");
	if (result->elems[0].err)
		die("delete-records", rd_kafka_err2str(result->elems[0].err));
	rd_kafka_event_destroy(event);
}

static void
check(const char *what, rd_kafka_error_t *error)
{
	if (error != NULL)
		die(what, rd_kafka_error_string(error));
}

static void
transact(char **args)
{
	int			count = atoi(args[2]);

	check("transact", rd_kafka_init_transactions(rk, TIMEOUT_MS));
	check("transact", rd_kafka_begin_transaction(rk));
	for (int i = 0; i < count; i++)
	{
		rd_kafka_resp_err_t err = rd_kafka_producev(
			rk, RD_KAFKA_V_TOPIC(args[0]), RD_KAFKA_V_PARTITION(atoi(args[1])),
			RD_KAFKA_V_VALUE("foreign", 7), RD_KAFKA_V_END);

		if (err)
			die("transact", rd_kafka_err2str(err));
	}
	rd_kafka_flush(rk, TIMEOUT_MS);
	check("transact", strcmp(args[3], "abort") == 0 ?
		  rd_kafka_abort_transaction(rk, TIMEOUT_MS) :
		  rd_kafka_commit_transaction(rk, TIMEOUT_MS));
}

static void
offsets(const char *name)
{
	const rd_kafka_metadata_t *found = metadata(name);

	for (int i = 0; i < found->topics[0].partition_cnt; i++)
	{
		int64_t		low;
		int64_t		high;
		int32_t		partition = found->topics[0].partitions[i].id;
		rd_kafka_resp_err_t err = rd_kafka_query_watermark_offsets(
			rk, name, partition, &low, &high, TIMEOUT_MS);

		if (err)
			die("offsets", rd_kafka_err2str(err));
		printf("%d %lld %lld\n", (int) partition, (long long) low,
			   (long long) high);
	}
}

static void
topics(void)
{
	const rd_kafka_metadata_t *found = metadata(NULL);

	for (int i = 0; i < found->topic_cnt; i++)
		printf("%s %d\n", found->topics[i].topic,
			   found->topics[i].partition_cnt);
}

int
main(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_queue_t *queue;
	char	  **args = argv + 3;
	int			count = argc - 3;
	const char *command = argc > 2 ? argv[2] : "";

	if (argc < 3 ||
		rd_kafka_conf_set(conf, "bootstrap.servers", argv[1], errstr,
						  sizeof(errstr)) != RD_KAFKA_CONF_OK)
		die("usage", USAGE);
	/* "connection refused" is told by the command's own error */
	rd_kafka_conf_set(conf, "log_level", "0", NULL, 0);
	if (strcmp(command, "transact") == 0)
		rd_kafka_conf_set(conf, "transactional.id", "evpub-kafka-admin", NULL, 0);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, errstr, sizeof(errstr));
	if (rk == NULL)
		die("start", errstr);
	queue = rd_kafka_queue_new(rk);

	if (strcmp(command, "create") == 0 && count >= 2)
		create(queue, args, count);
	else if (strcmp(command, "delete") == 0 && count == 1)
	{
		rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(args[0]);

		rd_kafka_DeleteTopics(rk, &topic, 1, NULL, queue);
		check_answer(queue, "delete");
	}
	else if (strcmp(command, "grow") == 0 && count == 2)
	{
		rd_kafka_NewPartitions_t *partitions = rd_kafka_NewPartitions_new(
			args[0], atoi(args[1]), errstr, sizeof(errstr));

		if (partitions == NULL)
			die("grow", errstr);
		rd_kafka_CreatePartitions(rk, &partitions, 1, NULL, queue);
		check_answer(queue, "grow");
	}
	else if (strcmp(command, "set") == 0 && count >= 2)
		set(queue, args, count);
	else if (strcmp(command, "allow") == 0 && count == 3)
		allow(queue, args);
	else if (strcmp(command, "transact") == 0 && count == 4)
		transact(args);
	else if (strcmp(command, "offsets") == 0 && count == 1)
		offsets(args[0]);
	else if (strcmp(command, "delete-records") == 0 && count == 3)
		delete_records(queue, args);
	else if (strcmp(command, "topics") == 0 && count == 0)
		topics();
	else
		die("usage", USAGE);

	/* the process ends here: no need to wait for librdkafka's threads */
	fflush(stdout);
	_Exit(0);
}
