/*
 * lookback.c
 *		What is in partitions already, before anything is written to them.
 *
 * With evpub.delivery = 'deduplicated' the partitions of a topic are closed from
 * READ_BACK on, which comes before the first record: until the worker has said by a
 * TAIL frame what of a partition is in Kafka already.  It can say so when the relay
 * has reported what it found behind the last acknowledged offset (reader.c).  So no
 * record goes to a partition whose tail is not known, while other partitions go on.
 *
 * A topic that nobody has published to is not read.  But it may have records of other
 * producers, and those need never be read: the worker gets the ends of its partitions
 * with its count, and keeps both.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "lookback.h"
#include "reader.h"
#include "readtask.h"
#include "relay.h"

/* A partition that is being read for so long is reported as the reason, in ms. */
#define PATIENCE_MS 1000

/* How often the reason is composed anew, in ms. */
#define LOOK_MS 250

static rd_kafka_conf_t *conf;
static bool has_origin;
static ReaderTask **tasks;		/* all that the reader has, in no order */
static uint32_t tasks_count;
static uint32_t tasks_size;
static int64_t next_look;

void
lookback_start(rd_kafka_conf_t *use_conf)
{
	conf = use_conf;
}

void
lookback_origin(const char *payload, uint32_t length)
{
	if (has_origin)
		relay_fail(EVPUB_FAILURE_RETRY, "unexpected ORIGIN frame from the server");
	has_origin = true;
	found_start(payload, length);
	reader_start(conf);
}

int
lookback_fd(void)
{
	return readtask_fd();
}

/* Makes a task, in front of "next". */
static ReaderTask *
make_task(const Topic *topic, int32_t partition, ReaderTask *next)
{
	ReaderTask *task = relay_realloc(NULL, sizeof(*task));

	memset(task, 0, sizeof(*task));
	task->next = next;
	task->number = topic->number;
	task->topic = topic->name;
	task->partition = partition;
	task->asked_at = relay_now();
	atomic_init(&task->end, -1);
	atomic_init(&task->silent, -1);
	if (tasks_count == tasks_size)
	{
		tasks_size = tasks_size * 2 + 64;
		tasks = relay_realloc(tasks, tasks_size * sizeof(*tasks));
	}
	task->asked_index = tasks_count;
	tasks[tasks_count++] = task;
	return task;
}

static void
free_task(ReaderTask *task)
{
	tasks[task->asked_index] = tasks[--tasks_count];
	tasks[task->asked_index]->asked_index = task->asked_index;
	found_free(&task->found);
	free(task);
}

/* The topic that a frame about read-back names. */
static Topic *
topic_of(uint32_t number, int32_t partition, int32_t least, const char *what)
{
	Topic	   *topic = has_origin ? topics_get(number) : NULL;

	if (topic == NULL || partition < least || partition >= topic->pinned)
		relay_fail(EVPUB_FAILURE_RETRY, "malformed %s frame from the server", what);
	return topic;
}

/*
 * All of its partitions at once, since one request to a broker covers all of them.
 * When the count has grown, those that were read are not read again.
 */
void
lookback_counted(Topic *topic)
{
	ReaderTask *list = NULL;

	if (!topic->read_back)
		return;
	for (int32_t i = topic->pinned - 1; i >= 0; i--)
	{
		TopicPartition *partition = topics_partition(topic, i);

		if (partition->access != PARTITION_UNREAD)
			continue;
		partition->access = PARTITION_READ;
		list = make_task(topic, i, list);
		list->from = partition->offset + 1;
	}
	readtask_ask(list);
}

/*
 * From now on partitions of the topic are closed until they are read.  If it has no
 * count yet, they are read from their beginning when it has.
 */
void
lookback_topic(const char *payload, uint32_t length)
{
	EvpubFramePartition frame;
	Topic	   *topic;

	if (length != sizeof(frame))
		relay_fail(EVPUB_FAILURE_RETRY, "malformed READ_BACK frame from the server");
	memcpy(&frame, payload, sizeof(frame));
	topic = topic_of(frame.topic, frame.partition, -1, "READ_BACK");
	topic->read_back = true;
	lookback_counted(topic);
}

void
lookback_tail(const char *payload, uint32_t length)
{
	EvpubFrameFound frame;
	Topic	   *topic;
	TopicPartition *partition;

	if (length < sizeof(frame))
		relay_fail(EVPUB_FAILURE_RETRY, "malformed TAIL frame from the server");
	memcpy(&frame, payload, sizeof(frame));
	if ((length - sizeof(frame)) / sizeof(EvpubFrameFoundId) != frame.count ||
		(length - sizeof(frame)) % sizeof(EvpubFrameFoundId) != 0)
		relay_fail(EVPUB_FAILURE_RETRY, "malformed TAIL frame from the server");
	topic = topic_of(frame.topic, frame.partition, 0, "TAIL");
	partition = topics_partition(topic, frame.partition);

	/*
	 * The worker may explain a tail by itself just when the relay reports PASSED, and
	 * answers that as well.  Meanwhile the relay has sent a record, and reads again: this
	 * answer says nothing of what is found then.
	 */
	if (partition->again && !frame.again)
		return;
	if (partition->access == PARTITION_UNREAD || partition->access == PARTITION_READ)
		relay_fail(EVPUB_FAILURE_RETRY, "the server sent a tail of topic \"%s\" partition %d before it was read back",
				   topic->name, frame.partition);
	partition->again = false;
	tail_free(partition->tail);
	partition->tail = tail_new(payload + sizeof(frame), frame.count);
	partition->access = PARTITION_OPEN;
}

void
lookback_report(Topic *topic, int32_t count)
{
	ReaderTask *list = NULL;

	if (!has_origin || topic->read_back || topic->fresh)
	{
		topics_report(topic, count);
		return;
	}
	topic->count = count;
	topic->ends_awaited = count;
	for (int32_t i = count - 1; i >= 0; i--)
	{
		list = make_task(topic, i, list);
		list->end_only = true;
	}
	readtask_ask(list);
}

static void
send_acked(const Topic *topic, int32_t partition, int64_t offset)
{
	EvpubFrameAcked frame = {
		.topic = topic->number,
		.partition = partition,
		.offset = offset
	};

	frames_send(EVPUB_FRAME_ACKED_OFFSET, &frame, sizeof(frame), NULL, 0);
}

/*
 * The end of a partition of a new topic.  The worker must not get the count without
 * the ends: it would make the count durable, and then the next relay would read all
 * that others have written.
 *
 * Unless the worker has sent a count meanwhile, which a relay before had reported.  Then
 * records may be on their way already, and the end may be behind them: whoever takes it
 * for the place where evpub's records begin would not find these.
 */
static void
take_new_end(const ReaderTask *task)
{
	Topic	   *topic = topics_get(task->number);

	if (topic->pinned > 0)
		return;
	topics_partition(topic, task->partition)->offset = atomic_load(&task->end) - 1;
	if (--topic->ends_awaited > 0)
		return;
	topic->trouble[0] = '\0';
	topics_report(topic, topic->count);
	for (int32_t i = 0; i < topic->count; i++)
	{
		TopicPartition *partition = topics_partition(topic, i);

		/* if READ_BACK has come meanwhile, it is read from its beginning */
		if (partition->offset >= 0 && !topic->read_back)
			send_acked(topic, i, partition->offset);
		/* the worker gives it back */
		partition->offset = -1;
	}
}

static void
take_found(ReaderTask *task)
{
	TopicPartition *partition = topics_partition(topics_get(task->number),
												 task->partition);
	EvpubFrameFound frame;

	if (task->again)
		found_leave_out(&task->found, task->after);
	frame = (EvpubFrameFound) {
		.topic = task->number,
		.partition = task->partition,
		.end = atomic_load(&task->at),
		.count = task->found.count,
		.again = task->again
	};

	partition->access = PARTITION_FOUND;
	partition->read_end = task->again ? -1 : frame.end;
	partition->read_at = relay_now();
	frames_send(EVPUB_FRAME_FOUND, &frame, sizeof(frame), task->found.ids,
				task->found.count * sizeof(*task->found.ids));
}

/* The topic was deleted and made again, and a person has to look at that. */
static void __attribute__((noreturn))
ends_below(const ReaderTask *task)
{
	topics_remade(topics_get(task->number));
	relay_fail(EVPUB_FAILURE_TOPIC,
			   "topic \"%s\" partition %d ends at offset %" PRId64 ", but offset %" PRId64 " was acknowledged: the topic was deleted and made again, or has lost records",
			   task->topic, task->partition, atomic_load(&task->end), task->from - 1);
}

/*
 * What a leader has taken, and replicas in sync lack, cannot be read, for as long as they
 * lag behind.  So a predecessor may have got in more than was found.  The first record
 * of a partition goes alone (producer.c), and when it is acknowledged, everything in
 * front of it can be read.  It is there twice, if what was hidden began with it; nothing
 * else is sent before what was hidden is known.
 *
 * A report without an offset says nothing, and then others may be under way when the
 * first one with an offset comes.  Those would be taken for a predecessor's, and never be
 * met; so it is too late then, and nothing is read, but by the next relay (offsets.c).
 *
 * An announcement of a gap goes out before the tail is met (tail.c).  The answer to what
 * is read then would replace the tail, and what is still to be dropped would be sent.  So
 * the next record goes alone, too, until one above the tail is acknowledged.
 */
void
lookback_first_acked(Topic *topic, int32_t number, int64_t offset, const char *id)
{
	TopicPartition *partition = topics_partition(topic, number);
	ReaderTask *task;

	if (tail_is_open(partition->tail))
	{
		if (offset == partition->read_end)
			partition->read_end = offset + 1;
		partition->proved = false;
		return;
	}
	if (offset > partition->read_end && id != NULL && partition->in_flight == 0)
	{
		task = make_task(topic, number, NULL);
		task->from = partition->read_end;
		task->again = true;
		memcpy(task->after, id, sizeof(task->after));
		partition->access = PARTITION_READ;
		partition->again = true;
		readtask_ask(task);
	}
	else if (offset > partition->read_end)
		partition->mixed = true;
	partition->read_end = -1;
}

int64_t
lookback_work(int64_t now)
{
	ReaderTask *task;
	ReaderTask *next;

	/* each task that was asked for is among them until it is taken */
	if (!has_origin || tasks_count == 0)
		return RELAY_NEVER;
	for (task = readtask_take(); task != NULL; task = next)
	{
		next = task->next;
		if (task->outcome == READER_BELOW)
			ends_below(task);
		if (task->end_only)
			take_new_end(task);
		else
			take_found(task);
		free_task(task);
		next_look = 0;
	}
	if (tasks_count == 0)
		return RELAY_NEVER;
	return now + LOOK_MS;
}

/* Why this partition is not read yet. */
static void
compose(const ReaderTask *task, int64_t now, char *text, size_t size)
{
	rd_kafka_resp_err_t error = atomic_load(&task->error);
	int32_t		silent = atomic_load(&task->silent);
	int64_t		at = atomic_load(&task->at);
	int64_t		end = atomic_load(&task->end);

	text[0] = '\0';
	if (reader_lacks_rights(error))
		snprintf(text, size,
				 "topic \"%s\" cannot be read, which evpub.delivery = 'deduplicated' needs: %s\n"
				 "Grant evpub's user READ: kafka-acls.sh --add --allow-principal User:<name> --operation Read --topic <topic>. It goes on by itself. Or, with repetitions after a crash: ALTER SYSTEM SET evpub.delivery = 'at_least_once'; SELECT pg_reload_conf(); If nothing is published to it any more: SELECT evpub.forget_topic('<topic>');",
				 task->topic, rd_kafka_err2str(error));
	else if (error == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE && end >= 0)
		snprintf(text, size,
				 "topic \"%s\" partition %d ends at offset %" PRId64 ", but offset %" PRId64 " was acknowledged: its leader lags behind, or it has lost records",
				 task->topic, task->partition, end, task->from - 1);
	else if (now - task->asked_at < PATIENCE_MS)
		;
	else if (silent >= 0)
		snprintf(text, size,
				 "broker %d does not answer, and is an in-sync replica of topic \"%s\" partition %d: what it lacks cannot be read back yet",
				 silent, task->topic, task->partition);
	else if (error)
		snprintf(text, size, "topic \"%s\" partition %d cannot be read back yet: %s",
				 task->topic, task->partition, rd_kafka_err2str(error));
	else if (end >= 0 && !task->end_only)
		snprintf(text, size,
				 "reading back topic \"%s\" partition %d: %" PRId64 " of %" PRId64 " records",
				 task->topic, task->partition, at - task->from, end - task->from);
	else
		snprintf(text, size,
				 "topic \"%s\" partition %d cannot be read back yet: no broker says where it ends",
				 task->topic, task->partition);
}

const char *
lookback_trouble(const Topic *waits_for, int32_t partition, int64_t now)
{
	static char text[RELAY_TEXT_MAX];
	static const Topic *last;
	static int32_t last_partition;

	if (tasks_count == 0)
		return "";
	if (now < next_look && last == waits_for && last_partition == partition)
		return text;
	next_look = now + LOOK_MS;
	last = waits_for;
	last_partition = partition;
	text[0] = '\0';

	/* what is missing for good is reported also while nothing waits for it */
	for (uint32_t i = 0; i < tasks_count && text[0] == '\0'; i++)
	{
		const ReaderTask *task = tasks[i];

		if (reader_lacks_rights(atomic_load(&task->error)) ||
			(waits_for != NULL && task->number == waits_for->number &&
			 (task->partition == partition || task->end_only)))
			compose(task, now, text, sizeof(text));
	}
	return text;
}
