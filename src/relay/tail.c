/*
 * tail.c
 *		Which records of a partition are in Kafka already, and are dropped.
 *
 * The worker sends what is not acknowledged once more.  Of that, a predecessor got
 * everything up to the tail into the partition, since records of a partition are
 * written in order and without a gap.  So whatever is not above the tail is dropped,
 * without a look at its key or value.
 *
 * The tail itself has to come by.  If a record above it comes first, then the worker
 * and Kafka do not have the same history, and nothing may be sent before the worker
 * has said what that means.
 *
 * Once the tail was met and a record above it was sent, the tail is at its end: the
 * worker could send a lower id only as an event that is new.
 */
#include <stdlib.h>
#include <string.h>

#include "relay.h"
#include "tail.h"

/* The numbers of gaps, EVPUB_FRAME_GAP_NUMBERS and above, begin with it. */
#define GAP_DIGIT 'F'

struct Tail
{
	bool		open;			/* there is a tail, and nothing above it came */
	bool		met;
	char		id[EVPUB_FRAME_ID_LENGTH];
	uint32_t	exact_count;
	char		exact[][EVPUB_FRAME_ID_LENGTH];
};

Tail *
tail_new(const char *ids, uint32_t count)
{
	Tail	   *tail;

	if (count == 0)
		return NULL;
	tail = relay_realloc(NULL, sizeof(*tail) + (size_t) count * EVPUB_FRAME_ID_LENGTH);
	tail->open = false;
	tail->met = false;
	tail->exact_count = 0;
	for (uint32_t i = 0; i < count; i++)
	{
		EvpubFrameFoundId one;

		memcpy(&one, ids + (size_t) i * sizeof(one), sizeof(one));
		if (one.kind == EVPUB_FOUND_TAIL && !tail->open)
		{
			tail->open = true;
			memcpy(tail->id, one.id, sizeof(tail->id));
		}
		else if (one.kind == EVPUB_FOUND_EXACT)
			memcpy(tail->exact[tail->exact_count++], one.id, sizeof(one.id));
		else
			relay_fail(EVPUB_FAILURE_RETRY, "malformed TAIL frame from the server");
	}
	return tail;
}

void
tail_free(Tail *tail)
{
	free(tail);
}

bool
tail_is_open(const Tail *tail)
{
	return tail != NULL && tail->open;
}

/* Is it one of those that are dropped one by one?  None comes twice. */
static bool
take_exact(Tail *tail, const char *id)
{
	for (uint32_t i = 0; i < tail->exact_count; i++)
	{
		if (memcmp(tail->exact[i], id, EVPUB_FRAME_ID_LENGTH) != 0)
			continue;
		memcpy(tail->exact[i], tail->exact[--tail->exact_count], EVPUB_FRAME_ID_LENGTH);
		return true;
	}
	return false;
}

static TailVerdict
judge(Tail *tail, const char *id)
{
	bool		exact = take_exact(tail, id);

	/*
	 * The announcement of an accepted gap stands in front of all transactions,
	 * wherever the gap ends.
	 */
	if (tail->open && id[EVPUB_FRAME_ID_NUMBER_AT] != GAP_DIGIT)
	{
		if (!tail->met && memcmp(id, tail->id, EVPUB_FRAME_ID_LENGTH) == 0)
		{
			tail->met = true;
			return TAIL_MEETS;
		}
		if (memcmp(id + EVPUB_FRAME_ID_ORDER_AT, tail->id + EVPUB_FRAME_ID_ORDER_AT,
				   EVPUB_FRAME_ID_LENGTH - EVPUB_FRAME_ID_ORDER_AT) <= 0)
			return TAIL_DROP;
		if (exact)
			return TAIL_DROP;
		if (!tail->met)
			return TAIL_PASSES;
		tail->open = false;
	}
	return exact ? TAIL_DROP : TAIL_SEND;
}

TailVerdict
tail_judge(Tail **tail, const char *id)
{
	TailVerdict verdict;

	if (*tail == NULL)
		return TAIL_SEND;
	verdict = judge(*tail, id);
	if (!(*tail)->open && (*tail)->exact_count == 0)
	{
		tail_free(*tail);
		*tail = NULL;
	}
	return verdict;
}
