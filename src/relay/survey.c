/*
 * survey.c
 *		What the cluster knows of topics: asks for them, and has missing ones
 *		created.
 *
 * Before the first record of a topic is produced, the cluster is asked for it:
 * a record for a topic that does not exist would fail after a while without
 * being fatal, and later records could pass it.  A missing topic is created
 * only when it was never published to.  One that was published to and is gone
 * has lost events that were acknowledged; creating it again would hide that.
 *
 * One question is out at a time, and it is about as many topics as wait: a
 * request for each would hold up everybody while hundreds of topics are new.
 * After the creation of hundreds a broker needs a second or so until it leads
 * them all, and is busy: each question in that time makes it longer, and the
 * more the more topics it is about.  So one of those that were created by one
 * request, the scout, is asked for until it is there.  A broker learns of all of
 * them at once, or nearly so: the others are asked for then.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "creation.h"
#include "frames.h"
#include "lookup.h"
#include "lookback.h"
#include "relay.h"
#include "survey.h"
#include "trouble.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 2000

/*
 * A topic that was just created is there a few milliseconds later; one of
 * hundreds, within a second or two.  So it is asked for often at first.
 */
#define BACKOFF_CREATED_MS 5
#define BACKOFF_CREATED_MAX_MS 50
#define CREATED_OFTEN_MS 30000

/* The pause between two looks at the partition counts of topics in use. */
#define GROWTH_PAUSE_MS 1000
/* ... and so much more for each that was looked at. */
#define GROWTH_PAUSE_EACH_MS 10
/* How often a cluster that does not answer is tried while no topic waits. */
#define PROBE_MS 1000

/* Answers in a row before a smaller partition count is believed: a broker
 * may lag behind the others. */
#define SMALLER_MAX 3

/*
 * A question about several topics brings an answer about all that this relay
 * knows.  It is worth that when at least one in so many is wanted: a question
 * about one topic takes as long as about a hundred more in an answer.  An
 * answer about more topics than TOGETHER_MAX would take too much memory.
 */
#define TOGETHER_PART 50
#define TOGETHER_MAX 10000

/*
 * Kafka's controller refuses a request that would make more than 10,000
 * partitions.  So few are created together that this is not reached by far.
 */
#define CREATE_PARTITIONS_MAX 5000

/*
 * Topics that are to be created wait so long, in ms, for those that came with
 * them and were not asked for yet, so that one request creates them all.
 */
#define GATHER_MS 50

static rd_kafka_t *client;
static const RelaySettings *settings;

static Lookup lookup;
static Topic *asking[LOOKUP_TOPICS];	/* whom the lookup is for; none: a probe */
static int	asking_count;
static int	create_together = LOOKUP_TOPICS;	/* less once that was too much */
static const Topic *vanished;
static int64_t next_work;		/* nothing is due before */
static int64_t next_growth;
static int64_t next_probe;

void
survey_start(rd_kafka_t *use_client, const RelaySettings *use_settings)
{
	client = use_client;
	settings = use_settings;
}

/* The topic stays as it is for a while. */
static void
retry_later(Topic *topic, int64_t now)
{
	int			least = topic->created ? BACKOFF_CREATED_MS : BACKOFF_MIN_MS;
	int			most = topic->created && now - topic->waiting_since < CREATED_OFTEN_MS ?
		BACKOFF_CREATED_MAX_MS : BACKOFF_MAX_MS;

	topic->backoff = topic->backoff * 2;
	if (topic->backoff < least)
		topic->backoff = least;
	if (topic->backoff > most)
		topic->backoff = most;
	if (topic->group != 0 && !topic->scout && topic->backoff < CREATION_GROUP_MS)
		topic->backoff = CREATION_GROUP_MS;
	topic->due = now + topic->backoff;
}

/*
 * Records wait for a partition that has no leader, or less replicas in sync
 * than replicas, or just one: that may be less than min.insync.replicas, which
 * metadata does not contain.
 */
static void
look_at_replicas(Topic *topic, const struct rd_kafka_metadata_topic *found)
{
	for (int i = 0; i < found->partition_cnt; i++)
	{
		const struct rd_kafka_metadata_partition *at = &found->partitions[i];

		if (at->id < 0 || at->id >= topic->partitions_size ||
			topic->partitions[at->id].in_flight == 0)
			continue;
		if (at->leader < 0)
			trouble_no_leader(topic->name, at->id);
		else if (at->isr_cnt < at->replica_cnt || at->isr_cnt == 1)
			trouble_replicas(topic->name, at->id, at->isr_cnt, at->replica_cnt);
	}
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
		if (topic->scout)
			creation_arrived(topic, now);
		lookback_report(topic, count);
		return;
	}
	else if (count > topic->pinned)
		topics_report(topic, count);
	if (vanished == topic)
		vanished = NULL;
	topics_ready(topic, now);
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
		topic->due = now + TOPICS_GROWTH_CHECK_MS;
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

static int
by_name(const void *a, const void *b)
{
	return strcmp((*(Topic *const *) a)->name, (*(Topic *const *) b)->name);
}

static void
metadata_answer(int64_t now)
{
	const struct rd_kafka_metadata *metadata = lookup.metadata;
	bool		answered[LOOKUP_TOPICS] = {false};

	if (lookup.error || metadata->broker_cnt == 0)
	{
		if (lookup.error)
			trouble_no_answer(lookup.error, lookup.text);
		else
			trouble_no_brokers();
		for (int i = 0; i < asking_count; i++)
			retry_later(asking[i], now);
		return;
	}
	trouble_brokers_answer();
	qsort(asking, (size_t) asking_count, sizeof(*asking), by_name);
	for (int i = 0; i < metadata->topic_cnt; i++)
	{
		Topic		wanted = {.name = metadata->topics[i].topic};
		Topic	   *key = &wanted;
		Topic	  **at = bsearch(&key, asking, (size_t) asking_count,
								 sizeof(*asking), by_name);

		/* the answer has topics that were not asked for */
		if (at == NULL || answered[at - asking])
			continue;
		answered[at - asking] = true;
		(*at)->asked = true;
		topic_answer(*at, &metadata->topics[i], now);
	}
	for (int i = 0; i < asking_count; i++)
	{
		if (!answered[i])
			retry_later(asking[i], now);
	}
	creation_group(asking, asking_count, now);
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
		topic->fresh = error == RD_KAFKA_RESP_ERR_NO_ERROR;
		topic->group = 0;
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
		creation_note(asking, &lookup);
		creation_group(asking, asking_count, now);
	}
	if (lookup.metadata != NULL)
	{
		rd_kafka_metadata_destroy(lookup.metadata);
		lookup.metadata = NULL;
	}
}

static void
add_asking(Topic *topic)
{
	topics_make_handle(topic);
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
 * Asks for one topic, or has it created.  Others in the same state that are due
 * by then go with it, if "together".
 */
static void
ask(Topic *topic, bool together, int64_t due)
{
	bool		create = topic->state == TOPIC_CREATE;
	int			size = question_size(create);

	asking_count = 0;
	add_asking(topic);
	if (create && topic->auto_create)
	{
		send_question(LOOKUP_AUTO_CREATE);
		return;
	}
	for (uint32_t i = 0; together && i < topics_end() && asking_count < size; i++)
	{
		Topic	   *other = topics_get(i);

		if (other != NULL && other != topic && other->state == topic->state &&
			other->due <= due && !other->auto_create)
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

/* What there is to ask, or will be. */
typedef struct Agenda
{
	Topic	   *first;			/* what records wait for, if it is due */
	Topic	   *waiting;		/* the one that is due first */
	Topic	   *ready;			/* of those in use, the one to be looked at first */
	Topic	   *fresh;			/* one that was never asked for */
	Topic	   *any;			/* any that has a handle */
	int			asks;			/* to be asked for, and due */
	int			creates;		/* to be created, and due */
	int			looks;			/* in use, and due */
	int			handles;
} Agenda;

static void
make_agenda(Agenda *agenda, int64_t now, const Topic *head, int64_t looks_due)
{
	memset(agenda, 0, sizeof(*agenda));
	for (uint32_t i = 0; i < topics_end(); i++)
	{
		Topic	   *topic = topics_get(i);
		Topic	  **best;

		if (topic == NULL)
			continue;
		if (topic->handle != NULL)
		{
			agenda->any = topic;
			agenda->handles++;
		}
		best = topic->state == TOPIC_READY ? &agenda->ready : &agenda->waiting;
		if (*best == NULL || topic->due < (*best)->due)
			*best = topic;
		if (topic->state == TOPIC_READY)
			agenda->looks += topic->due <= looks_due;
		else if (topic->due <= now)
		{
			agenda->asks += topic->state == TOPIC_ASK;
			agenda->creates += topic->state == TOPIC_CREATE;
			if (topic->state == TOPIC_ASK && !topic->asked)
				agenda->fresh = topic;
			if (topic == head)
				agenda->first = topic;
		}
	}
}

static bool
worth_it(int wanted, const Agenda *agenda)
{
	return wanted > 1 && wanted * TOGETHER_PART >= agenda->handles &&
		agenda->handles <= TOGETHER_MAX;
}

/* Topics that wait, to be asked for or created. */
static void
ask_waiting(const Agenda *agenda, int64_t now)
{
	Topic	   *topic = agenda->first != NULL ? agenda->first : agenda->waiting;

	/* those that came with it are likely to be created, too */
	if (topic->state == TOPIC_CREATE && agenda->fresh != NULL &&
		now - topic->due < GATHER_MS && agenda->creates < question_size(true))
		topic = agenda->fresh;
	ask(topic, topic->state == TOPIC_CREATE || worth_it(agenda->asks, agenda), now);
}

/* Finds what to ask next; sets next_work when there is nothing now. */
static void
ask_next(int64_t now, const Topic *head, bool stuck)
{
	/* while records are stuck, all that are in use */
	int64_t		looks_due = stuck ? now + TOPICS_GROWTH_CHECK_MS : now;
	Agenda		agenda;

	make_agenda(&agenda, now, head, looks_due);
	if (agenda.asks + agenda.creates > 0)
	{
		ask_waiting(&agenda, now);
		return;
	}
	next_work = agenda.waiting != NULL ? agenda.waiting->due : RELAY_NEVER;
	if (agenda.ready != NULL)
	{
		int64_t		due = agenda.ready->due - (looks_due - now);

		if (due < next_growth)
			due = next_growth;
		if (due <= now)
		{
			ask(agenda.ready, worth_it(agenda.looks, &agenda), looks_due);
			next_growth = now + GROWTH_PAUSE_MS + asking_count * GROWTH_PAUSE_EACH_MS;
			for (int i = 0; i < asking_count; i++)
				asking[i]->due = now + TOPICS_GROWTH_CHECK_MS;
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
			probe(agenda.any);
			return;
		}
		if (next_probe < next_work)
			next_work = next_probe;
	}
}

const Topic *
survey_vanished(void)
{
	return vanished;
}

int64_t
survey_work(int64_t now, const Topic *head, bool stuck)
{
	int64_t		reported;

	if (lookup_answered())
		take_answer(now);
	reported = creation_report(head, now);
	if (topics_changed())
		next_work = 0;
	if (!lookup_idle())
		return reported;
	if (next_work <= now || (trouble_wants_probe() && next_probe <= now) ||
		(stuck && next_growth <= now))
		ask_next(now, head, stuck);
	return lookup_idle() && next_work < reported ? next_work : reported;
}
