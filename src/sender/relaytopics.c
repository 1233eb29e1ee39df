/*
 * relaytopics.c
 *		What the relay knows of each topic, and what it reports of it.
 *
 * A TOPIC frame gives the relay a topic's number, name and pinned count, before
 * the first record that names the number.  For a topic without a durable count
 * the relay asks the cluster, reports the count, and waits until the count is
 * in file and WAL: then a second TOPIC frame lets it send.
 *
 * A relay that reads back (evpub.delivery) is told to do so for each topic that was
 * published to before: READ_BACK, behind the offsets from which it reads.
 */
#include "postgres.h"

#include "position/pins.h"
#include "sender/caps.h"
#include "sender/relaytopics.h"

/*
 * "was_new": the relay has waited for the count of a topic that was new to us.
 *
 * What commits before the place where our publisher id has begun may have been
 * published by a predecessor, who may have pinned topics that WAL does not tell us
 * of.  So a topic that is new to us then is read from its beginning.
 */
static void
announce(const EvpubPosition *position, EvpubTopic *topic, EvpubRelay *relay,
		 bool was_new)
{
	StringInfoData data;
	EvpubFrameTopic frame;
	int32		partitions = EVPUB_FRAME_TOPIC_NEW;

	if (topic->durable)
		partitions = topic->partitions;
	else if (topic->partitions < 0)
		partitions = EVPUB_FRAME_TOPIC_UNPINNED;
	if (!was_new)
		topic->reread = partitions == EVPUB_FRAME_TOPIC_NEW && position->nlineage > 1 &&
			position->confirmed_lsn < position->lineage[position->nlineage - 1].from_lsn;
	if (partitions <= 0 && !topic->awaited)
	{
		topic->awaited = true;
		if (relay->awaited++ == 0)
			relay->awaited_since = relay->put;
	}
	initStringInfo(&data);
	frame.number = topic->number;
	frame.partitions = partitions;
	appendBinaryStringInfo(&data, (char *) &frame, sizeof(frame));
	appendStringInfoString(&data, topic->name);
	evpub_relay_put(relay, EVPUB_FRAME_TOPIC, data.data, data.len);
	for (int32 p = 0; p < partitions; p++)
	{
		EvpubFrameOffset offset;

		if (topic->last[p].offset < 0)
			continue;
		offset.topic = topic->number;
		offset.partition = p;
		offset.offset = topic->last[p].offset;
		evpub_relay_put(relay, EVPUB_FRAME_OFFSET, &offset, sizeof(offset));
	}
	pfree(data.data);
	if (relay->reads_back && !was_new && (partitions > 0 || topic->reread))
	{
		EvpubFramePartition all;

		all.topic = topic->number;
		all.partition = -1;
		evpub_relay_put(relay, EVPUB_FRAME_READ_BACK, &all, sizeof(all));
	}
	evpub_caps_announce(relay, topic);
	topic->relay_knows = true;
}

uint32
evpub_relaytopics_number(EvpubPosition *position, EvpubRelay *relay,
						 const char *name, uint32 length)
{
	char		text[256];
	EvpubTopic *topic;

	/* capture lets no longer name through */
	if (length >= sizeof(text))
		elog(ERROR, "topic name of %u bytes", length);
	memcpy(text, name, length);
	text[length] = '\0';

	topic = evpub_pins_topic(position, text);
	if (!topic->relay_knows)
		announce(position, topic, relay, false);
	return topic->number;
}

void
evpub_relaytopics_announce_known(EvpubPosition *position, EvpubRelay *relay)
{
	for (int i = 0; i < position->ntopics && i < EVPUB_ANNOUNCED_AT_START; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		if (topic->durable && !topic->relay_knows)
			announce(position, topic, relay, false);
	}
}

void
evpub_relaytopics_started(EvpubPosition *position)
{
	for (int i = 0; i < position->ntopics; i++)
		position->topics[i].remade = false;
}

void
evpub_relaytopics_forget(EvpubPosition *position)
{
	for (int i = 0; i < position->ntopics; i++)
	{
		position->topics[i].relay_knows = false;
		position->topics[i].awaited = false;
		position->topics[i].reread = false;
	}
}

void
evpub_relaytopics_pins_durable(EvpubPosition *position, EvpubRelay *relay)
{
	evpub_pins_changed();
	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		if (topic->partitions <= 0)
			continue;
		topic->durable = true;
		if (!topic->awaited || relay->socket == PGINVALID_SOCKET)
			continue;
		topic->awaited = false;
		relay->awaited--;
		announce(position, topic, relay, true);
	}
}

bool
evpub_relaytopics_partitions(EvpubPosition *position, const EvpubFrame *frame)
{
	EvpubFrameTopic counted;
	int32		partitions;
	EvpubTopic *topic;

	if (frame->length != sizeof(counted))
		return false;
	memcpy(&counted, frame->data, sizeof(counted));
	partitions = counted.partitions;
	topic = evpub_pins_topic_of_number(position, counted.number);
	if (!topic || partitions > EVPUB_FRAME_PARTITIONS_MAX ||
		(partitions <= 0 && partitions != EVPUB_FRAME_TOPIC_UNPINNED))
		return false;

	/*
	 * What is not durable was not used, so it may still be another count.  That of a
	 * growth may not, as soon as there is a line for it in WAL: a crash would find this
	 * line, and go by the first count behind it.  When it is used, the relay is asked
	 * again.
	 */
	if (partitions == EVPUB_FRAME_TOPIC_UNPINNED)
		topic->remade = true;
	else if (!topic->durable)
		evpub_pins_set(position, topic, partitions);
	else if (partitions > topic->partitions && partitions != topic->grown &&
			 topic->grown_from == InvalidXLogRecPtr && !evpub_position_says_before(position, topic))
	{
		topic->grown = partitions;
		topic->grown_from = InvalidXLogRecPtr;
		topic->changed = true;
		evpub_pins_changed();
	}
	return true;
}

bool
evpub_relaytopics_offset(EvpubPosition *position, const EvpubFrame *frame, bool held)
{
	EvpubFrameAcked acked;
	EvpubTopic *topic;
	EvpubLast  *last;
	EvpubId		id;

	if (frame->length != sizeof(acked))
		return false;
	memcpy(&acked, frame->data, sizeof(acked));
	topic = evpub_pins_topic_of_number(position, acked.topic);
	if (!topic || acked.partition < 0 || acked.partition >= topic->partitions ||
		acked.offset < -1 || acked.offset > EVPUB_FRAME_OFFSET_MAX)
		return false;
	memset(&id, 0, sizeof(id));
	if (acked.id[0] != '\0' && !evpub_id_parse(acked.id, &id))
		return false;

	/*
	 * The offset of an announcement of a gap is not remembered: what was
	 * acknowledged in front of it has a larger one than the last that is known,
	 * and is to be found when the partition is read back.
	 */
	if (id.number >= EVPUB_GAP_NUMBERS)
		return true;

	/*
	 * Without an id, it says where the partition ends that is pinned now: others have
	 * written what is there, unless it is read from its beginning, or we have published.
	 */
	last = &topic->last[acked.partition];
	if (!evpub_id_known(&id) && (topic->reread || evpub_id_known(&last->id)))
		return true;

	topic->changed = true;
	if (!evpub_id_known(&id))
	{
		last->offset = acked.offset;
		return true;
	}

	/* it takes records, so none of them is a dead letter for the topic's sake */
	topic->letters = 0;
	last->replaces = false;

	/*
	 * While a tail holds the position, the next relay gets also what was dropped in
	 * front of this record, and has to find it there.  It may be newer than the record:
	 * what a predecessor had sent was seen only behind the first record of its
	 * successor (the relay's lookback.c).
	 */
	if (held)
		return true;
	last->offset = acked.offset;
	last->id = id;
	return true;
}

bool
evpub_relaytopics_size(EvpubPosition *position, const EvpubFrame *frame,
					   const EvpubTopic **topic)
{
	EvpubFrameOffset size;
	EvpubTopic *found;

	if (frame->length != sizeof(size))
		return false;
	memcpy(&size, frame->data, sizeof(size));
	found = evpub_pins_topic_of_number(position, size.topic);
	if (!found || size.offset <= 0)
		return false;
	found->size = size.offset;
	*topic = found;
	return true;
}
