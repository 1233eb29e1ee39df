/*
 * insync.c
 *		Do the in-sync replicas of partitions answer?
 *
 * A leader shows a record when all in-sync replicas have it.  A follower that is dead
 * or frozen stays one of them for a while (broker.session.timeout.ms,
 * replica.lag.time.max.ms), and until then the leader shows nothing that this follower
 * lacks.  So the end of a partition is asked for only when each of its in-sync replicas
 * has answered since the round of read-back began, which is after the death of the
 * relay before: a broker that answers also fetches.
 *
 * A broker is asked for one of its settings, since librdkafka sends that question to
 * this very broker.  Whether evpub may know the setting does not matter: a refusal is
 * an answer as well.  A broker that does not answer is asked again until it does, or
 * until the metadata say that it is no in-sync replica any more.  The relay may be the
 * only one that cannot reach it, so the wait ends some time.
 *
 * All of this is the reader's thread's.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "insync.h"
#include "relay.h"

/* The first answers are waited for so long; everything else of the reader waits, too. */
#define FIRST_MS 500

/* An answer that comes later does not count: the broker is asked again. */
#define REQUEST_MS 1000

/*
 * So long a broker is waited for, and less in a test: longer than it can stay in sync
 * by the defaults of Kafka (30 s), and the change of metadata takes its time.
 */
#ifndef INSYNC_GIVE_UP_MS
#define INSYNC_GIVE_UP_MS 45000
#endif

/* When no partition has waited for a broker for so long, its time begins anew. */
#define FORGET_MS 10000

typedef struct Replica
{
	int32_t		id;
	bool		answered;		/* in this round */
	bool		asked;			/* and the answer is to come */
	bool		first;			/* it is the first question of this round */
	bool		noted;			/* that it was given up */
	int64_t		since;			/* so long a partition has waited for it; 0: none */
	int64_t		wanted_at;		/* when one did last */
} Replica;

static rd_kafka_t *client;
static rd_kafka_queue_t *queue; /* of answers */
static Replica *replicas;
static int	replicas_count;
static int	first_count;		/* how many are "first" and "asked" */

void
insync_start(rd_kafka_t *use_client)
{
	client = use_client;
	queue = rd_kafka_queue_new(client);
	for (int i = 0; i < replicas_count; i++)
	{
		replicas[i].answered = false;
		replicas[i].asked = false;
		replicas[i].first = true;
	}
	first_count = 0;
}

void
insync_end(void)
{
	/* answers that are still to come go nowhere */
	rd_kafka_queue_destroy(queue);
}

/* The returned pointer is good until the next call. */
static Replica *
replica_of(int32_t id)
{
	for (int i = 0; i < replicas_count; i++)
	{
		if (replicas[i].id == id)
			return &replicas[i];
	}
	replicas = relay_realloc(replicas, (size_t) (replicas_count + 1) * sizeof(*replicas));
	replicas[replicas_count] = (Replica) {.id = id, .first = true};
	return &replicas[replicas_count++];
}

static void
ask(Replica *replica)
{
	char		name[16];
	char		why[256];
	rd_kafka_AdminOptions_t *options =
		rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	rd_kafka_ConfigResource_t *resource;

	snprintf(name, sizeof(name), "%d", replica->id);
	resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_BROKER, name);
	/* this one only, or the answer has hundreds */
	rd_kafka_ConfigResource_set_config(resource, "min.insync.replicas", "");
	rd_kafka_AdminOptions_set_request_timeout(options, REQUEST_MS, why, sizeof(why));
	rd_kafka_AdminOptions_set_opaque(options, (void *) (intptr_t) replica->id);
	rd_kafka_DescribeConfigs(client, &resource, 1, options, queue);
	rd_kafka_ConfigResource_destroy(resource);
	rd_kafka_AdminOptions_destroy(options);
	replica->asked = true;
	first_count += replica->first;
}

void
insync_ask(const struct rd_kafka_metadata_partition *partition)
{
	/* a leader that is alone shows all it has */
	for (int i = 0; partition->isr_cnt > 1 && i < partition->isr_cnt; i++)
	{
		Replica    *replica = replica_of(partition->isrs[i]);

		if (!replica->answered && !replica->asked)
			ask(replica);
	}
}

static void
take_answer(rd_kafka_event_t *event)
{
	Replica    *replica = replica_of((int32_t) (intptr_t) rd_kafka_event_opaque(event));
	rd_kafka_resp_err_t error = rd_kafka_event_error(event);

	first_count -= replica->first && replica->asked;
	replica->first = false;
	replica->asked = false;

	/*
	 * What a broker says is above librdkafka's own errors.  One that does not know the
	 * question has said that, too.
	 */
	if (error <= RD_KAFKA_RESP_ERR__END && error != RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE)
		return;
	replica->answered = true;
	replica->noted = false;
	replica->since = 0;
}

void
insync_wait(void)
{
	int64_t		now = relay_now();
	int64_t		until = now + FIRST_MS;
	rd_kafka_event_t *event;

	do
	{
		event = rd_kafka_queue_poll(queue, first_count > 0 && now < until ?
									(int) (until - now) : 0);
		if (event != NULL)
		{
			take_answer(event);
			rd_kafka_event_destroy(event);
		}
		now = relay_now();
	} while (event != NULL || (first_count > 0 && now < until));
	/* they are not waited for again, so that they do not hold up the others */
	for (int i = 0; i < replicas_count; i++)
		replicas[i].first = replicas[i].first && !replicas[i].asked;
	first_count = 0;
}

/* Has a partition to go on waiting for this broker? */
static bool
must_wait(Replica *replica, const char *topic, int32_t partition)
{
	int64_t		now = relay_now();

	if (replica->answered)
		return false;
	if (replica->since == 0 || now - replica->wanted_at > FORGET_MS)
	{
		replica->since = now;
		replica->noted = false;
	}
	replica->wanted_at = now;
	if (now - replica->since < INSYNC_GIVE_UP_MS)
		return true;
	/* this thread cannot send frames; the server logs what the relay writes here */
	if (!replica->noted)
		fprintf(stderr, "evpub-relay: broker %d has not answered for %d s, and is an in-sync replica of topic \"%s\" partition %d: records that it lacks may be published twice\n",
				replica->id, INSYNC_GIVE_UP_MS / 1000, topic, partition);
	replica->noted = true;
	return false;
}

int32_t
insync_silent(const struct rd_kafka_metadata_partition *partition, const char *topic)
{
	int32_t		silent = -1;

	/* all of them, since each has its own time */
	for (int i = 0; partition->isr_cnt > 1 && i < partition->isr_cnt; i++)
	{
		if (must_wait(replica_of(partition->isrs[i]), topic, partition->id))
			silent = partition->isrs[i];
	}
	return silent;
}
