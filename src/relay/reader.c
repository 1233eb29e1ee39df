/*
 * reader.c
 *		Reads partitions back, in a thread of its own with a consumer of its own.
 *
 * A relay must know what its predecessor got into a partition before it writes to
 * it.  The thread asks the cluster where the partitions end, all of one leader by
 * one request, and then fetches what is between; a request covers all partitions
 * of a broker, too.  Waiting for an answer may block, and there may be millions of
 * records of other producers, which is why the event loop does not do this.
 *
 * Of each topic a partition is fetched, also when there is nothing behind any offset:
 * only a fetch shows whether the right to read is there, and it has to be found
 * missing when a relay starts, not on the one day when there is something to read.
 * So partitions with nothing to read are held until a fetch of their topic has
 * succeeded.  Not all of them are fetched: for a thousand, that kept the broker busy
 * for half a second.
 *
 * A partition is read when its end, as its leader gave it, is reached: by a record,
 * or by librdkafka's word that nothing follows, since the last offsets may hold
 * markers of transactions, or nothing at all in a compacted topic.  The end is asked
 * for separately because a leader that has just been elected may not know yet how
 * far it may show its records: a fetch ends early then, while the question for the
 * end is refused.
 *
 * No other process writes for evpub by then: the worker starts a relay when the one
 * before is dead.  What the leader has and may not show yet is waited for, if a replica
 * in sync does not answer (insync.c), or seen when the first record is acknowledged
 * (lookback_first_acked()); what is still in the network then is seen by nobody.
 *
 * The thread touches neither topics nor frames: it gets tasks and gives them back.
 */
#include <stdlib.h>
#include <string.h>

#include "consumer.h"
#include "insync.h"
#include "reader.h"
#include "readtask.h"
#include "relay.h"

/* For the ends of one leader: the others wait meanwhile. */
#define ENDS_TIMEOUT_MS 1000

#define BACKOFF_MIN_MS 20
#define BACKOFF_MAX_MS 1000

/* A topic that is gone is mostly one that nothing is published to any more. */
#define BACKOFF_GONE_MS 10000

/* So long nothing may come of a partition before another consumer tries. */
#define STALLED_MS 15000

/* A fetch that only shows whether the topic may be read is given so long. */
#define PROBE_MS 500

/*
 * The consumer is kept so long after the last task: more topics may follow.  It
 * fetches meanwhile, which costs the broker.
 */
#define KEEP_MS 50

/* Records that are taken off the queue at once. */
#define TURN 500

/*
 * So long a record is awaited before the thread looks whether there are new tasks, in
 * ms; so long when nothing has come of any partition for SILENT_MS, and so long while
 * there is none, since a consumer is not kept for long.
 */
#define WAIT_MS 5
#define WAIT_SILENT_MS 50
#define WAIT_NO_TASK_MS 20
#define SILENT_MS 1000

static rd_kafka_conf_t *conf;
/* The thread's own. */
static Consumer *consumer;
static ReaderTask **active;		/* in no order */
static uint32_t active_count;
static uint32_t active_size;
static int64_t busy_at;			/* when there was a task last */

bool
reader_lacks_rights(rd_kafka_resp_err_t error)
{
	return error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
		error == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
}

static void
add_active(ReaderTask *task)
{
	if (active_count == active_size)
	{
		active_size = active_size * 2 + 64;
		active = relay_realloc(active, active_size * sizeof(*active));
	}
	task->step = READER_ASK;
	task->due = 0;
	task->backoff = 0;
	task->below_since = 0;
	task->index = active_count;
	active[active_count++] = task;
}

static void
finish(ReaderTask *task, ReaderOutcome outcome)
{
	task->outcome = outcome;
	if (consumer != NULL)
	{
		ConsumerTopic *topic = consumer->topics[task->number];

		topic->tasks[task->partition] = NULL;
	}
	active[task->index] = active[--active_count];
	active[task->index]->index = task->index;
	readtask_answer(task);
}

static void
ask_later(ReaderTask *task, rd_kafka_resp_err_t error, int64_t now)
{
	int			most = error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ?
		BACKOFF_GONE_MS : BACKOFF_MAX_MS;

	task->step = READER_ASK;
	task->backoff = task->backoff * 2;
	if (task->backoff < BACKOFF_MIN_MS)
		task->backoff = BACKOFF_MIN_MS;
	if (task->backoff > most)
		task->backoff = most;
	task->due = now + task->backoff;
	atomic_store(&task->error, error);
}

static bool
have_consumer(void)
{
	if (consumer == NULL && (consumer = consumer_new(conf)) != NULL)
		insync_start(consumer->client);
	return consumer != NULL;
}

/* Begins anew with another consumer. */
static void
drop_consumer(void)
{
	if (consumer == NULL)
		return;
	insync_end();
	consumer_end(consumer);
	consumer = NULL;
	for (uint32_t i = 0; i < active_count; i++)
		active[i]->step = READER_ASK;
}

/*
 * Whose in-sync replicas all answer?  Returns how many, and puts them in front.  An
 * end alone is only to be passed over, and does no harm if it is too early.  What is
 * read again stands in front of a record that was acknowledged, so they have it.
 */
static uint32_t
await_insync(ReaderTask **tasks, uint32_t count)
{
	uint32_t	ready = 0;
	int64_t		now;

	for (uint32_t i = 0; i < count; i++)
	{
		if (!tasks[i]->end_only && !tasks[i]->again)
			insync_ask(tasks[i]->metadata);
	}
	insync_wait();
	now = relay_now();
	for (uint32_t i = 0; i < count; i++)
	{
		ReaderTask *task = tasks[i];
		int32_t		silent = task->end_only || task->again ? -1 :
			insync_silent(task->metadata, task->topic);

		atomic_store(&task->silent, silent);
		if (silent >= 0)
			ask_later(task, RD_KAFKA_RESP_ERR_NO_ERROR, now);
		else
			tasks[ready++] = task;
	}
	return ready;
}

/*
 * Finds the leaders of these tasks; returns how many have one that shows all it has,
 * and puts them in front.
 */
static uint32_t
find_leaders(ReaderTask **tasks, uint32_t count)
{
	const struct rd_kafka_metadata *metadata = NULL;
	uint32_t	found = 0;
	rd_kafka_resp_err_t error = consumer_metadata(consumer, &metadata);
	int64_t		now = relay_now();

	for (uint32_t i = 0; i < count; i++)
	{
		ReaderTask *task = tasks[i];
		rd_kafka_resp_err_t why = error;

		task->metadata = error ? NULL :
			consumer_partition(consumer->topics[task->number], task->partition, &why);
		if (task->metadata == NULL)
		{
			atomic_store(&task->silent, -1);
			ask_later(task, why, now);
			continue;
		}
		task->leader = task->metadata->leader;
		tasks[found++] = task;
	}
	found = await_insync(tasks, found);
	if (metadata != NULL)
		rd_kafka_metadata_destroy(metadata);
	return found;
}

static void
start_reading(ReaderTask *task, int64_t now)
{
	ConsumerTopic *topic = consumer->topics[task->number];

	if (task->again)
		(void) rd_kafka_consume_stop(topic->handle, task->partition);
	if (rd_kafka_consume_start_queue(topic->handle, task->partition, task->from,
									 consumer->queue) != 0)
	{
		ask_later(task, rd_kafka_last_error(), now);
		return;
	}
	topic->tasks[task->partition] = task;
	topic->probe_due = now + PROBE_MS;
	task->step = READER_READ;
	task->progress_at = now;
	atomic_store(&task->at, task->from);
	atomic_store(&task->error, RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* The end of a partition is known: is there anything to read? */
static void
take_end(ReaderTask *task, int64_t end, int64_t now)
{
	if (task->again && end > task->from + READER_AGAIN_MOST)
		end = task->from + READER_AGAIN_MOST;
	atomic_store(&task->end, end);
	if (task->end_only)
	{
		finish(task, READER_DONE);
		return;
	}
	if (end < task->from)
	{
		if (task->below_since == 0)
			task->below_since = now;
		if (now - task->below_since >= READER_BELOW_MS)
			finish(task, READER_BELOW);
		else
			ask_later(task, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, now);
		return;
	}
	task->below_since = 0;
	if (end > task->from)
		start_reading(task, now);
	else
	{
		task->step = READER_HOLD;
		atomic_store(&task->at, end);
	}
}

/* Asks one leader for the ends of its partitions. */
static void
ask_ends(ReaderTask **tasks, uint32_t count)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new((int) count);
	rd_kafka_resp_err_t error;
	int64_t		now;

	for (uint32_t i = 0; i < count; i++)
		rd_kafka_topic_partition_list_add(list, tasks[i]->topic,
										  tasks[i]->partition)->offset = RD_KAFKA_OFFSET_END;
	error = rd_kafka_offsets_for_times(consumer->client, list, ENDS_TIMEOUT_MS);
	now = relay_now();
	for (uint32_t i = 0; i < count; i++)
	{
		/* the list keeps its order */
		const rd_kafka_topic_partition_t *answer = &list->elems[i];
		rd_kafka_resp_err_t why = error ? error : answer->err;

		if (!why && (answer->partition != tasks[i]->partition ||
					 strcmp(answer->topic, tasks[i]->topic) != 0 || answer->offset < 0 ||
					 answer->offset > EVPUB_FRAME_OFFSET_MAX))
			why = RD_KAFKA_RESP_ERR__BAD_MSG;
		if (why)
			ask_later(tasks[i], why, now);
		else
			take_end(tasks[i], answer->offset, now);
	}
	rd_kafka_topic_partition_list_destroy(list);
}

/*
 * By leader; those that were asked in vain come last, so that a leader that does
 * not answer does not hold up the others.
 */
static int
by_leader(const void *a, const void *b)
{
	const ReaderTask *one = *(ReaderTask *const *) a;
	const ReaderTask *other = *(ReaderTask *const *) b;

	if ((one->backoff > 0) != (other->backoff > 0))
		return one->backoff > 0 ? 1 : -1;
	if (one->leader != other->leader)
		return one->leader < other->leader ? -1 : 1;
	return 0;
}

/* Asks for the ends of all partitions that are due. */
static void
ask_due(int64_t now)
{
	static ReaderTask **due;
	static uint32_t due_size;
	uint32_t	count = 0;

	if (due_size < active_count)
	{
		due_size = active_size;
		due = relay_realloc(due, due_size * sizeof(*due));
	}
	for (uint32_t i = 0; i < active_count; i++)
	{
		ReaderTask *task = active[i];

		if (task->step != READER_ASK || task->due > now)
			continue;
		if (!have_consumer())
		{
			ask_later(task, RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, now);
			continue;
		}
		if (consumer_topic(consumer, task->number, task->topic, task->partition) == NULL)
			ask_later(task, rd_kafka_last_error(), now);
		else
			due[count++] = task;
	}
	if (count > 0)
		count = find_leaders(due, count);
	qsort(due, count, sizeof(*due), by_leader);
	for (uint32_t i = 0; i < count;)
	{
		uint32_t	end = i + 1;

		while (end < count && by_leader(&due[i], &due[end]) == 0)
			end++;
		ask_ends(due + i, end - i);
		i = end;
	}
}

/* What was to be read first is not there any more: from the beginning of the log. */
static void
read_from_beginning(ConsumerTopic *topic, ReaderTask *task, int64_t now)
{
	rd_kafka_consume_stop(topic->handle, task->partition);
	if (rd_kafka_consume_start_queue(topic->handle, task->partition,
									 RD_KAFKA_OFFSET_BEGINNING, consumer->queue) != 0)
		ask_later(task, rd_kafka_last_error(), now);
}

static void
take_message(rd_kafka_message_t *message, int64_t now)
{
	ConsumerTopic *topic = rd_kafka_topic_opaque(message->rkt);
	ReaderTask *task = message->partition >= 0 && message->partition < topic->size ?
		topic->tasks[message->partition] : NULL;

	if (task == NULL || task->step != READER_READ)
	{
		/* what is read already; others may go on writing to it */
		if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			rd_kafka_consume_stop(topic->handle, message->partition);
		return;
	}
	switch (message->err)
	{
		case RD_KAFKA_RESP_ERR_NO_ERROR:
			found_take(&task->found, message);
			/* FALLTHROUGH */
		case RD_KAFKA_RESP_ERR__PARTITION_EOF:
			topic->readable = true;
			topic->error = RD_KAFKA_RESP_ERR_NO_ERROR;
			task->progress_at = now;
			atomic_store(&task->error, RD_KAFKA_RESP_ERR_NO_ERROR);
			atomic_store(&task->at, message->offset + (message->err == 0));
			if (message->offset + (message->err == 0) >= task->end)
				finish(task, READER_DONE);
			break;
		case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
		case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
			read_from_beginning(topic, task, now);
			break;
		default:

			/*
			 * librdkafka fetches again, and says it only once.  So the error stays
			 * until something comes.
			 */
			task->progress_at = now;
			topic->error = message->err;
			atomic_store(&task->error, message->err);
			break;
	}
}

/* Takes what comes, for some milliseconds. */
static void
read_on(int wait_ms)
{
	static rd_kafka_message_t *messages[TURN];
	rd_kafka_event_t *event;
	ssize_t		count;

	messages[0] = rd_kafka_consume_queue(consumer->queue, wait_ms);
	if (messages[0] != NULL)
	{
		int64_t		now = relay_now();

		/* with a time to wait this call would wait until it has as many */
		count = rd_kafka_consume_batch_queue(consumer->queue, 0, messages + 1, TURN - 1);
		for (ssize_t i = 0; i < 1 + (count > 0 ? count : 0); i++)
		{
			take_message(messages[i], now);
			rd_kafka_message_destroy(messages[i]);
		}
	}
	/* the producer says what is wrong with the brokers */
	while ((event = rd_kafka_queue_poll(consumer->events, 0)) != NULL)
		rd_kafka_event_destroy(event);
}

/*
 * Partitions with nothing to read: done, once their topic is known to be readable.
 * One of them is fetched to find that out, if no other is; and after a while another
 * one, since the leader of the first may have gone.
 */
static void
look_at_held(int64_t now)
{
	/* finish() puts the last one in the place of this one */
	for (uint32_t i = active_count; i-- > 0;)
	{
		ReaderTask *task = active[i];
		ConsumerTopic *topic;

		if (task->step != READER_HOLD)
			continue;
		topic = consumer->topics[task->number];
		if (topic->readable)
			finish(task, READER_DONE);
		else if (now >= topic->probe_due && !reader_lacks_rights(topic->error))
			start_reading(task, now);
		else
			atomic_store(&task->error, topic->error);
	}
}

static bool
has_stalled(int64_t now)
{
	for (uint32_t i = 0; i < active_count; i++)
	{
		if (active[i]->step == READER_READ &&
			!reader_lacks_rights(atomic_load(&active[i]->error)) &&
			now - active[i]->progress_at > STALLED_MS)
			return true;
	}
	return false;
}

/*
 * When the next task is to ask for its end, if that is all that can happen before:
 * nothing is fetched.  RELAY_NEVER: there is no task, and no consumer to be ended.
 */
static int64_t
idle_until(int64_t now)
{
	int64_t		until = RELAY_NEVER;

	if (active_count == 0 && consumer != NULL)
		return now;
	for (uint32_t i = 0; i < active_count; i++)
	{
		if (active[i]->step != READER_ASK)
			return now;
		if (active[i]->due < until)
			until = active[i]->due;
	}
	return until;
}

/* How long a record may be awaited now, in ms: until the next thing is to be done. */
static int
patience(int64_t now)
{
	int64_t		wait = WAIT_SILENT_MS;

	if (active_count == 0)
		return WAIT_NO_TASK_MS;

	/* nothing is fetched, so no record comes: take_questions() waits */
	if (idle_until(now) > now)
		return 0;
	for (uint32_t i = 0; i < active_count; i++)
	{
		const ReaderTask *task = active[i];
		int64_t		most = WAIT_MS;

		if (task->step == READER_ASK)
			most = task->due > now ? task->due - now : 0;
		else if (task->step == READER_READ ? now - task->progress_at > SILENT_MS :
				 reader_lacks_rights(atomic_load(&task->error)))
			most = WAIT_SILENT_MS;
		if (wait > most)
			wait = most;
	}
	return (int) wait;
}

/*
 * Takes in new tasks; waits for them while there is nothing else to do.  Brokers that
 * do not answer are asked once a second, and to look more often would cost as much as
 * the rest of the relay.
 */
static void
take_questions(void)
{
	ReaderTask *task = readtask_await(idle_until(relay_now()));

	while (task != NULL)
	{
		ReaderTask *next = task->next;

		add_active(task);
		task = next;
	}
}

static void *__attribute__((noreturn))
reader_main(void *unused)
{
	(void) unused;
	for (;;)
	{
		int64_t		now;

		take_questions();
		now = relay_now();
		if (active_count > 0)
			busy_at = now;
		else if (consumer != NULL && now - busy_at > KEEP_MS)
			drop_consumer();
		ask_due(now);
		look_at_held(relay_now());
		if (consumer != NULL)
			read_on(patience(relay_now()));
		if (has_stalled(relay_now()))
			drop_consumer();
	}
}

void
reader_start(rd_kafka_conf_t *use_conf)
{
	conf = use_conf;
	readtask_start(reader_main);
}
