/*
 * lookup.c
 *		Questions to the cluster, one at a time, in a thread of their own.
 *
 * librdkafka's metadata call blocks until an answer or a timeout, and brokers
 * may be black holes.  The event loop must see the worker go away at once and
 * must keep taking delivery reports, so the waiting is done here.
 *
 * The thread must never touch the topic table or the stream: it gets one
 * question and leaves one answer.
 *
 * librdkafka asks for one topic, for all of the cluster, or for all that this
 * client has a handle of; the last is what serves for several.  All of a
 * cluster could be tens of thousands, which a relay that is bounded in memory
 * must not be given, nor a broker asked for several times a second.  Without
 * any handle that request would permit to create topics, whatever the
 * configuration says (librdkafka 2.0 to 2.14 compare the number of all topics
 * with that of those without a handle); so it is made only for topics that have
 * one.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lookup.h"
#include "relay.h"

#define METADATA_TIMEOUT_MS 3000
#define CREATE_TIMEOUT_MS 15000

static rd_kafka_t *client;
static rd_kafka_conf_t *auto_create_conf;
static int	answer_fd = -1;
static bool idle = true;		/* of the event loop's side only */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked = PTHREAD_COND_INITIALIZER;
static Lookup *question;		/* guarded by lock */
static bool answered;			/* guarded by lock */

/* The request as a whole has failed. */
static void
set_error(Lookup *lookup, rd_kafka_resp_err_t error, const char *text)
{
	lookup->error = error;
	snprintf(lookup->text, sizeof(lookup->text), "%s",
			 text != NULL ? text : rd_kafka_err2str(error));
}

static void
ask_metadata(Lookup *lookup)
{
	rd_kafka_resp_err_t error;

	error = rd_kafka_metadata(client, 0,
							  lookup->count == 1 ? lookup->topics[0] : NULL,
							  &lookup->metadata, METADATA_TIMEOUT_MS);
	if (error)
		set_error(lookup, error, NULL);
}

/*
 * Is there a broker that creates topics?  Asking one that is not there would
 * only end with a timeout: librdkafka's mock cluster names a controller that
 * is none of its brokers.  A cluster that once had a controller is not asked
 * again.
 */
static bool
has_controller(rd_kafka_topic_t *topic)
{
	static bool found = false;
	const struct rd_kafka_metadata *metadata;
	int32_t		controller;

	if (found)
		return true;

	/* without an answer, the request itself will show it */
	controller = rd_kafka_controllerid(client, METADATA_TIMEOUT_MS);
	if (rd_kafka_metadata(client, 0, topic, &metadata, METADATA_TIMEOUT_MS))
		return true;
	for (int i = 0; i < metadata->broker_cnt; i++)
		found = found || metadata->brokers[i].id == controller;
	rd_kafka_metadata_destroy(metadata);
	return found;
}

/* What became of each topic; the answer need not be in the order of the question. */
static void
take_results(Lookup *lookup, const rd_kafka_CreateTopics_result_t *answer)
{
	size_t		count = 0;
	const rd_kafka_topic_result_t **results =
		rd_kafka_CreateTopics_result_topics(answer, &count);

	for (int i = 0; i < lookup->count; i++)
	{
		const char *name = rd_kafka_topic_name(lookup->topics[i]);
		LookupResult *result = &lookup->results[i];
		size_t		at = (size_t) i;

		/* it mostly is */
		if (at >= count || strcmp(rd_kafka_topic_result_name(results[at]), name) != 0)
		{
			for (at = 0; at < count; at++)
			{
				if (strcmp(rd_kafka_topic_result_name(results[at]), name) == 0)
					break;
			}
		}
		result->error = at < count ? rd_kafka_topic_result_error(results[at]) :
			RD_KAFKA_RESP_ERR__FAIL;
		result->text[0] = '\0';
		if (result->error)
		{
			const char *text = at < count ?
				rd_kafka_topic_result_error_string(results[at]) : NULL;

			snprintf(result->text, sizeof(result->text), "%s",
					 text != NULL ? text : rd_kafka_err2str(result->error));
		}
	}
}

/*
 * One request for all of them: a cluster creates hundreds of topics in the
 * time of a few, when it is asked for them together.
 */
static void
create_topics(Lookup *lookup)
{
	char		why[256];
	rd_kafka_NewTopic_t *topics[LOOKUP_TOPICS];
	rd_kafka_AdminOptions_t *options;
	rd_kafka_queue_t *queue;
	rd_kafka_event_t *event;

	if (!has_controller(lookup->topics[0]))
	{
		set_error(lookup, RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE,
				  "the cluster has no controller");
		return;
	}
	for (int i = 0; i < lookup->count; i++)
	{
		topics[i] = rd_kafka_NewTopic_new(rd_kafka_topic_name(lookup->topics[i]),
										  lookup->partitions,
										  lookup->replication_factor, why, sizeof(why));
		if (topics[i] == NULL)
		{
			set_error(lookup, RD_KAFKA_RESP_ERR__INVALID_ARG, why);
			rd_kafka_NewTopic_destroy_array(topics, (size_t) i);
			return;
		}
	}
	options = rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	rd_kafka_AdminOptions_set_request_timeout(options, CREATE_TIMEOUT_MS,
											  why, sizeof(why));
	queue = rd_kafka_queue_new(client);
	rd_kafka_CreateTopics(client, topics, (size_t) lookup->count, options, queue);
	event = rd_kafka_queue_poll(queue, CREATE_TIMEOUT_MS + 5000);
	if (event == NULL)
		set_error(lookup, RD_KAFKA_RESP_ERR__TIMED_OUT, NULL);
	else if (rd_kafka_event_error(event))
		set_error(lookup, rd_kafka_event_error(event),
				  rd_kafka_event_error_string(event));
	else
		take_results(lookup, rd_kafka_event_CreateTopics_result(event));
	if (event != NULL)
		rd_kafka_event_destroy(event);
	rd_kafka_queue_destroy(queue);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_NewTopic_destroy_array(topics, (size_t) lookup->count);
}

/*
 * Asks for the topic's metadata with permission to create it.  The producer
 * itself never has that permission, since it asks for topics all the time,
 * also for those that were deleted; so this takes a client of its own.
 */
static void
auto_create_topic(Lookup *lookup)
{
	char		why[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_dup(auto_create_conf);
	rd_kafka_t *other;
	rd_kafka_topic_t *topic;
	rd_kafka_resp_err_t error;

	rd_kafka_conf_set(conf, "allow.auto.create.topics", "true", NULL, 0);
	other = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (other == NULL)
	{
		rd_kafka_conf_destroy(conf);
		set_error(lookup, RD_KAFKA_RESP_ERR__FAIL, why);
		return;
	}
	topic = rd_kafka_topic_new(other, rd_kafka_topic_name(lookup->topics[0]), NULL);
	error = rd_kafka_metadata(other, 0, topic, &lookup->metadata,
							  METADATA_TIMEOUT_MS);
	if (error)
		set_error(lookup, error, NULL);
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(other);
}

static void
answer(Lookup *lookup)
{
	switch (lookup->kind)
	{
		case LOOKUP_METADATA:
			ask_metadata(lookup);
			break;
		case LOOKUP_CREATE:
			create_topics(lookup);
			break;
		case LOOKUP_AUTO_CREATE:
			auto_create_topic(lookup);
			break;
	}
}

static void *
lookup_main(void *unused)
{
	static const uint64_t one = 1;

	(void) unused;
	for (;;)
	{
		Lookup	   *lookup;

		pthread_mutex_lock(&lock);
		while (question == NULL)
			pthread_cond_wait(&asked, &lock);
		lookup = question;
		question = NULL;
		pthread_mutex_unlock(&lock);

		answer(lookup);

		pthread_mutex_lock(&lock);
		answered = true;
		pthread_mutex_unlock(&lock);
		if (write(answer_fd, &one, sizeof(one)) < 0)
			return NULL;
	}
}

void
lookup_start(rd_kafka_t *use_client, rd_kafka_conf_t *conf)
{
	client = use_client;
	auto_create_conf = conf;
	answer_fd = relay_start_thread(lookup_main);
}

int
lookup_fd(void)
{
	return answer_fd;
}

bool
lookup_idle(void)
{
	return idle;
}

void
lookup_ask(Lookup *lookup)
{
	idle = false;
	lookup->error = RD_KAFKA_RESP_ERR_NO_ERROR;
	lookup->text[0] = '\0';
	lookup->metadata = NULL;
	pthread_mutex_lock(&lock);
	question = lookup;
	pthread_cond_signal(&asked);
	pthread_mutex_unlock(&lock);
}

bool
lookup_answered(void)
{
	uint64_t	count;
	bool		result;

	if (idle || read(answer_fd, &count, sizeof(count)) < 0)
		return false;
	pthread_mutex_lock(&lock);
	result = answered;
	answered = false;
	pthread_mutex_unlock(&lock);
	idle = idle || result;
	return result;
}
