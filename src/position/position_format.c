/*
 * position_format.c
 *		A position as bytes, in network byte order.
 *
 * One form serves the state file and the position messages, so that a standby
 * and a restored server find in WAL what the file would say.  A message leaves
 * out what is about one server (role, inode, the open gap) and gaps that
 * consumers know; one of changes also leaves out topics in which nothing has
 * changed.
 *
 * A partition has the offset and the id of its last acknowledged record: a new
 * relay reads it from there, and drops what it is about to send up to there.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "utils/memutils.h"

#include "frame.h"
#include "position/position_format.h"

/* ---- writing ---- */

static void
put_text(StringInfo out, const char *text)
{
	int			length = text ? strlen(text) : 0;

	pq_sendint32(out, length);
	pq_sendbytes(out, text ? text : "", length);
}

static void
put_xids(StringInfo out, const TransactionId *xids, int n)
{
	pq_sendint32(out, n);
	for (int i = 0; i < n; i++)
		pq_sendint32(out, xids[i]);
}

static void
put_lost(StringInfo out, const EvpubLost *lost)
{
	pq_sendint8(out, lost->known);
	pq_sendint64(out, lost->transactions);
	pq_sendint64(out, lost->events);
}

static void
put_open_gap(StringInfo out, const EvpubOpenGap *gap)
{
	pq_sendint8(out, gap->reason != NULL);
	if (gap->reason == NULL)
		return;
	pq_sendint64(out, gap->from_lsn);
	pq_sendint64(out, gap->to_lsn);
	pq_sendint64(out, gap->restart_lsn);
	pq_sendint8(out, gap->given_up);
	put_text(out, gap->reason);
	put_lost(out, &gap->lost);
	put_xids(out, gap->cut, gap->ncut);
}

static void
put_gaps(StringInfo out, const EvpubPosition *position, EvpubPositionForm form)
{
	int			n = 0;

	for (int i = 0; i < position->ngaps; i++)
		if (form == EVPUB_POSITION_FILE || !position->gaps[i].announced)
			n++;
	pq_sendint32(out, n);
	for (int i = 0; i < position->ngaps; i++)
	{
		const EvpubGap *gap = &position->gaps[i];

		if (form != EVPUB_POSITION_FILE && gap->announced)
			continue;
		pq_sendint64(out, gap->from_lsn);
		pq_sendint64(out, gap->to_lsn);
		pq_sendint64(out, gap->horizon);
		pq_sendint64(out, gap->accepted_at);
		pq_sendint8(out, gap->announced);
		pq_sendint32(out, gap->repeat);
		pq_sendint32(out, gap->next_number);
		put_text(out, gap->reason);
		put_lost(out, &gap->lost);
		put_xids(out, gap->cut, gap->ncut);
	}
}

static void
put_letter(StringInfo out, const EvpubSkip *skip)
{
	pq_sendint8(out, skip->letter);
	if (!skip->letter)
		return;
	put_text(out, skip->topic);
	pq_sendint32(out, skip->partition);
	pq_sendint32(out, skip->code);
}

static void
put_skips(StringInfo out, const EvpubPosition *position)
{
	pq_sendint32(out, position->nskips);
	for (int i = 0; i < position->nskips; i++)
	{
		pq_sendbytes(out, position->skips[i].id, EVPUB_ID_LENGTH);
		put_text(out, position->skips[i].reason);
		pq_sendint8(out, position->skips[i].silent);
		put_letter(out, &position->skips[i]);
	}
}

/* Bits of the byte behind an offset. */
#define LAST_HAS_ID 0x01
#define LAST_REPLACES 0x02

static void
put_last(StringInfo out, const EvpubLast *last)
{
	bool		known = evpub_id_known(&last->id);

	pq_sendint64(out, last->offset);
	pq_sendint8(out, (known ? LAST_HAS_ID : 0) | (last->replaces ? LAST_REPLACES : 0));
	if (!known)
		return;
	pq_sendint64(out, last->id.publisher_id);
	pq_sendint32(out, last->id.timeline);
	pq_sendint64(out, last->id.lsn);
	pq_sendint32(out, last->id.number);
}

static void
put_topics(StringInfo out, const EvpubPosition *position, EvpubPositionForm form)
{
	int			n = 0;

	for (int i = 0; i < position->ntopics; i++)
		if (form != EVPUB_POSITION_CHANGES || position->topics[i].changed)
			n++;
	pq_sendint32(out, position->next_topic);
	pq_sendint32(out, position->next_number);
	pq_sendint32(out, n);
	for (int i = 0; i < position->ntopics; i++)
	{
		const EvpubTopic *topic = &position->topics[i];
		bool		before = evpub_position_says_before(position, topic);
		int32		partitions = before ? topic->before : topic->partitions;

		if (form == EVPUB_POSITION_CHANGES && !topic->changed)
			continue;
		pq_sendint32(out, topic->number);
		put_text(out, topic->name);
		pq_sendint32(out, partitions);
		for (int p = 0; p < partitions; p++)
			put_last(out, &topic->last[p]);
		pq_sendint32(out, topic->nnumbers);
		for (int p = 0; p < topic->nnumbers; p++)
			pq_sendint32(out, topic->numbers[p]);

		/* growth after that is reported again */
		pq_sendint32(out, before ? topic->partitions : topic->grown);
		pq_sendint64(out, before ? topic->before_line : topic->grown_from);
		pq_sendint32(out, topic->letters);
	}
}

void
evpub_position_serialize(StringInfo out, const EvpubPosition *position,
						 EvpubPositionForm form)
{
	pq_sendint64(out, position->system_identifier);
	pq_sendint32(out, position->timeline);
	pq_sendint8(out, position->role);
	pq_sendint8(out, position->paused);
	pq_sendint64(out, position->directory_inode);
	pq_sendint64(out, position->restart_lsn);
	pq_sendint64(out, position->confirmed_lsn);
	pq_sendint32(out, position->next_event);
	pq_sendint64(out, position->sequence);
	pq_sendint8(out, position->delivery);
	put_skips(out, position);
	if (position->paused)
	{
		pq_sendint64(out, position->paused_at);
		put_text(out, position->paused_by);
	}

	pq_sendint32(out, position->nlineage);
	for (int i = 0; i < position->nlineage; i++)
	{
		pq_sendint64(out, position->lineage[i].publisher_id);
		pq_sendint32(out, position->lineage[i].timeline);
		pq_sendint64(out, position->lineage[i].from_lsn);
	}
	pq_sendint32(out, position->nreplaced);
	for (int i = 0; i < position->nreplaced; i++)
		pq_sendint64(out, position->replaced[i]);
	if (form == EVPUB_POSITION_FILE)
	{
		put_text(out, position->fenced_reason);
		put_open_gap(out, &position->gap);
	}
	else
	{
		put_text(out, NULL);
		pq_sendint8(out, 0);
	}
	put_gaps(out, position, form);
	put_topics(out, position, form);
}

/* ---- reading; what does not parse throws, see evpub_position_parse() ---- */

static void
malformed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("position makes no sense")));
}

/* A count of things that have "size" bytes each, at least. */
static int
get_count(StringInfo in, int size)
{
	int			count = pq_getmsgint(in, 4);

	if (count < 0 || count > (in->len - in->cursor) / size)
		malformed();
	return count;
}

static char *
get_text(StringInfo in)
{
	int			length = get_count(in, 1);
	const char *text = pq_getmsgbytes(in, length);

	if (memchr(text, '\0', length) != NULL)
		malformed();
	return pnstrdup(text, length);
}

/* The name of a role. */
static void
get_name(StringInfo in, char *name)
{
	int			length = get_count(in, 1);
	const char *text = pq_getmsgbytes(in, length);

	if (length >= NAMEDATALEN || memchr(text, '\0', length) != NULL)
		malformed();
	memcpy(name, text, length);
	name[length] = '\0';
}

static TransactionId *
get_xids(StringInfo in, int *n)
{
	TransactionId *xids;

	*n = get_count(in, 4);
	xids = palloc(sizeof(TransactionId) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		xids[i] = pq_getmsgint(in, 4);
	return xids;
}

static void
get_lost(StringInfo in, EvpubLost *lost)
{
	lost->known = pq_getmsgbyte(in);
	if (lost->known > EVPUB_LOST_ALL)
		malformed();
	lost->transactions = pq_getmsgint64(in);
	lost->events = pq_getmsgint64(in);
}

static void
get_open_gap(StringInfo in, EvpubOpenGap *gap)
{
	if (!pq_getmsgbyte(in))
		return;
	gap->from_lsn = pq_getmsgint64(in);
	gap->to_lsn = pq_getmsgint64(in);
	gap->restart_lsn = pq_getmsgint64(in);
	gap->given_up = pq_getmsgbyte(in) != 0;
	gap->reason = get_text(in);
	get_lost(in, &gap->lost);
	gap->cut = get_xids(in, &gap->ncut);
}

/* Bytes of a gap, and of a topic, without texts and lists. */
#define GAP_LENGTH 66
#define TOPIC_LENGTH 32

static void
get_gaps(StringInfo in, EvpubPosition *position)
{
	position->ngaps = get_count(in, GAP_LENGTH);
	position->gaps = palloc0(sizeof(EvpubGap) * Max(position->ngaps, 1));
	for (int i = 0; i < position->ngaps; i++)
	{
		EvpubGap   *gap = &position->gaps[i];

		gap->from_lsn = pq_getmsgint64(in);
		gap->to_lsn = pq_getmsgint64(in);
		gap->horizon = pq_getmsgint64(in);
		gap->accepted_at = pq_getmsgint64(in);
		gap->announced = pq_getmsgbyte(in) != 0;
		gap->repeat = pq_getmsgint(in, 4);
		gap->next_number = pq_getmsgint(in, 4);
		gap->reason = get_text(in);
		get_lost(in, &gap->lost);
		gap->cut = get_xids(in, &gap->ncut);
	}
}

static void
get_last(StringInfo in, EvpubLast *last)
{
	int			bits;

	last->offset = pq_getmsgint64(in);
	bits = pq_getmsgbyte(in);
	if ((bits & ~(LAST_HAS_ID | LAST_REPLACES)) != 0 || last->offset < -1 ||
		last->offset > EVPUB_FRAME_OFFSET_MAX)
		malformed();
	last->replaces = (bits & LAST_REPLACES) != 0;
	if ((bits & LAST_HAS_ID) == 0)
		return;
	last->id.publisher_id = pq_getmsgint64(in);
	last->id.timeline = pq_getmsgint(in, 4);
	last->id.lsn = pq_getmsgint64(in);
	last->id.number = pq_getmsgint(in, 4);
	if (!evpub_id_known(&last->id))
		malformed();
}

static void
get_topic(StringInfo in, EvpubTopic *topic)
{
	topic->number = pq_getmsgint(in, 4);
	topic->name = get_text(in);
	topic->partitions = pq_getmsgint(in, 4);
	if (topic->partitions < -1 ||
		topic->partitions > (in->len - in->cursor) / 9)
		malformed();
	topic->durable = topic->partitions > 0;
	topic->last = palloc0(sizeof(EvpubLast) * Max(topic->partitions, 1));
	for (int p = 0; p < topic->partitions; p++)
		get_last(in, &topic->last[p]);
	topic->nnumbers = get_count(in, 4);
	if (topic->nnumbers < topic->partitions)
		malformed();
	topic->numbers = palloc(sizeof(uint32) * Max(topic->nnumbers, 1));
	for (int p = 0; p < topic->nnumbers; p++)
		topic->numbers[p] = pq_getmsgint(in, 4);
	topic->grown = pq_getmsgint(in, 4);
	topic->grown_from = pq_getmsgint64(in);
	topic->letters = pq_getmsgint(in, 4);
	topic->grown_durable = topic->grown_from != InvalidXLogRecPtr;

	/* what is adopted later must be more than there is, and not beyond reason */
	if (topic->grown == 0 ? topic->grown_durable :
		(topic->grown <= topic->partitions ||
		 topic->grown > EVPUB_FRAME_PARTITIONS_MAX))
		malformed();
}

static void
get_letter(StringInfo in, EvpubSkip *skip)
{
	skip->letter = pq_getmsgbyte(in) != 0;
	if (!skip->letter)
		return;
	skip->topic = get_text(in);
	skip->partition = pq_getmsgint(in, 4);
	skip->code = pq_getmsgint(in, 4);
}

/* An id consists of hexadecimal digits and dashes; it is compared, and shown. */
static void
get_skips(StringInfo in, EvpubPosition *position)
{
	position->nskips = get_count(in, EVPUB_ID_LENGTH + 6);
	position->skips = palloc0(sizeof(EvpubSkip) * Max(position->nskips, 1));
	for (int i = 0; i < position->nskips; i++)
	{
		EvpubSkip  *skip = &position->skips[i];

		memcpy(skip->id, pq_getmsgbytes(in, EVPUB_ID_LENGTH), EVPUB_ID_LENGTH);
		if (strspn(skip->id, "0123456789abcdefABCDEF-") != EVPUB_ID_LENGTH)
			malformed();
		skip->reason = get_text(in);
		skip->silent = pq_getmsgbyte(in) != 0;
		get_letter(in, skip);
	}
}

static void
get_topics(StringInfo in, EvpubPosition *position)
{
	position->next_topic = pq_getmsgint(in, 4);
	position->next_number = pq_getmsgint(in, 4);
	position->ntopics = get_count(in, TOPIC_LENGTH);
	position->topic_slots = Max(position->ntopics, 8);
	position->topics = palloc0(sizeof(EvpubTopic) * position->topic_slots);
	for (int i = 0; i < position->ntopics; i++)
	{
		get_topic(in, &position->topics[i]);

		/* they are looked up by number, and numbers rise */
		if (position->topics[i].number >= position->next_topic ||
			(i > 0 && position->topics[i].number <= position->topics[i - 1].number))
			malformed();
	}
}

static void
deserialize(StringInfo in, EvpubPosition *position)
{
	position->system_identifier = pq_getmsgint64(in);
	position->timeline = pq_getmsgint(in, 4);
	position->role = pq_getmsgbyte(in);
	position->paused = pq_getmsgbyte(in) != 0;
	position->directory_inode = pq_getmsgint64(in);
	position->restart_lsn = pq_getmsgint64(in);
	position->confirmed_lsn = pq_getmsgint64(in);
	position->next_event = pq_getmsgint(in, 4);
	position->sequence = pq_getmsgint64(in);
	position->delivery = pq_getmsgbyte(in);
	get_skips(in, position);
	if (position->paused)
	{
		position->paused_at = pq_getmsgint64(in);
		get_name(in, position->paused_by);
	}

	position->nlineage = get_count(in, 20);
	position->lineage = palloc(sizeof(EvpubLineage) * Max(position->nlineage, 1));
	for (int i = 0; i < position->nlineage; i++)
	{
		position->lineage[i].publisher_id = pq_getmsgint64(in);
		position->lineage[i].timeline = pq_getmsgint(in, 4);
		position->lineage[i].from_lsn = pq_getmsgint64(in);
	}
	position->nreplaced = get_count(in, 8);
	position->replaced = palloc(sizeof(uint64) * Max(position->nreplaced, 1));
	for (int i = 0; i < position->nreplaced; i++)
		position->replaced[i] = pq_getmsgint64(in);
	position->fenced_reason = get_text(in);
	if (position->fenced_reason[0] == '\0')
		position->fenced_reason = NULL;
	get_open_gap(in, &position->gap);
	get_gaps(in, position);
	get_topics(in, position);
	pq_getmsgend(in);
}

bool
evpub_position_parse(StringInfo in, EvpubPosition *position)
{
	MemoryContext caller = CurrentMemoryContext;

	memset(position, 0, sizeof(*position));
	PG_TRY();
	{
		deserialize(in, position);
	}
	PG_CATCH();
	{
		/* that says nothing of the bytes: the file is not damaged by it */
		if (geterrcode() == ERRCODE_OUT_OF_MEMORY)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		return false;
	}
	PG_END_TRY();
	return true;
}

/* ---- taking in a message ---- */

static void *
copy_of(const void *data, Size length)
{
	void	   *copy = palloc(Max(length, 1));

	if (length > 0)
		memcpy(copy, data, length);
	return copy;
}

/* A message has all of them. */
static void
merge_skips(EvpubPosition *position, const EvpubPosition *message)
{
	position->nskips = message->nskips;
	position->skips = copy_of(message->skips, sizeof(EvpubSkip) * message->nskips);
	for (int i = 0; i < message->nskips; i++)
	{
		position->skips[i].reason = pstrdup(message->skips[i].reason);
		if (message->skips[i].letter)
			position->skips[i].topic = pstrdup(message->skips[i].topic);
	}
}

static EvpubTopic
copy_topic(const EvpubTopic *topic)
{
	EvpubTopic	copy = *topic;

	copy.name = pstrdup(topic->name);
	copy.last = copy_of(topic->last, sizeof(EvpubLast) * Max(topic->partitions, 1));
	copy.numbers = copy_of(topic->numbers, sizeof(uint32) * topic->nnumbers);
	return copy;
}

/* Both are in the order of their numbers. */
static void
merge_topics(EvpubPosition *position, const EvpubPosition *message, bool full)
{
	int			kept = full ? 0 : position->ntopics;
	EvpubTopic *merged = palloc0(sizeof(EvpubTopic) * (kept + message->ntopics + 8));
	int			n = 0;
	int			i = 0;

	for (int m = 0; m <= message->ntopics; m++)
	{
		while (i < kept && (m == message->ntopics ||
							position->topics[i].number < message->topics[m].number))
			merged[n++] = position->topics[i++];
		if (m == message->ntopics)
			break;
		if (i < kept && position->topics[i].number == message->topics[m].number)
			i++;
		merged[n++] = copy_topic(&message->topics[m]);
	}
	position->topics = merged;
	position->ntopics = n;
	position->topic_slots = kept + message->ntopics + 8;

	/* above the numbers that are kept, or the file would be taken for damaged */
	position->next_topic = full ? message->next_topic :
		Max(position->next_topic, message->next_topic);
	position->next_number = full ? message->next_number :
		Max(position->next_number, message->next_number);
}

void
evpub_position_merge(EvpubPosition *position, const EvpubPosition *message, bool full)
{
	position->timeline = message->timeline;
	position->paused = message->paused;
	memcpy(position->paused_by, message->paused_by, sizeof(position->paused_by));
	position->paused_at = message->paused_at;
	position->restart_lsn = message->restart_lsn;
	position->confirmed_lsn = message->confirmed_lsn;
	position->next_event = message->next_event;
	position->sequence = message->sequence;
	position->delivery = message->delivery;
	position->nlineage = message->nlineage;
	position->lineage = copy_of(message->lineage,
								sizeof(EvpubLineage) * message->nlineage);
	position->nreplaced = message->nreplaced;
	position->replaced = copy_of(message->replaced, sizeof(uint64) * message->nreplaced);
	memset(&position->gap, 0, sizeof(position->gap));

	/* horizons of those that are announced still explain what they cut */
	for (int i = 0; i < position->ngaps; i++)
		position->gaps[i].announced = true;
	for (int i = 0; i < message->ngaps; i++)
	{
		const EvpubGap *gap = &message->gaps[i];
		EvpubGap   *known = evpub_position_find_gap(position, gap->to_lsn,
													gap->repeat);

		if (!known)
		{
			evpub_position_add_gap(position, gap);
			known = &position->gaps[position->ngaps - 1];
		}
		known->repeat = gap->repeat;
		known->next_number = gap->next_number;
		known->announced = false;
	}
	merge_skips(position, message);
	merge_topics(position, message, full);
}
