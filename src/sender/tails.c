/*
 * tails.c
 *		What a predecessor of the relay got into Kafka, and what follows from it.
 *
 * Kafka may have more than was acknowledged to us: the relay was killed, or the
 * worker, or the server came back with a position that is a second old.  So before
 * a relay writes to a partition it reads what is there behind the last record that
 * is known, and reports evpub's own records.  Records of a partition are appended in
 * the order of publishing, and none is left out (librdkafka's gapless guarantee).
 * So all events of the partition up to the newest one that is there, its tail, are
 * there, and what the relay is about to send up to the tail is dropped.
 *
 * That is so only if the tail is ours.  A copy of this server that publishes under
 * the same id (a block device was cloned, say) appends what we never committed, with
 * an LSN that may lie within our WAL.  So the tail has to be met: reading WAL, we
 * must come to an event of exactly this id for this partition.  Until then the
 * position does not move over anything that was sent, so nothing is confirmed that
 * was dropped without being there.  (The record that was the last to be acknowledged
 * to us need not be met: it is ours, and so is what is before it.  Its transaction may
 * lie in a gap that was accepted since.)  A tail that is passed without being met, and
 * that nothing explains, is another server's, and ours is fenced.  (Where nothing was
 * sent, flight.c moves the position over what has no events all the same: nothing was
 * dropped there either.)
 *
 * What a broker has taken and not yet copied to all followers in sync cannot be read,
 * nor can what is still on its way from a relay that was killed: see the relay's part,
 * relay/reader.c.
 *
 * Who is who:
 *
 *	publisher id of a record		what it is
 *	----------------------------	----------------------------------------------
 *	another root					another publisher's; the relay does not report it
 *	in our lineage, beyond the		of a history that take_over() has left: it
 *	place where the next begins		is not published again, and stays in Kafka
 *	in our lineage, beyond the		another server has our id, or this one was
 *	end of our WAL					restored: fenced
 *	in our lineage otherwise		may be the tail
 *	our root, not in our lineage	another server has taken over: fenced, unless
 *									take_over() was told since to replace it
 *
 * An evpub.gap event is no tail, since that of an accepted gap stands in front of all
 * transactions, wherever the gap ends; it is dropped if exactly it is there.  A dead letter
 * is in the topic of dead letters under the id of its event, and consumers may put
 * copies of events there, too: so in that topic, there are no tails, and a dead letter
 * is dropped if exactly it is there.
 */
#include "postgres.h"

#include "position/skips.h"
#include "sender/tails.h"

#define FIRST_TAILS 16

void
evpub_tails_init(EvpubTails *tails, EvpubFlight *flight)
{
	memset(tails, 0, sizeof(*tails));
	tails->context = CurrentMemoryContext;
	tails->flight = flight;
	tails->slots = FIRST_TAILS;
	tails->unmet = palloc(sizeof(EvpubTail) * tails->slots);
	tails->cut_slots = FIRST_TAILS;
	tails->cuts = palloc(sizeof(XLogRecPtr) * tails->cut_slots);
}

void
evpub_tails_reset(EvpubTails *tails)
{
	tails->count = 0;
	tails->cut_count = 0;
}

/* ---- judging ---- */

/* Where in the lineage is this publisher id?  -1: nowhere. */
static int
entry_of(const EvpubPosition *position, uint64 publisher_id)
{
	for (int i = position->nlineage - 1; i >= 0; i--)
		if (position->lineage[i].publisher_id == publisher_id)
			return i;
	return -1;
}

static void
put_id(StringInfo answer, EvpubFoundKind kind, const EvpubId *id)
{
	char		text[EVPUB_ID_LENGTH + 1];
	EvpubFrameFoundId put;

	evpub_id_text(id, text);
	put.kind = kind;
	memcpy(put.id, text, EVPUB_ID_LENGTH);
	appendBinaryStringInfo(answer, (char *) &put, sizeof(put));
}

/* The server is fenced because of this record. */
static char *
fenced_by(const EvpubFound *found, const EvpubId *id, const char *why)
{
	char		text[EVPUB_ID_LENGTH + 1];

	evpub_id_text(id, text);
	return psprintf("partition %d of topic \"%s\" has event %s, %s",
					found->frame.partition, found->topic->name, text, why);
}

/*
 * One id that was found, or that was the last to be acknowledged.  *exact: it is
 * dropped where exactly it comes.
 */
static void
judge_id(const EvpubFound *found, EvpubFoundKind kind, const EvpubId *id,
		 EvpubJudgement *judgement, bool *exact)
{
	const EvpubPosition *position = found->position;
	int			entry = entry_of(position, id->publisher_id);

	*exact = false;
	if (kind == EVPUB_FOUND_DEAD_LETTER)
	{
		*exact = true;
		return;
	}

	/* a consumer has put it there: it says nothing of what we have sent there */
	if (found->dead_letters && kind == EVPUB_FOUND_EVENT)
		return;
	if (entry < 0)
	{
		if (evpub_position_replaces(position, id->publisher_id))
			return;
		if (found->topic->last[found->frame.partition].replaces)
			judgement->replaced = id->publisher_id;
		else
			judgement->fenced = fenced_by(found, id, "of a publisher that this server does not know: another server has taken over from it, or is a copy of it");
		return;
	}
	if (id->number >= EVPUB_GAP_NUMBERS)
	{
		*exact = true;
		return;
	}

	if (id->lsn > evpub_position_left(position, entry))
	{
		ereport(LOG,
				(errmsg("evpub: %s",
						fenced_by(found, id, "which belongs to a history that this server has left; it stays there"))));
		return;
	}
	if (id->lsn > found->flushed)
	{
		judgement->fenced = fenced_by(found, id,
									  psprintf("but this server's WAL ends at %X/%X: another server publishes under the same id, or this one was restored, or has lost WAL",
											   LSN_FORMAT_ARGS(found->flushed)));
		return;
	}

	/*
	 * At or below what is confirmed, there is nothing to drop.  It is no sign of another
	 * server either: what the network has held back from a relay that is dead lands
	 * behind what its successors have sent.
	 */
	if (id->lsn > found->confirmed_lsn &&
		(!evpub_id_known(&judgement->tail) || evpub_id_compare(id, &judgement->tail) > 0))
		judgement->tail = *id;
}

/* All ids of the frame; those that are dropped exactly go into "ids". */
static uint32
judge_ids(const EvpubFound *found, EvpubJudgement *judgement, StringInfo ids)
{
	uint32		n = 0;

	for (uint32 i = 0; i < found->frame.count && !judgement->fenced; i++)
	{
		EvpubFrameFoundId one;
		EvpubId		id;
		bool		exact;

		memcpy(&one, found->ids + i * sizeof(one), sizeof(one));
		if (!evpub_id_parse(one.id, &id) ||
			(one.kind != EVPUB_FOUND_EVENT && one.kind != EVPUB_FOUND_GAP &&
			 one.kind != EVPUB_FOUND_DEAD_LETTER))
		{
			judgement->malformed = true;
			return 0;
		}
		judge_id(found, one.kind, &id, judgement, &exact);
		if (!exact)
			continue;
		put_id(ids, EVPUB_FOUND_EXACT, &id);
		n++;
	}
	return n;
}

/* The last acknowledged record counts as well: reading began behind it. */
static uint32
judge_last(const EvpubFound *found, EvpubJudgement *judgement, StringInfo ids)
{
	const EvpubId *id = &found->topic->last[found->frame.partition].id;
	EvpubId		read = judgement->tail;
	bool		exact;

	/* a publisher of before is not asked whether it is ours: it was, when it was sent */
	if (!evpub_id_known(id) || judgement->fenced || id->lsn > found->flushed ||
		(!found->dead_letters && entry_of(found->position, id->publisher_id) < 0))
		return 0;
	judge_id(found, found->dead_letters ? EVPUB_FOUND_DEAD_LETTER : EVPUB_FOUND_EVENT,
			 id, judgement, &exact);
	judgement->acknowledged = evpub_id_known(&judgement->tail) &&
		(!evpub_id_known(&read) || evpub_id_compare(&read, id) <= 0);
	if (exact)
		put_id(ids, EVPUB_FOUND_EXACT, id);
	return exact ? 1 : 0;
}

void
evpub_tails_judge(const EvpubFound *found, EvpubJudgement *judgement)
{
	EvpubFrameFound frame = found->frame;
	StringInfoData exact;

	memset(judgement, 0, sizeof(*judgement));
	initStringInfo(&exact);
	frame.count = judge_ids(found, judgement, &exact);
	if (judgement->malformed)
		return;
	frame.count += judge_last(found, judgement, &exact);
	if (judgement->fenced)
		return;
	judgement->exact = frame.count > 0;
	if (evpub_id_known(&judgement->tail))
		frame.count++;
	frame.end = 0;
	initStringInfo(&judgement->answer);
	appendBinaryStringInfo(&judgement->answer, (char *) &frame, sizeof(frame));
	if (evpub_id_known(&judgement->tail))
		put_id(&judgement->answer, EVPUB_FOUND_TAIL, &judgement->tail);
	appendBinaryStringInfo(&judgement->answer, exact.data, exact.len);
}

/* ---- meeting ---- */

EvpubTail *
evpub_tails_find(const EvpubTails *tails, uint32 topic, int32 partition)
{
	for (int i = 0; i < tails->count; i++)
		if (tails->unmet[i].topic == topic && tails->unmet[i].partition == partition)
			return &tails->unmet[i];
	return NULL;
}

void
evpub_tails_add(EvpubTails *tails, const EvpubTail *tail)
{
	if (tails->count == tails->slots)
	{
		EvpubTail  *grown = MemoryContextAlloc(tails->context,
											   sizeof(EvpubTail) * tails->slots * 2);

		memcpy(grown, tails->unmet, sizeof(EvpubTail) * tails->count);
		pfree(tails->unmet);
		tails->unmet = grown;
		tails->slots *= 2;
	}
	tails->unmet[tails->count++] = *tail;
	evpub_flight_hold(tails->flight);
}

void
evpub_tails_remove(EvpubTails *tails, EvpubTail *tail)
{
	*tail = tails->unmet[--tails->count];
	evpub_flight_release(tails->flight);
}

EvpubTail *
evpub_tails_passed(EvpubTails *tails, XLogRecPtr passed_lsn)
{
	EvpubFlight *flight = tails->flight;

	for (int i = 0; i < tails->count; i++)
	{
		EvpubTail  *tail = &tails->unmet[i];

		if (tail->id.lsn > passed_lsn)
			continue;
		if (tail->passed_seq == 0)
			tail->passed_seq = flight->sent_seq;

		/* MET comes before the acknowledgement of the record that has met it */
		if (flight->done_seq >= tail->passed_seq)
			return tail;
	}
	return NULL;
}

/*
 * It is remembered although no tail may be of this transaction yet: its partition may
 * be read back for the sake of what announces the gap, and what was found there is
 * reported when the announcement has long been handed over.  No tail is from in front
 * of the confirmed position, so what lies there is forgotten.
 */
void
evpub_tails_cut(EvpubTails *tails, XLogRecPtr lsn)
{
	int			kept = 0;

	for (int i = 0; i < tails->cut_count; i++)
		if (tails->cuts[i] > tails->flight->confirmed_lsn)
			tails->cuts[kept++] = tails->cuts[i];
	tails->cut_count = kept;
	if (tails->cut_count == tails->cut_slots)
	{
		tails->cuts = repalloc(tails->cuts, sizeof(XLogRecPtr) * tails->cut_slots * 2);
		tails->cut_slots *= 2;
	}
	tails->cuts[tails->cut_count++] = lsn;
}

static bool
is_cut(const EvpubTails *tails, XLogRecPtr lsn)
{
	for (int i = 0; i < tails->cut_count; i++)
		if (tails->cuts[i] == lsn)
			return true;
	return false;
}

bool
evpub_tails_explained(const EvpubTails *tails, const EvpubTail *tail,
					  const EvpubPosition *position)
{
	const EvpubFlight *flight = tails->flight;
	char		text[EVPUB_ID_LENGTH + 1];

	if (is_cut(tails, tail->id.lsn))
		return true;

	/* sending resumed inside its transaction, behind it: it is confirmed */
	if (tail->id.lsn == flight->resumed_lsn && tail->id.number < flight->resumed_next)
		return true;

	/* given up, and nothing is published instead */
	evpub_id_text(&tail->id, text);
	return evpub_skips_find(position, text) != NULL;
}
