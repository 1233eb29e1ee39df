/*
 * offsets.c
 *		Where acknowledged records are in their partitions.
 *
 * Of each partition the worker gets the newest offset and the id of its record, not
 * more than once for each acknowledgement; one that is not settled then follows when it
 * is.  A later relay reads back what is behind that offset, and takes one below it for a
 * topic that was made again.
 */
#include <inttypes.h>
#include <string.h>

#include "frames.h"
#include "offsets.h"
#include "relay.h"
#include "tail.h"
#include "topics.h"

/* So long after a partition was read, what a dead relay had sent may still come, in ms. */
#ifndef OFFSETS_LATE_MS
#define OFFSETS_LATE_MS 60000
#endif

/* So often it is looked whether offsets that had to wait are settled, in ms. */
#define LOOK_MS 1000

typedef struct Acked
{
	Topic	   *topic;
	int32_t		partition;
} Acked;

/* Partitions with an offset that was not reported to the worker yet. */
static Acked *unreported;
static size_t unreported_count;
static size_t unreported_size;

const char *
offsets_id(const rd_kafka_message_t *message)
{
	rd_kafka_headers_t *headers;
	const void *id;
	size_t		len;

	if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
		rd_kafka_header_get(headers, 0, "evpub-id", &id, &len) == RD_KAFKA_RESP_ERR_NO_ERROR &&
		len == EVPUB_FRAME_ID_LENGTH)
		return id;
	return NULL;
}

void
offsets_take_id(const rd_kafka_message_t *message)
{
	TopicPartition *partition = topics_partition(rd_kafka_topic_opaque(message->rkt),
												 message->partition);
	const char *id = offsets_id(message);

	if (id != NULL)
		memcpy(partition->id, id, EVPUB_FRAME_ID_LENGTH);
	else
		memset(partition->id, 0, EVPUB_FRAME_ID_LENGTH);
}

void
offsets_take(const rd_kafka_message_t *message)
{
	Topic	   *topic = rd_kafka_topic_opaque(message->rkt);
	TopicPartition *partition = topics_partition(topic, message->partition);

	/* an acknowledged duplicate has no offset */
	if (message->offset < 0)
		return;
	if (message->offset <= partition->offset)
	{
		topics_remade(topic);
		relay_fail(EVPUB_FAILURE_TOPIC,
				   "topic \"%s\" partition %d acknowledged offset %" PRId64 " after %" PRId64 ": the topic was deleted and made again, or has lost records",
				   topic->name, message->partition, message->offset,
				   partition->offset);
	}
	/* the first one is looked at by lookback_first_acked() */
	if (partition->access != PARTITION_UNREAD && partition->read_end < 0 &&
		message->offset != partition->offset + 1)
		partition->mixed = true;
	partition->offset = message->offset;
	partition->id[0] = '\0';	/* not that of an older one */
	if (partition->unreported)
		return;
	partition->unreported = true;
	if (unreported_count == unreported_size)
	{
		unreported_size = unreported_size * 2 + 16;
		unreported = relay_realloc(unreported,
								   unreported_size * sizeof(*unreported));
	}
	unreported[unreported_count++] = (Acked){topic, message->partition};
}

/*
 * What is in front of the last acknowledged record is not known, or not met, while the
 * partition is read again (lookback_first_acked()).  A relay that begins then has to read
 * it, too, so the offset is reported when that is over.
 *
 * What was dropped is in front of it as well.  While that is not acknowledged to the
 * worker, it is sent to the next relay, which has to find it as this one has.
 *
 * So may be what came late of a relay that is dead, and that is newer than this record:
 * then there are records of others among those of this relay.  Mostly these are
 * another producer's, and after a while nothing comes late any more.
 */
static bool
is_settled(const TopicPartition *partition, uint64_t acknowledged, int64_t now)
{
	return partition->access != PARTITION_READ && partition->access != PARTITION_FOUND &&
		!tail_is_open(partition->tail) && partition->dropped <= acknowledged &&
		(!partition->mixed || now - partition->read_at >= OFFSETS_LATE_MS);
}

void
offsets_send(uint64_t acknowledged)
{
	int64_t		now = unreported_count > 0 ? relay_now() : 0;
	size_t		kept = 0;

	for (size_t i = 0; i < unreported_count; i++)
	{
		Acked	   *which = &unreported[i];
		TopicPartition *partition = topics_partition(which->topic, which->partition);
		EvpubFrameAcked frame = {
			.topic = which->topic->number,
			.partition = which->partition,
			.offset = partition->offset
		};

		if (!is_settled(partition, acknowledged, now))
		{
			unreported[kept++] = *which;
			continue;
		}
		if (partition->id[0] != '\0')
			memcpy(frame.id, partition->id, sizeof(frame.id));
		partition->unreported = false;
		frames_send(EVPUB_FRAME_ACKED_OFFSET, &frame, sizeof(frame), NULL, 0);
	}
	unreported_count = kept;
}

/*
 * No acknowledgement follows such an offset, and it needs none: what was dropped in front
 * of it is acknowledged to the worker, which takes frames in their order, so it never has
 * the offset without that (is_settled()).  The record itself may be ahead of what is
 * confirmed; the next relay gets its id with the offset, and drops what is not newer.
 */
int64_t
offsets_look(uint64_t acknowledged, int64_t now)
{
	static int64_t next_look;

	if (unreported_count > 0 && now >= next_look)
	{
		offsets_send(acknowledged);
		next_look = now + LOOK_MS;
	}
	return unreported_count > 0 ? next_look : RELAY_NEVER;
}
