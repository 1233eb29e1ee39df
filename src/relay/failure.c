/*
 * failure.c
 *		Failed delivery reports: what they say together, and the relay's end.
 *
 * A broker refuses a whole batch, and librdkafka reports each of its records as
 * failed with the same error.  So all reports of the batch are read before the
 * failure is reported to the worker: it has to know up to which record it must
 * send one by one, to find out which is to blame.  Reports are served for a while longer, since
 * acknowledgements of other partitions may be on their way; what they cover
 * need not be sent again.
 *
 * After the first failure librdkafka, which has to leave no gap, fails
 * everything behind it, too.  Those reports say nothing about their records.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "failure.h"
#include "relay.h"

/* How long reports are served after a failure, in ms. */
#define GRACE_MS 500

/* More than a broker counts of a batch beside its one record. */
#define BATCH_OVERHEAD 512

static int64_t due = RELAY_NEVER;
static bool have_cause;			/* "failed" says why the relay ends */
static rd_kafka_resp_err_t cause;
static char topic_name[256];
static EvpubFrameFailed failed = {
	.kind = EVPUB_FAILURE_RETRY,
	.topic = EVPUB_FRAME_NO_TOPIC,
	.partition = -1
};
static uint32_t others;			/* refused as well, in other partitions */

/* The record, or the batch that it is in, is too large. */
static bool
is_about_size(rd_kafka_resp_err_t error)
{
	return error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
		error == RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE ||
		error == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE;
}

/*
 * Is a record refused for what it is?  An error about rights, leaders or time-outs
 * does not say so; nor does one about its timestamp, which is the broker's view of
 * a clock.
 *
 * Nor by INVALID_MSG (CORRUPT_MESSAGE), which brokers before Kafka 2.4 answer
 * to a record without a key in a compacted topic: the same answer means a
 * batch that was damaged on its way, whose records are good.  librdkafka takes
 * it as that, and sends the batch again without an end, so a report with it
 * does not come: records wait for their acknowledgement.
 */
static bool
is_about_records(rd_kafka_resp_err_t error)
{
	return is_about_size(error) || error == RD_KAFKA_RESP_ERR_INVALID_RECORD;
}

/* Does a record fail only because another one has failed before it? */
static bool
is_consequence(rd_kafka_resp_err_t error)
{
	return error == RD_KAFKA_RESP_ERR__PURGE_QUEUE ||
		error == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT ||
		error == RD_KAFKA_RESP_ERR__FATAL ||
		error == RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE ||
		error == RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
}

/* The first failure that is no consequence is the cause. */
static void
set_cause(const FailedRecord *record)
{
	memset(&failed, 0, sizeof(failed));
	others = 0;
	failed.kind = is_about_records(record->error) ? EVPUB_FAILURE_RECORD : EVPUB_FAILURE_RETRY;
	failed.size = is_about_size(record->error);
	failed.code = record->error;
	failed.topic = record->topic->number;
	failed.partition = record->partition;
	snprintf(topic_name, sizeof(topic_name), "%s", record->topic->name);
	cause = record->error;
	have_cause = true;
}

static void
set_id(char *into, const char *id)
{
	if (id != NULL)
		memcpy(into, id, EVPUB_FRAME_ID_LENGTH);
	else
		memset(into, 0, EVPUB_FRAME_ID_LENGTH);
}

void
failure_note(const FailedRecord *record, int64_t now)
{
	if (due == RELAY_NEVER)
		due = now + GRACE_MS;
	if (!have_cause ||
		(is_consequence(cause) && !is_consequence(record->error)))
		set_cause(record);
	if (is_consequence(record->error) && failed.first != 0)
		return;
	if (record->error != cause &&
		!(is_about_records(record->error) && failed.kind == EVPUB_FAILURE_RECORD))
		return;
	if (failed.first == 0 || record->sequence < failed.first)
	{
		failed.first = record->sequence;
		set_id(failed.first_id, record->id);
	}
	if (record->sequence > failed.last)
	{
		failed.last = record->sequence;
		set_id(failed.last_id, record->id);
	}
	if (record->topic->number == failed.topic && record->partition == failed.partition)
	{
		failed.count++;
		failed.bytes += record->bytes;
	}
	else
		others++;
}

void
failure_note_fatal(int64_t now)
{
	if (due == RELAY_NEVER)
		due = now + GRACE_MS;
}

bool
failure_noted(void)
{
	return due != RELAY_NEVER;
}

int64_t
failure_due(int64_t now, uint64_t unreported)
{
	return have_cause && unreported == 0 ? now : due;
}

/* What to do about one record that is refused alone. */
static const char *
hint_for(rd_kafka_resp_err_t error)
{
	if (error == RD_KAFKA_RESP_ERR_INVALID_RECORD)
		return "A compacted topic takes no record without a key: give such events a key, or change the topic's cleanup.policy.";
	if (error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
		error == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
		return "Grant evpub's user WRITE on the topic, and READ unless evpub.delivery is at_least_once: kafka-acls.sh --add --allow-principal User:<name> --operation Write --operation Read --topic <topic>. It goes on by itself.";
	return "";
}

void
failure_end(rd_kafka_t *client)
{
	char		fatal[512] = "";
	rd_kafka_resp_err_t error = rd_kafka_fatal_error(client, fatal, sizeof(fatal));
	const char *hint;
	char		skip[128] = "";
	char		size[320];

	if (!have_cause)
		relay_fail(EVPUB_FAILURE_RETRY, "librdkafka: %s: %s",
				   rd_kafka_err2name(error), fatal);

	if (failed.count + others > 1 && failed.kind == EVPUB_FAILURE_RECORD)
		relay_fail_as(&failed,
					  "topic \"%s\" partition %d%s refused %u events together, from %.*s to %.*s: %s (%s); they are sent one by one to find the one to blame",
					  topic_name, failed.partition,
					  others > 0 ? " and others" : "", failed.count + others,
					  EVPUB_FRAME_ID_LENGTH, failed.first_id,
					  EVPUB_FRAME_ID_LENGTH, failed.last_id,
					  rd_kafka_err2name(cause), rd_kafka_err2str(cause));
	hint = hint_for(cause);
	if (is_about_size(cause))
	{
		/* it has to go with the largest "why_not" of a dead letter into one hint */
		snprintf(size, sizeof(size),
				 "Set %s of topic \"%.60s%s\" to %" PRIu64 " or more (kafka-configs.sh); publishing then goes on by itself. A lower evpub.max_event_bytes has later writers get an error.",
				 cause == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE ?
				 "segment.bytes" : "max.message.bytes",
				 topic_name, strlen(topic_name) > 60 ? "..." : "",
				 failed.bytes + BATCH_OVERHEAD);
		hint = size;
	}
	if (is_about_size(cause) || cause == RD_KAFKA_RESP_ERR_INVALID_RECORD)
		snprintf(skip, sizeof(skip),
				 " To give up exactly this event: SELECT evpub.skip_event('%.*s');",
				 EVPUB_FRAME_ID_LENGTH, failed.first_id);
	relay_fail_as(&failed, "topic \"%s\" partition %d: %s (%s) at event %.*s%s%s%s%s%s",
				  topic_name, failed.partition,
				  rd_kafka_err2name(cause), rd_kafka_err2str(cause),
				  EVPUB_FRAME_ID_LENGTH, failed.first_id,
				  fatal[0] == '\0' || failed.kind == EVPUB_FAILURE_RECORD ? "" : "; ",
				  failed.kind == EVPUB_FAILURE_RECORD ? "" : fatal,
				  hint[0] == '\0' ? "" : "\n", hint, skip);
}
