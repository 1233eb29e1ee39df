/*
 * producer.c
 *		From batches to Kafka, and from delivery reports to acknowledgements.
 *
 * Records are handed to librdkafka in sequence; what is in flight is bounded
 * by count and by memory, librdkafka's bookkeeping included, so that this
 * process stays small however long the brokers are away.  Beyond the bound
 * the batch waits in the input buffer, and with it the worker.
 *
 * Delivery reports of different partitions come in any order; a ring indexed
 * by sequence number finds up to where they are complete, and only that is
 * acknowledged.  Reports of one partition come in order: librdkafka keeps the
 * messages of a partition in sequence and takes each report off the head.
 *
 * A failed report ends the relay (failure.c).  Nothing at or behind the failed
 * record is ever acknowledged, so the next relay gets it again.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "config.h"
#include "failure.h"
#include "frames.h"
#include "lookback.h"
#include "offsets.h"
#include "producer.h"
#include "record.h"
#include "relay.h"
#include "sizes.h"
#include "trouble.h"

/* In flight at most: a power of two, and what config.c sets in librdkafka. */
#define RING_SIZE CONFIG_QUEUE_MESSAGES
#define RING_MASK (RING_SIZE - 1)

/* Memory for records in flight, in bytes as record_cost() counts. */
#define BUDGET (16 * 1024 * 1024)

/* Records handed on before the event loop looks at everything else again. */
#define PRODUCE_TURN 1000

/* Events taken before the event loop looks at everything else again. */
#define SERVE_TURN 100

/*
 * How long a leader that has acknowledged a record is taken to know this
 * producer.  Brokers forget an idle producer after producer.id.expiration.ms,
 * a day by default.
 */
#define PROVED_MS 60000

/* Acknowledgements wait while so much is unsent. */
#define UNSENT_MAX 65536

/*
 * The requests of one batch, one for each partition, are answered one after the other.
 * Behind the first report of one the others are awaited for so long, in microseconds,
 * and taken together: each look costs as much as ten of them.
 */
#define COLLECT_REPORTS_US 1000

/* The worker hears at once when all is acknowledged, and of a part so late, in ms. */
#define REPORT_INTERVAL 5

/* A record costs less than this. */
#define DONE 0x80000000u
#define DROPPED 0x40000000u

static rd_kafka_t *client;
static rd_kafka_queue_t *events;
static int	events_fd = -1;

/* The batch in hand. */
static const char *batch_at;	/* while records are produced; see produce_all() */
static const char *batch_end;
static size_t batch_done;		/* of its bytes */
static size_t batch_length;
static uint32_t batch_left;
static const Topic *head;
static Topic *closed;			/* the topic of a record whose partition is closed */
static int32_t closed_partition;

/* In flight: acked < number < next. */
static uint64_t next = 1;
static uint64_t acked;
static uint64_t acked_reported;
static int64_t unreported_since;	/* that "acked" is ahead of that; 0: it is not */
static int64_t collect_until;	/* in microseconds: reports are not looked at before */
static uint64_t dropped;		/* of those up to "acked" */
static bool last_dropped;		/* the last one of those was */
static uint32_t ring[RING_SIZE];	/* cost, and DONE and DROPPED */
static uint32_t wire[RING_SIZE];	/* bytes on the wire, about */
static uint64_t unreported_records; /* in flight without a report */
static size_t in_flight_cost;
static int64_t last_progress;

static void
refuse_broken_versions(void)
{
	int			version = rd_kafka_version();

	/* "Unable to reconstruct MessageSet": loses its place after a retry */
	if (version >= 0x02020000 && version < 0x02050000)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "librdkafka %s cannot be used: versions 2.2 to 2.4 fail after a retry; use 2.0, 2.1, or 2.5 and later",
				   rd_kafka_version_str());
}

rd_kafka_t *
producer_start(rd_kafka_conf_t *conf)
{
	static const uint64_t one = 1;
	char		why[512];

	refuse_broken_versions();
	client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (client == NULL)
	{
		const char *file = config_file_of(why);

		relay_fail(EVPUB_FAILURE_CONFIG, "librdkafka: %s%s%s%s\n%s", why,
				   file == NULL ? "" : " (file \"",
				   file == NULL ? "" : file, file == NULL ? "" : "\")",
				   file == NULL ?
				   "Mend evpub.kafka_config_file, then: SELECT pg_reload_conf();" :
				   "See whether the file is complete and in the format that this property wants, and whether certificate and key belong together.");
	}
	rd_kafka_set_log_queue(client, NULL);
	events = rd_kafka_queue_get_main(client);
	events_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (events_fd < 0)
		relay_fail(EVPUB_FAILURE_RETRY, "could not make an event descriptor: %s",
				   strerror(errno));
	sizes_start(client, events);
	rd_kafka_queue_io_event_enable(events, events_fd, &one, sizeof(one));
	return client;
}

int
producer_fd(void)
{
	return events_fd;
}

void
producer_begin_batch(const char *payload, uint32_t length)
{
	EvpubFrameBatch batch;

	if (length < sizeof(batch))
		relay_fail(EVPUB_FAILURE_RETRY, "malformed BATCH frame from the server");
	memcpy(&batch, payload, sizeof(batch));
	if (batch.first != next)
		relay_fail(EVPUB_FAILURE_RETRY,
				   "the server sent record %" PRIu64 " where %" PRIu64 " was due",
				   batch.first, next);
	batch_done = sizeof(batch);
	batch_length = length;
	batch_left = batch.count;
}

bool
producer_has_batch(void)
{
	return batch_left > 0;
}

const Topic *
producer_head(void)
{
	return head;
}

const Topic *
producer_closed(void)
{
	return closed;
}

int32_t
producer_closed_partition(void)
{
	return closed_partition;
}

bool
producer_tail_owed(void)
{
	return closed != NULL &&
		topics_partition(closed, closed_partition)->access == PARTITION_FOUND;
}

/*
 * May a record go to this partition now?  The first one goes alone, and the
 * next only when it is acknowledged: a leader that knows nothing of a producer
 * takes a batch of any sequence number.  So if it refuses the first batch (a
 * leader that has just been elected may not know yet that it is one) and takes
 * the second, which was in flight, librdkafka believes that the first is there,
 * too ("implicit ack"), reports it as delivered, and it is lost.
 *
 * Of several partitions the first records go together.  While hundreds of topics
 * are new, their broker refuses them until it knows that it leads, seconds after
 * it has told so, and librdkafka sends each one ten times a second meanwhile.
 * With a few in flight at a time the broker has a tenth less to do; but whatever
 * is behind them in the stream then waits until it leads nearly all, which took
 * twice as long.
 *
 * With a limit no more bytes are in flight than a batch may have, so that
 * librdkafka cannot make a larger one.
 */
static bool
may_send(TopicPartition *partition, uint32_t bytes, int64_t now)
{
	if (partition->in_flight > 0)
		return partition->proved &&
			(partition->limit == 0 || partition->bytes + bytes <= partition->limit);
	if (now - partition->acked_at > PROVED_MS)
		partition->proved = false;
	return true;
}

static void __attribute__((noreturn))
refused_by_client(const Topic *topic, int32_t partition, const Record *record,
				  int64_t now)
{
	FailedRecord failed = {
		.error = RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
		.topic = topic,
		.partition = partition,
		.sequence = next,
		.bytes = record_wire_size(record),
		.id = record->id
	};

	failure_note(&failed, now);
	failure_end(client);
}

static void
send_partition(EvpubFrameType type, const Topic *topic, int32_t partition)
{
	EvpubFramePartition frame = {.topic = topic->number,.partition = partition};

	frames_send(type, &frame, sizeof(frame), NULL, 0);
}

/*
 * What becomes of a record whose partition was read back, or is yet to be.  PASSED is
 * sent once: the partition is then as one whose tail has not come, until it comes
 * anew.  MET goes out before the acknowledgement that covers this record, since that
 * is made only when the record is in the ring.
 */
static TailVerdict
judge(Topic *topic, int32_t number, const Record *record)
{
	TopicPartition *partition = topics_partition(topic, number);
	TailVerdict verdict = TAIL_PASSES;

	if (partition->access == PARTITION_UNREAD)
		return TAIL_SEND;
	if (partition->access == PARTITION_OPEN)
	{
		verdict = tail_judge(&partition->tail, record->id);
		if (verdict == TAIL_MEETS)
			send_partition(EVPUB_FRAME_MET, topic, number);
		else if (verdict == TAIL_PASSES)
		{
			send_partition(EVPUB_FRAME_PASSED, topic, number);
			partition->access = PARTITION_FOUND;
		}
	}
	if (verdict == TAIL_PASSES)
	{
		closed = topic;
		closed_partition = number;
	}
	return verdict;
}

/*
 * Not held back here while much is unsent, as producer_report() does: the next record is
 * of the other kind, and no frame has both.  They are no more than records in the ring.
 */
static void
report_acked(void)
{
	EvpubFrameAck ack = {.sequence = acked,.dropped = dropped};

	offsets_send(acked_reported);
	frames_send(EVPUB_FRAME_ACK, &ack, sizeof(ack), NULL, 0);
	acked_reported = acked;
	/* and those that are behind what was dropped, which is acknowledged now */
	offsets_send(acked_reported);
	unreported_since = 0;
}

/*
 * Acknowledges as far as all is done.  Records that were dropped are reported apart from
 * those that were sent, so that the worker knows which ones they are.
 */
static void
move_acked(void)
{
	while (acked + 1 < next && (ring[(acked + 1) & RING_MASK] & DONE))
	{
		bool		drop = ring[(acked + 1) & RING_MASK] & DROPPED;

		if (drop != last_dropped && acked != acked_reported)
			report_acked();
		last_dropped = drop;
		acked++;
		if (drop)
			dropped++;
	}
}

static bool
produce(Topic *topic, int32_t partition, const Record *record, int64_t now)
{
	rd_kafka_headers_t *headers;
	rd_kafka_resp_err_t error;
	uint32_t	bytes = record_wire_size(record);

	if (!may_send(topics_partition(topic, partition), bytes, now))
		return false;
	headers = record_headers(record, next);
	error = rd_kafka_producev(client, RD_KAFKA_V_RKT(topic->handle),
							  RD_KAFKA_V_PARTITION(partition),
							  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
							  RD_KAFKA_V_KEY(record->key, record->key_len),
							  RD_KAFKA_V_VALUE((void *) record->value, record->value_len),
							  RD_KAFKA_V_HEADERS(headers),
							  RD_KAFKA_V_OPAQUE((void *) (uintptr_t) next),
							  RD_KAFKA_V_END);
	if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		TopicPartition *sent_to = topics_partition(topic, partition);

		sent_to->in_flight++;
		sent_to->bytes += bytes;
		wire[next & RING_MASK] = bytes;
		unreported_records++;
		return true;
	}
	rd_kafka_headers_destroy(headers);
	switch (error)
	{
		case RD_KAFKA_RESP_ERR__QUEUE_FULL:
			break;
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
			topics_ask_again(topic);
			break;
		case RD_KAFKA_RESP_ERR__FATAL:
			failure_note_fatal(now);
			break;
		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:

			/*
			 * librdkafka itself refuses it.  That is reported when all before it
			 * is acknowledged, so that nothing of it is sent again.
			 */
			if (next - acked == 1)
				refused_by_client(topic, partition, record, now);
			break;
		default:
			relay_fail(EVPUB_FAILURE_RETRY,
					   "topic \"%s\": %s (%s) at event %.*s", topic->name,
					   rd_kafka_err2name(error), rd_kafka_err2str(error),
					   EVPUB_FRAME_ID_LENGTH, record->id);
	}
	return false;
}

static bool
produce_all(int64_t now)
{
	head = NULL;
	closed = NULL;
	for (int i = 0; i < PRODUCE_TURN; i++)
	{
		Record		record;
		Topic	   *topic;
		int32_t		partition;
		TailVerdict verdict;
		uint32_t	cost;

		if (batch_left == 0 || failure_noted())
			return false;
		record_read(&record, batch_at, batch_end, next);
		topic = topics_get(record.fixed.topic);
		if (topic == NULL)
			record_malformed(next);
		if (topic->state != TOPIC_READY)
		{
			head = topic;
			return false;
		}
		cost = record_cost(&record);
		/* a record alone may be larger than the budget */
		if (next - acked > 1 &&
			(next - acked > RING_SIZE || in_flight_cost + cost > BUDGET))
			return false;
		partition = record_partition(&record, topic->handle, topic->pinned, next);
		verdict = judge(topic, partition, &record);
		if (verdict == TAIL_PASSES)
			return false;
		if (verdict == TAIL_SEND && !produce(topic, partition, &record, now))
		{
			if (topic->state != TOPIC_READY)
				head = topic;
			return false;
		}
		if (next - acked == 1)
			last_progress = now;
		ring[next & RING_MASK] = verdict == TAIL_SEND ? cost : DONE | DROPPED;
		if (verdict == TAIL_SEND)
			in_flight_cost += cost;
		else
			topics_partition(topic, partition)->dropped = next;
		next++;
		if (verdict != TAIL_SEND)
			move_acked();
		batch_at = record.end;
		if (--batch_left == 0 && batch_at != batch_end)
			record_malformed(next);
	}
	return true;
}

bool
producer_produce(int64_t now)
{
	const char *payload = frames_current();
	bool		more;

	/* what came in meanwhile may have moved the batch */
	batch_at = payload + batch_done;
	batch_end = payload + batch_length;
	more = produce_all(now);
	batch_done = (size_t) (batch_at - payload);
	return more;
}

/* A failed report; nothing at or behind its record is ever acknowledged. */
static void
take_failure(const rd_kafka_message_t *message, int64_t now)
{
	uint64_t	sequence = (uint64_t) (uintptr_t) message->_private;
	FailedRecord record = {
		.error = message->err,
		.topic = rd_kafka_topic_opaque(message->rkt),
		.partition = message->partition,
		.sequence = sequence,
		.bytes = wire[sequence & RING_MASK],
		.id = offsets_id(message)
	};

	failure_note(&record, now);
}

static void
take_reports(rd_kafka_event_t *event, int64_t now)
{
	const rd_kafka_message_t *message;
	const rd_kafka_message_t *last = NULL;	/* acknowledged */

	while ((message = rd_kafka_event_message_next(event)) != NULL)
	{
		uint64_t	sequence = (uint64_t) (uintptr_t) message->_private;
		uint32_t   *slot = &ring[sequence & RING_MASK];
		TopicPartition *partition;

		partition = topics_partition(rd_kafka_topic_opaque(message->rkt),
									 message->partition);
		partition->in_flight--;
		partition->bytes -= wire[sequence & RING_MASK];
		unreported_records--;
		if (message->err)
		{
			take_failure(message, now);
			continue;
		}
		partition->acked_at = now;
		partition->proved = true;

		/* a record that alone was larger has shown that so much is taken */
		if (partition->limit > 0 && partition->limit < wire[sequence & RING_MASK])
			partition->limit = wire[sequence & RING_MASK];
		offsets_take(message);
		in_flight_cost -= *slot;
		*slot |= DONE;

		/* an acknowledged duplicate has no offset */
		if (message->offset < 0)
			continue;
		if (partition->read_end >= 0)
			lookback_first_acked(rd_kafka_topic_opaque(message->rkt), message->partition,
								 message->offset, offsets_id(message));
		if (last != NULL &&
			(last->rkt != message->rkt || last->partition != message->partition))
			offsets_take_id(last);
		last = message;
	}
	if (last != NULL)
		offsets_take_id(last);
	move_acked();
	last_progress = now;
	collect_until = evpub_clock_now_us() + COLLECT_REPORTS_US;
	trouble_acknowledged();
}

static void
take_event(rd_kafka_event_t *event, int64_t now)
{
	switch (rd_kafka_event_type(event))
	{
		case RD_KAFKA_EVENT_DR:
			take_reports(event, now);
			break;
		case RD_KAFKA_EVENT_ERROR:
			if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__FATAL)
				failure_note_fatal(now);
			else
				trouble_event(rd_kafka_event_error(event),
							  rd_kafka_event_error_string(event));
			break;
		case RD_KAFKA_EVENT_LOG:
			trouble_log(event);
			break;
		case RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT:
			sizes_take(event, now);
			break;
		default:
			break;
	}
}

int64_t
producer_collects(void)
{
	int64_t		left;

	/* a record that waits may be waiting for a report; one that failed ends the relay */
	if (batch_left > 0 || unreported_records == 0 || failure_noted())
		return 0;
	left = collect_until - evpub_clock_now_us();
	return left > 0 ? left : 0;
}

int64_t
producer_serve(int64_t now, bool readable)
{
	static bool more = true;
	uint64_t	count;
	int64_t		due;

	/* first this, then the queue: what comes in between wakes us again */
	if (readable)
		more = read(events_fd, &count, sizeof(count)) >= 0 || more;
	for (int i = 0; more; i++)
	{
		rd_kafka_event_t *event;

		if (i == SERVE_TURN)
			return now;
		event = rd_kafka_queue_poll(events, 0);
		more = event != NULL;
		if (!more)
			break;
		take_event(event, now);
		rd_kafka_event_destroy(event);
	}
	due = failure_due(now, unreported_records);
	if (now >= due)
		failure_end(client);
	return due;
}

int64_t
producer_report(int64_t now, bool all)
{
	if (acked == acked_reported || frames_unsent() > UNSENT_MAX)
		return frames_unsent() > UNSENT_MAX ? RELAY_NEVER : offsets_look(acked_reported, now);
	if (unreported_since == 0)
		unreported_since = now;
	if (!all && next - acked > 1 && now - unreported_since < REPORT_INTERVAL)
		return unreported_since + REPORT_INTERVAL;
	report_acked();
	return RELAY_NEVER;
}

int64_t
producer_waiting_since(void)
{
	return next - acked > 1 ? last_progress : RELAY_NEVER;
}
