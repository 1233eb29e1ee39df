/*
 * announce.c
 *		Telling consumers of gaps: evpub.gap events.
 *
 * An accepted gap means that changes were committed that no consumer will be
 * told of.  A consumer that knows can read its copy anew; so each partition of
 * each topic that was ever published to gets an event, before anything that
 * was committed after the gap.  It goes through the stream in the place of a
 * transaction, and is repeated with the same ids until it is acknowledged.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "event.h"
#include "frame.h"
#include "publisher/announce.h"
#include "publisher/flight.h"
#include "publisher/track.h"

/*
 * Numbers of these events: beyond those of any transaction, since a gap may
 * end with a transaction of which a part was published; and others for each of
 * the gaps that end at the same LSN, as those do that lie before what was
 * published last.
 */
#define FIRST_NUMBER 0xF0000000U
#define NUMBERS_OF_GAP 0x100000U

#define SLICE(text) ((EvpubSlice) {(text), sizeof(text) - 1})

/* The remembered gaps are in the order in which they were accepted. */
static uint32
count_repeats(const EvpubPosition *position, int i)
{
	uint32		repeats = 0;

	for (int j = 0; j < i; j++)
		if (position->gaps[j].to_lsn == position->gaps[i].to_lsn)
			repeats++;
	return repeats;
}

static EvpubGap *
copy_gap(const EvpubGap *gap)
{
	EvpubGap   *copy = palloc(sizeof(EvpubGap));

	*copy = *gap;
	return copy;
}

int
evpub_announce_gaps(dlist_head *queue, EvpubPosition *position,
					EvpubWalReader *reader)
{
	int			added = 0;

	for (int i = 0; i < position->ngaps; i++)
	{
		EvpubGap   *gap = &position->gaps[i];
		EvpubTransaction *transaction;

		if (gap->told)
			continue;
		transaction = palloc0(sizeof(EvpubTransaction));
		transaction->places = palloc0(sizeof(EvpubPlace));
		transaction->gap = copy_gap(gap);
		transaction->gap->repeat = count_repeats(position, i);
		transaction->first_lsn = position->restart_lsn;
		transaction->commit.publisher_id = evpub_position_publisher(position);
		/* what follows may have been written on a timeline before ours */
		transaction->commit.timeline = evpub_walreader_timeline_of(reader, gap->to_lsn);
		transaction->commit.lsn = gap->to_lsn;
		transaction->commit.time = gap->accepted_at;
		dlist_push_tail(queue, &transaction->node);
		added++;
	}
	return added;
}

/*
 * The full xid of a transaction that has committed.  Right as long as it is
 * less than 2^32 transactions old, as everything in WAL is.
 */
static uint64
full_xid(TransactionId xid)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	uint64		full = (next & ~UINT64CONST(0xffffffff)) | xid;

	return full < next ? full : full - (UINT64CONST(1) << 32);
}

bool
evpub_announce_instead(EvpubPosition *position, EvpubTransaction *transaction)
{
	uint64		xid = full_xid(transaction->xid);

	for (int i = position->ngaps - 1; i >= 0; i--)
	{
		EvpubGap	gap;

		if (xid >= position->gaps[i].horizon)
			continue;
		memset(&gap, 0, sizeof(gap));
		gap.from_lsn = transaction->first_lsn;
		gap.to_lsn = transaction->commit.lsn;
		gap.told = true;
		gap.reason = pstrdup("the transaction was cut by a gap that was accepted before");
		gap.ncut = 1;
		gap.cut = palloc(sizeof(TransactionId));
		gap.cut[0] = transaction->xid;
		transaction->gap = copy_gap(&gap);
		ereport(WARNING,
				(errmsg("evpub: transaction %u, committed at %X/%X, is not published",
						transaction->xid, LSN_FORMAT_ARGS(transaction->commit.lsn)),
				 errdetail("It was cut by the gap up to %X/%X that was accepted.",
						   LSN_FORMAT_ARGS(position->gaps[i].to_lsn))));
		return true;
	}
	return false;
}

/*
 * Messages of the server may be translated, into an encoding that nobody here
 * knows; what goes to Kafka must be valid UTF-8.
 */
static char *
ascii_only(const char *text)
{
	char	   *copy = pstrdup(text);

	for (char *p = copy; *p; p++)
		if (IS_HIGHBIT_SET(*p))
			*p = '?';
	return copy;
}

/* The "data" member of the event's body. */
static void
put_data(StringInfo tail, const EvpubGap *gap)
{
	appendStringInfo(tail, ",\"data\":{\"first_lsn\":\"%X/%X\",\"last_lsn\":\"%X/%X\",\"reason\":",
					 LSN_FORMAT_ARGS(gap->from_lsn), LSN_FORMAT_ARGS(gap->to_lsn));
	escape_json(tail, ascii_only(gap->reason));
	appendStringInfoString(tail, ",\"transactions\":[");
	for (int i = 0; i < gap->ncut; i++)
		appendStringInfo(tail, "%s\"%u\"", i > 0 ? "," : "", gap->cut[i]);
	appendStringInfoString(tail, "]}");
}

static void
put_event(StringInfo batch, uint32 topic, int32 partition,
		  const EvpubEvent *event, const EvpubCommit *commit)
{
	EvpubFrameRecord record;
	char		id[EVPUB_ID_LENGTH + 1];
	int			start = batch->len;
	int			value_start;

	record.topic = topic;
	record.key_len = EVPUB_FRAME_TO_PARTITION(partition);
	record.value_len = 0;
	record.headers_len = 0;
	evpub_event_id(id, commit, event->number);
	appendBinaryStringInfo(batch, (char *) &record, sizeof(record));
	appendBinaryStringInfo(batch, id, EVPUB_ID_LENGTH);
	value_start = batch->len;
	evpub_event_value(batch, event, commit);
	record.value_len = batch->len - value_start;
	memcpy(batch->data + start, &record, sizeof(record));
}

static uint32
count_partitions(const EvpubPosition *position)
{
	uint32		count = 0;

	for (int i = 0; i < position->ntopics; i++)
		count += Max(position->topics[i].partitions, 0);
	return count;
}

bool
evpub_announce_put(EvpubStream *stream, int limit, uint32 most,
				   EvpubRelay *relay, const EvpubTransaction *transaction)
{
	StringInfo	batch = &stream->batch;
	EvpubPosition *position = stream->position;
	int		   *place = &stream->head_place;
	uint32		count = 0;
	EvpubRoute	route = {.envelope = EVPUB_ENVELOPE_PLAIN,.type = SLICE("\"evpub.gap\"")};
	EvpubCommit commit = transaction->commit;
	StringInfoData tail;
	EvpubEvent	event;
	int			skip = *place;

	initStringInfo(&tail);
	put_data(&tail, transaction->gap);
	memset(&event, 0, sizeof(event));
	event.route = &route;
	event.has_value = true;
	event.tenant = SLICE("null");
	event.body = SLICE("null");
	event.tail = (EvpubSlice) {tail.data, tail.len};
	commit.events = count_partitions(position);

	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		/* ask for it; it was published to, so it must be told */
		if (topic->partitions < 0)
		{
			(void) evpub_track_topic(position, relay, topic->name, strlen(topic->name));
			return false;
		}
		if (skip >= topic->partitions)
		{
			skip -= topic->partitions;
			continue;
		}
		for (int32 p = skip; p < topic->partitions; p++)
		{
			if (batch->len >= limit || count >= most)
				return false;
			event.number = FIRST_NUMBER + transaction->gap->repeat * NUMBERS_OF_GAP + *place;
			put_event(batch,
					  evpub_track_topic(position, relay, topic->name, strlen(topic->name)),
					  p, &event, &commit);
			evpub_flight_add(stream);
			(*place)++;
			count++;
		}
		skip = 0;
	}
	pfree(tail.data);
	return true;
}

void
evpub_announce_told(EvpubPosition *position, XLogRecPtr lsn)
{
	for (int i = 0; i < position->ngaps; i++)
		if (position->gaps[i].to_lsn <= lsn)
			position->gaps[i].told = true;
}
