/*
 * topics.c
 *		The topics that records name by number.
 *
 * Before the first record of a topic is produced, the cluster is asked for it:
 * a record for a topic that does not exist would fail after a while without
 * being fatal, and later records could pass it.  A missing topic is created
 * only when it was never published to.  One that was published to and is gone
 * has lost events that were acknowledged; creating it again would hide that.
 *
 * The partition count is pinned: librdkafka follows a grown count silently,
 * which would move most keys to other partitions while their older records
 * are still on the way.  Growth is only reported.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lookup.h"
#include "relay.h"
#include "stream.h"
#include "topics.h"
#include "trouble.h"

#define NUMBER_MAX (1 << 20)
#define PARTITIONS_MAX 1000000

#define BACKOFF_MIN_MS 100
/* A topic that was just created is there a few milliseconds later. */
#define BACKOFF_CREATED_MS 5
#define BACKOFF_MAX_MS 2000

/* How often the partition count of a topic in use is looked at. */
#define GROWTH_CHECK_MS 60000
/* ... and the pause between two topics. */
#define GROWTH_PAUSE_MS 1000
/* How often a cluster that does not answer is tried while no topic waits. */
#define PROBE_MS 1000

/* Answers in a row before a smaller partition count is believed: a broker
 * may lag behind the others. */
#define SMALLER_MAX 3

/*
 * When so many topics wait, one request for all topics of the cluster is
 * cheaper than one for each.
 */
#define ASK_TOGETHER 8

/*
 * Kafka's controller refuses a request that would make more than 10,000
 * partitions.  So few are created together that this is not reached by far.
 */
#define CREATE_PARTITIONS_MAX 5000

/* A topic that is not there after so long is told as the reason, in ms. */
#define CREATION_PATIENCE_MS 1000

static rd_kafka_t *client;
static const RelaySettings *settings;

static Topic **topics;			/* by number; holes are NULL */
static uint32_t topics_size;

static Lookup lookup;
static Topic *asking[LOOKUP_TOPICS];	/* whom the lookup is for; none: a probe */
static int	asking_count;
static int	create_together = LOOKUP_TOPICS;	/* less once that was too much */
static const Topic *vanished;
static int64_t next_work;		/* nothing is due before */
static int64_t next_growth;
static int64_t next_probe;

void
topics_start(rd_kafka_t *use_client, const RelaySettings *use_settings)
{
	client = use_client;
	settings = use_settings;
}

Topic *
topics_get(uint32_t number)
{
	return number < topics_size ? topics[number] : NULL;
}

static Topic *
add_topic(uint32_t number, const char *name, uint32_t len)
{
	Topic	   *topic;

	if (number >= NUMBER_MAX || len == 0 || len > 249)
		relay_fail(EVPUB_FAILURE_RETRY, "malformed TOPIC frame from the server");
	if (number >= topics_size)
	{
		uint32_t	size = (number + 1) * 2;

		topics = relay_realloc(topics, size * sizeof(*topics));
		memset(topics + topics_size, 0, (size - topics_size) * sizeof(*topics));
		topics_size = size;
	}
	topic = relay_realloc(NULL, sizeof(*topic));
	memset(topic, 0, sizeof(*topic));
	topic->number = number;
	topic->name = relay_realloc(NULL, len + 1);
	memcpy(topic->name, name, len);
	topic->name[len] = '\0';
	topic->state = TOPIC_ASK;
	topic->waiting_since = relay_now();
	topics[number] = topic;
	return topic;
}

static void
topic_ready(Topic *topic, int64_t now)
{
	topic->state = TOPIC_READY;
	topic->created = false;
	topic->trouble[0] = '\0';
	topic->backoff = 0;
	topic->due = now + GROWTH_CHECK_MS;
}

void
topics_announce(const char *payload, uint32_t length)
{
	uint32_t	number;
	int32_t		pinned;
	const char *name = payload + 8;
	Topic	   *topic;

	if (length < 8)
		relay_fail(EVPUB_FAILURE_RETRY, "malformed TOPIC frame from the server");
	memcpy(&number, payload, 4);
	memcpy(&pinned, payload + 4, 4);
	if (pinned < EVPUB_FRAME_TOPIC_UNPINNED || pinned > PARTITIONS_MAX)
		relay_fail(EVPUB_FAILURE_RETRY, "malformed TOPIC frame from the server");

	topic = topics_get(number);
	if (topic == NULL)
		topic = add_topic(number, name, length - 8);
	else if (strlen(topic->name) != length - 8 ||
			 memcmp(topic->name, name, length - 8) != 0 || pinned < topic->pinned)
		relay_fail(EVPUB_FAILURE_RETRY,
				   "the server gave topic \"%s\" another meaning", topic->name);
	else if (topic->state == TOPIC_PIN && topic->reported == pinned)
		topic_ready(topic, relay_now());
	else if (topic->reported < pinned || topic->state == TOPIC_PIN)
		topic->state = TOPIC_ASK;
	topic->pinned = pinned > 0 ? pinned : 0;
	topic->published = pinned != EVPUB_FRAME_TOPIC_NEW;
	if (topic->state != TOPIC_READY)
		topic->due = 0;
	next_work = 0;
}

TopicPartition *
topics_partition(Topic *topic, int32_t partition)
{
	if (partition >= topic->partitions_size)
	{
		int32_t		size = partition + 1;

		if (size < topic->pinned)
			size = topic->pinned;
		topic->partitions = relay_realloc(topic->partitions,
										  (size_t) size * sizeof(TopicPartition));
		for (int32_t i = topic->partitions_size; i < size; i++)
			topic->partitions[i] = (TopicPartition){.offset = -1};
		topic->partitions_size = size;
	}
	return &topic->partitions[partition];
}

/* The partition that a frame about one names; *number gets what it says. */
static TopicPartition *
read_partition(const char *payload, uint32_t length, int64_t *number)
{
	EvpubFrameOffset frame;
	Topic	   *topic;

	if (length != sizeof(frame))
		relay_fail(EVPUB_FAILURE_RETRY, "malformed frame about a partition from the server");
	memcpy(&frame, payload, sizeof(frame));
	topic = topics_get(frame.topic);
	if (topic == NULL || frame.partition < 0 || frame.partition > PARTITIONS_MAX)
		relay_fail(EVPUB_FAILURE_RETRY, "malformed frame about a partition from the server");
	*number = frame.offset;
	return topics_partition(topic, frame.partition);
}

void
topics_set_offset(const char *payload, uint32_t length)
{
	int64_t		offset;
	TopicPartition *partition = read_partition(payload, length, &offset);

	partition->offset = offset;
}

void
topics_set_limit(const char *payload, uint32_t length)
{
	int64_t		bytes;
	TopicPartition *partition = read_partition(payload, length, &bytes);

	partition->limit = bytes < 0 ? 0 : bytes;
}

void
topics_ask_again(Topic *topic)
{
	if (topic->state == TOPIC_READY)
	{
		topic->state = TOPIC_ASK;
		topic->due = relay_now() + BACKOFF_MIN_MS;
		next_work = 0;
	}
}

/* The topic stays as it is for a while. */
static void
retry_later(Topic *topic, int64_t now)
{
	int			least = topic->created ? BACKOFF_CREATED_MS : BACKOFF_MIN_MS;

	topic->backoff = topic->backoff * 2;
	if (topic->backoff < least)
		topic->backoff = least;
	if (topic->backoff > BACKOFF_MAX_MS)
		topic->backoff = BACKOFF_MAX_MS;
	topic->due = now + topic->backoff;
}

static void
report_partitions(Topic *topic, int32_t count)
{
	if (topic->reported == count)
		return;
	topic->reported = count;
	stream_send(EVPUB_FRAME_PARTITIONS, &topic->number, 4, &count, 4);
}

/*
 * Records wait for a partition that has less replicas in sync than replicas,
 * or just one: that may be less than min.insync.replicas, which metadata does
 * not tell.
 */
static void
look_at_replicas(Topic *topic, const struct rd_kafka_metadata_topic *found)
{
	for (int i = 0; i < found->partition_cnt; i++)
	{
		const struct rd_kafka_metadata_partition *at = &found->partitions[i];

		if (at->id >= 0 && at->id < topic->partitions_size &&
			topic->partitions[at->id].in_flight > 0 &&
			(at->isr_cnt < at->replica_cnt || at->isr_cnt == 1))
			trouble_replicas(topic->name, at->id, at->isr_cnt, at->replica_cnt);
	}
}

void
topics_remade(const Topic *topic)
{
	int32_t		count = EVPUB_FRAME_TOPIC_UNPINNED;

	stream_send(EVPUB_FRAME_PARTITIONS, &topic->number, 4, &count, 4);
}

/* The cluster knows the topic. */
static void
topic_exists(Topic *topic, const struct rd_kafka_metadata_topic *found, int64_t now)
{
	int32_t		count = found->partition_cnt;

	if (topic->pinned > count)
	{
		if (++topic->times_smaller >= SMALLER_MAX)
		{
			topics_remade(topic);
			relay_fail(EVPUB_FAILURE_TOPIC,
					   "topic \"%s\" has %d partitions, but %d when it was last published to: it was deleted and made again",
					   topic->name, count, topic->pinned);
		}
		retry_later(topic, now);
		return;
	}
	topic->times_smaller = 0;
	look_at_replicas(topic, found);
	if (topic->pinned == 0)
	{
		/* the count is final only when each partition was placed */
		for (int i = 0; i < count; i++)
		{
			if (found->partitions[i].leader < 0)
				count = 0;
		}
		if (count == 0)
		{
			snprintf(topic->trouble, sizeof(topic->trouble),
					 "topic \"%s\" has partitions without a leader", topic->name);
			retry_later(topic, now);
			return;
		}

		/*
		 * No record goes out under this count before the worker says that it
		 * is durable: after a crash of the whole server the count must be
		 * known, or a topic that has grown meanwhile would be pinned to
		 * another, with records of one key in two partitions.
		 */
		topic->state = TOPIC_PIN;
		topic->trouble[0] = '\0';
		topic->due = RELAY_NEVER;
		topic->reported = 0;
		report_partitions(topic, count);
		return;
	}
	else if (count > topic->pinned)
		report_partitions(topic, count);
	if (vanished == topic)
		vanished = NULL;
	topic_ready(topic, now);
}

/* The cluster does not know the topic. */
static void
topic_missing(Topic *topic, int64_t now)
{
	if (topic->published || topic->state == TOPIC_READY)
		snprintf(topic->trouble, sizeof(topic->trouble),
				 "topic \"%s\" does not exist any more; evpub does not create a topic again that it has published to",
				 topic->name);
	if (topic->state == TOPIC_READY)
	{
		/* librdkafka fails what is in flight, or waits for it to come back */
		vanished = topic;
		topic->due = now + GROWTH_CHECK_MS;
		return;
	}
	if (topic->published)
		;
	else if (!settings->create_topics)
		snprintf(topic->trouble, sizeof(topic->trouble),
				 "topic \"%s\" does not exist, and evpub.create_topics is off",
				 topic->name);
	else if (!topic->created)
	{
		topic->state = TOPIC_CREATE;
		topic->due = now;
		return;
	}
	else if (topic->backoff >= BACKOFF_MAX_MS)
		topic->created = false; /* it did not come: create it once more */
	retry_later(topic, now);
}

/* What the cluster says of one topic that it was asked for. */
static void
topic_answer(Topic *topic, const struct rd_kafka_metadata_topic *found, int64_t now)
{
	if (found->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		topic_exists(topic, found, now);
	else if (found->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
			 found->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
		topic_missing(topic, now);
	else
	{
		snprintf(topic->trouble, sizeof(topic->trouble), "topic \"%s\": %s",
				 topic->name, rd_kafka_err2str(found->err));
		retry_later(topic, now);
	}
}

/*
 * A topic is not among all topics of the cluster: it does not exist, or this
 * user may not see it.  Creating it tells; where it must not be created, or
 * was and is not seen, it is asked for alone, and the answer names the error.
 */
static void
topic_not_listed(Topic *topic, int64_t now)
{
	if (topic->published || !settings->create_topics ||
		(topic->created && topic->backoff >= BACKOFF_MIN_MS))
	{
		topic->alone = true;
		topic->due = now;
	}
	else
		topic_missing(topic, now);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp((*(Topic *const *) a)->name, (*(Topic *const *) b)->name);
}

/* Asked for several topics: the answer has all of the cluster's. */
static void
take_list(const struct rd_kafka_metadata *metadata, int64_t now)
{
	bool		listed[LOOKUP_TOPICS] = {false};

	qsort(asking, (size_t) asking_count, sizeof(*asking), by_name);
	for (int i = 0; i < metadata->topic_cnt; i++)
	{
		Topic		wanted = {.name = metadata->topics[i].topic};
		Topic	   *key = &wanted;
		Topic	  **at = bsearch(&key, asking, (size_t) asking_count,
								 sizeof(*asking), by_name);

		if (at == NULL)
			continue;
		listed[at - asking] = true;
		topic_answer(*at, &metadata->topics[i], now);
	}
	for (int i = 0; i < asking_count; i++)
	{
		if (!listed[i])
			topic_not_listed(asking[i], now);
	}
}

static void
metadata_answer(int64_t now)
{
	const struct rd_kafka_metadata *metadata = lookup.metadata;

	if (lookup.error)
	{
		trouble_no_answer(lookup.error, lookup.text);
		for (int i = 0; i < asking_count; i++)
			retry_later(asking[i], now);
		return;
	}
	trouble_brokers_answer();
	if (asking_count > 1)
	{
		take_list(metadata, now);
		return;
	}
	for (int i = 0; asking_count > 0 && i < metadata->topic_cnt; i++)
	{
		if (strcmp(metadata->topics[i].topic, asking[0]->name) != 0)
			continue;
		asking[0]->alone = false;
		topic_answer(asking[0], &metadata->topics[i], now);
		return;
	}
	if (asking_count > 0)
		retry_later(asking[0], now);
}

/*
 * Were the topics refused only because they are so many?  The controller then
 * gives each of them this error, before it looks at anything else.  evpub does
 * not know how many partitions a topic gets when the broker chooses, so it
 * finds out how many topics may be created together.
 */
static bool
were_too_many(void)
{
	if (lookup.kind != LOOKUP_CREATE || lookup.error || asking_count < 2)
		return false;
	for (int i = 0; i < asking_count; i++)
	{
		if (lookup.results[i].error != RD_KAFKA_RESP_ERR_POLICY_VIOLATION)
			return false;
	}
	return true;
}

static void
create_answer(Topic *topic, rd_kafka_resp_err_t error, const char *text, int64_t now)
{
	topic->auto_create = false;
	if (error == RD_KAFKA_RESP_ERR_NO_ERROR ||
		error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
	{
		topic->state = TOPIC_ASK;
		topic->created = true;
		topic->backoff = 0;
		topic->due = now;
	}
	else if (error == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE &&
			 lookup.kind == LOOKUP_CREATE && settings->topic_partitions < 0 &&
			 settings->topic_replication_factor < 0)
	{
		/* with all left to the broker, its own way of creating is as good */
		topic->auto_create = true;
		topic->due = now;
	}
	else
	{
		snprintf(topic->trouble, sizeof(topic->trouble),
				 "topic \"%s\" does not exist and cannot be created: %s",
				 topic->name, text);
		topic->state = TOPIC_ASK;
		retry_later(topic, now);
	}
}

static void
take_answer(int64_t now)
{
	next_work = 0;
	if (lookup.kind == LOOKUP_METADATA)
		metadata_answer(now);
	else if (were_too_many())
		create_together = asking_count / 2; /* they stay due */
	else
	{
		for (int i = 0; i < asking_count; i++)
		{
			const LookupResult *result = &lookup.results[i];

			if (lookup.error || lookup.kind == LOOKUP_AUTO_CREATE)
				create_answer(asking[i], lookup.error, lookup.text, now);
			else
				create_answer(asking[i], result->error, result->text, now);
		}
	}
	if (lookup.metadata != NULL)
	{
		rd_kafka_metadata_destroy(lookup.metadata);
		lookup.metadata = NULL;
	}
}

static void
make_handle(Topic *topic)
{
	rd_kafka_topic_conf_t *conf;

	if (topic->handle != NULL)
		return;
	conf = rd_kafka_default_topic_conf_dup(client);
	rd_kafka_topic_conf_set_opaque(conf, topic);
	topic->handle = rd_kafka_topic_new(client, topic->name, conf);
	if (topic->handle == NULL)
		relay_fail(EVPUB_FAILURE_RETRY, "topic \"%s\": %s", topic->name,
				   rd_kafka_err2str(rd_kafka_last_error()));
}

static void
add_asking(Topic *topic)
{
	make_handle(topic);
	lookup.topics[asking_count] = topic->handle;
	asking[asking_count++] = topic;
}

static void
send_question(LookupKind kind)
{
	lookup.kind = kind;
	lookup.count = asking_count;
	lookup.partitions = settings->topic_partitions;
	lookup.replication_factor = settings->topic_replication_factor;
	lookup_ask(&lookup);
}

/* How many topics may one question be about? */
static int
question_size(bool create)
{
	int			size = LOOKUP_TOPICS;

	if (!create)
		return size;
	if (settings->topic_partitions > 0)
		size = CREATE_PARTITIONS_MAX / settings->topic_partitions;
	if (size > create_together)
		size = create_together;
	return size > 1 ? size : 1;
}

/*
 * Asks for one topic, or has it created; others that wait for the same go with
 * it: all that are to be created, and all that are to be looked for when they
 * are many.
 */
static void
ask(Topic *topic, int waiting, int64_t now)
{
	bool		create = topic->state == TOPIC_CREATE;
	int			size = question_size(create);

	asking_count = 0;
	add_asking(topic);
	if (create ? topic->auto_create : (waiting < ASK_TOGETHER || topic->alone))
	{
		send_question(create ? LOOKUP_AUTO_CREATE : LOOKUP_METADATA);
		return;
	}
	for (uint32_t i = 0; i < topics_size && asking_count < size; i++)
	{
		Topic	   *other = topics[i];

		if (other != NULL && other != topic && other->state == topic->state &&
			other->due <= now && !other->alone && !other->auto_create)
			add_asking(other);
	}
	send_question(create ? LOOKUP_CREATE : LOOKUP_METADATA);
}

/* Is anyone there?  "any": a topic that is known already, or NULL. */
static void
probe(Topic *any)
{
	asking_count = 0;
	if (any != NULL)
		lookup.topics[0] = any->handle;
	lookup.kind = LOOKUP_METADATA;
	lookup.count = any != NULL ? 1 : 0;
	lookup_ask(&lookup);
}

/* Finds what to ask next; sets next_work when there is nothing now. */
static void
ask_next(int64_t now, const Topic *head, bool stuck)
{
	Topic	   *first = NULL;	/* what records wait for, if it is due */
	Topic	   *waiting = NULL;
	Topic	   *ready = NULL;
	Topic	   *any = NULL;
	int			asks = 0;		/* that are due */

	for (uint32_t i = 0; i < topics_size; i++)
	{
		Topic	   *topic = topics[i];
		Topic	  **best;

		if (topic == NULL)
			continue;
		if (topic->handle != NULL)
			any = topic;
		best = topic->state == TOPIC_READY ? &ready : &waiting;
		if (*best == NULL || topic->due < (*best)->due)
			*best = topic;
		if (topic->state == TOPIC_ASK && topic->due <= now)
			asks++;
		if (topic == head && topic->state != TOPIC_READY && topic->due <= now)
			first = topic;
	}
	if (first != NULL)
	{
		ask(first, asks, now);
		return;
	}

	next_work = RELAY_NEVER;
	if (waiting != NULL)
	{
		if (waiting->due <= now)
		{
			ask(waiting, asks, now);
			return;
		}
		next_work = waiting->due;
	}
	if (ready != NULL)
	{
		int64_t		due = ready->due;

		if (stuck)
			due -= GROWTH_CHECK_MS;
		if (due < next_growth)
			due = next_growth;
		if (due <= now)
		{
			ready->due = now + GROWTH_CHECK_MS;
			next_growth = now + GROWTH_PAUSE_MS;
			ask(ready, 1, now);
			return;
		}
		if (due < next_work)
			next_work = due;
	}
	if (trouble_wants_probe())
	{
		if (next_probe <= now)
		{
			next_probe = now + PROBE_MS;
			probe(any);
			return;
		}
		if (next_probe < next_work)
			next_work = next_probe;
	}
}

const Topic *
topics_vanished(void)
{
	return vanished;
}

/* Names what records wait for, if that takes long.  Returns when it may change. */
static int64_t
tell_creation(const Topic *head, int64_t now)
{
	Topic	   *topic = head != NULL ? topics[head->number] : NULL;
	int64_t		until;

	if (topic == NULL || topic->state == TOPIC_READY || topic->trouble[0] != '\0' ||
		(topic->state != TOPIC_CREATE && !topic->created))
		return RELAY_NEVER;
	until = topic->waiting_since + CREATION_PATIENCE_MS;
	if (now < until)
		return until;
	snprintf(topic->trouble, sizeof(topic->trouble),
			 "topic \"%s\" is being created", topic->name);
	return RELAY_NEVER;
}

int64_t
topics_work(int64_t now, const Topic *head, bool stuck)
{
	int64_t		told;

	if (lookup_answered())
		take_answer(now);
	told = tell_creation(head, now);
	if (!lookup_idle())
		return told;
	if (next_work <= now || (trouble_wants_probe() && next_probe <= now) ||
		(stuck && next_growth <= now))
		ask_next(now, head, stuck);
	return lookup_idle() && next_work < told ? next_work : told;
}
