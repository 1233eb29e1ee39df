/*
 * announce.c
 *		Announcing gaps to consumers: evpub.gap events.
 *
 * An accepted gap means that changes were committed whose events are never
 * published.  A consumer that knows can read its copy anew; so each partition of
 * each topic that was ever published to gets an event, before anything that
 * was committed after the gap.  The gap stands in the queue in the place of a
 * transaction, and its events are repeated with the same ids until they are
 * acknowledged.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "event/event.h"
#include "frame.h"
#include "sender/announce.h"
#include "sender/relaytopics.h"

/*
 * Numbers of these events.  A gap may end with a transaction of which a part was
 * published, so they are beyond the numbers of any transaction.  Several gaps may
 * end at the same LSN, as all do that lie before what was published last, so each
 * of these has numbers of its own.  Within a gap a partition has its own number,
 * whatever other topics are there.  So an event that is sent again, by this server
 * or another, has the id that it had.
 */
#define NUMBERS_OF_GAP 0x100000U
#define REPEATS 0x100U

#define SLICE(text) ((EvpubSlice) {(text), sizeof(text) - 1})

static EvpubGap *
copy_gap(const EvpubGap *gap)
{
	EvpubGap   *copy = palloc(sizeof(EvpubGap));

	*copy = *gap;
	return copy;
}

/* Reason and cut of an accepted one are the position's. */
void
evpub_announce_free_gap(EvpubGap *gap)
{
	if (gap->announced)
		pfree(gap->cut);
	pfree(gap);
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

		if (gap->announced)
			continue;
		transaction = palloc0(sizeof(EvpubTransaction));
		transaction->places = palloc0(sizeof(EvpubPlace));
		transaction->gap = copy_gap(gap);
		transaction->first_lsn = position->restart_lsn;

		/*
		 * As for events, what was in force where the last record of the gap
		 * begins.  So every server that announces this gap, on whatever timeline,
		 * gives its events the same ids.
		 */
		transaction->commit.publisher_id =
			evpub_position_publisher_at(position, gap->to_lsn - 1);
		transaction->commit.timeline =
			evpub_walreader_timeline_of(reader, gap->to_lsn - 1);
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
evpub_announce_instead(EvpubPosition *position, EvpubTransaction *transaction,
					   bool quiet)
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
		gap.announced = true;		/* the position knows nothing of it */
		gap.reason = "the transaction was cut by a gap that was accepted before";
		gap.lost.known = EVPUB_LOST_EVENTS_PART;
		gap.lost.transactions = 1;
		gap.lost.events = transaction->commit.events;
		gap.ncut = 1;
		gap.cut = palloc(sizeof(TransactionId));
		gap.cut[0] = transaction->xid;
		transaction->gap = copy_gap(&gap);
		ereport(quiet ? DEBUG1 : WARNING,
				(errmsg("evpub: transaction %u, committed at %X/%X, is not published",
						transaction->xid, LSN_FORMAT_ARGS(transaction->commit.lsn)),
				 errdetail("It was cut by the gap up to %X/%X that was accepted.",
						   LSN_FORMAT_ARGS(position->gaps[i].to_lsn))));
		return true;
	}
	return false;
}

char *
evpub_announce_ascii(const char *text)
{
	char	   *copy = pstrdup(text);

	for (char *p = copy; *p; p++)
		if (IS_HIGHBIT_SET(*p))
			*p = '?';
	return copy;
}

/* How much is lost, as far as that is known; the numbers are null if it is not. */
static void
put_lost(StringInfo tail, const EvpubLost *lost)
{
	if (lost->known == EVPUB_LOST_UNKNOWN)
		appendStringInfoString(tail, ",\"transaction_count\":null,\"event_count\":null,\"counted\":\"none\"");
	else
		appendStringInfo(tail, ",\"transaction_count\":%llu,\"event_count\":%llu,\"counted\":\"%s\"",
						 (unsigned long long) lost->transactions,
						 (unsigned long long) lost->events,
						 lost->known == EVPUB_LOST_ALL ? "all" : "part");
}

/* The "data" member of the event's body. */
static void
put_data(StringInfo tail, const EvpubGap *gap)
{
	appendStringInfo(tail, ",\"data\":{\"first_lsn\":\"%X/%X\",\"last_lsn\":\"%X/%X\",\"reason\":",
					 LSN_FORMAT_ARGS(gap->from_lsn), LSN_FORMAT_ARGS(gap->to_lsn));
	escape_json(tail, evpub_announce_ascii(gap->reason));
	appendStringInfoString(tail, ",\"transactions\":[");
	for (int i = 0; i < gap->ncut; i++)
		appendStringInfo(tail, "%s\"%u\"", i > 0 ? "," : "", gap->cut[i]);
	appendStringInfoChar(tail, ']');
	put_lost(tail, &gap->lost);
	appendStringInfoChar(tail, '}');
}

/* ---- the events of one gap ---- */

static int
compare_recipients(const void *a, const void *b)
{
	const EvpubRecipient *x = a;
	const EvpubRecipient *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* All partitions from number "from" on, in order; *total: of all. */
static void
find_recipients(EvpubAnnouncement *announcement, const EvpubPosition *position,
				uint32 from, uint32 *total)
{
	EvpubRecipient *found;

	*total = 0;
	for (int i = 0; i < position->ntopics; i++)
		*total += Max(position->topics[i].partitions, 0);
	found = palloc(sizeof(EvpubRecipient) * Max(*total, 1));
	for (int i = 0; i < position->ntopics; i++)
	{
		const EvpubTopic *topic = &position->topics[i];

		for (int32 p = 0; p < topic->partitions; p++)
			if (topic->numbers[p] >= from)
				found[announcement->nrecipients++] =
					(EvpubRecipient) {topic->numbers[p], topic->name, p};
	}
	qsort(found, announcement->nrecipients, sizeof(EvpubRecipient), compare_recipients);
	announcement->recipients = found;
}

/*
 * Is the partition count of all topics known?  That of a topic which was published
 * to and made again is not: the relay is asked for it.
 */
static bool
all_counted(EvpubPosition *position, EvpubRelay *relay)
{
	bool		all = true;

	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		if (topic->partitions >= 0)
			continue;
		(void) evpub_relaytopics_number(position, relay, topic->name, strlen(topic->name));
		all = false;
	}
	return all;
}

bool
evpub_announce_begin(EvpubAnnouncement *announcement, EvpubPosition *position,
					 EvpubRelay *relay, const EvpubTransaction *transaction,
					 uint32 from)
{
	const EvpubGap *gap = transaction->gap;
	MemoryContext old;
	StringInfoData data;

	if (gap->announced)
		from = from >= EVPUB_GAP_NUMBERS ? from - EVPUB_GAP_NUMBERS : 0;
	else
		from = gap->next_number;

	if (!all_counted(position, relay))
		return false;
	announcement->context = AllocSetContextCreate(CurrentMemoryContext,
												  "evpub announcement",
												  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(announcement->context);
	announcement->gap = gap;
	announcement->commit = transaction->commit;
	announcement->nrecipients = 0;
	announcement->done = 0;
	find_recipients(announcement, position, from, &announcement->commit.events);
	memset(&announcement->route, 0, sizeof(announcement->route));
	announcement->route.envelope = EVPUB_ENVELOPE_PLAIN;
	announcement->route.type = SLICE("\"evpub.gap\"");
	initStringInfo(&data);
	put_data(&data, gap);
	announcement->data = (EvpubSlice) {data.data, data.len};
	MemoryContextSwitchTo(old);
	return true;
}

bool
evpub_announce_next(EvpubAnnouncement *announcement, EvpubPosition *position,
					EvpubRelay *relay, EvpubRecord *record)
{
	const EvpubRecipient *recipient;
	EvpubEvent *event = &record->event;

	if (announcement->done == announcement->nrecipients)
		return false;
	recipient = &announcement->recipients[announcement->done++];
	memset(event, 0, sizeof(*event));
	event->route = &announcement->route;
	event->number = EVPUB_GAP_NUMBERS +
		announcement->gap->repeat % REPEATS * NUMBERS_OF_GAP +
		recipient->number % NUMBERS_OF_GAP;

	/* a compacted topic takes no record without a key, so each partition has one */
	event->has_key = true;
	event->key.data = announcement->key;
	event->key.len = snprintf(announcement->key, sizeof(announcement->key),
							  "evpub.gap/%d", recipient->partition);
	event->has_value = true;
	event->headers = SLICE("");
	event->tenant = SLICE("null");
	event->body = SLICE("null");
	event->tail = announcement->data;
	record->commit = &announcement->commit;
	record->topic = evpub_relaytopics_number(position, relay, recipient->topic,
											 strlen(recipient->topic));
	record->partition = recipient->partition;
	record->next = announcement->gap->announced ? event->number + 1 : recipient->number + 1;
	return true;
}

void
evpub_announce_end(EvpubAnnouncement *announcement)
{
	if (announcement->context)
		MemoryContextDelete(announcement->context);
	announcement->context = NULL;
}
