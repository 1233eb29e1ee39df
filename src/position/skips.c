/*
 * skips.c
 *		Events that Kafka refuses: given up by a person, or dead letters.
 *
 * They are few, so they are kept in a list.  An entry is durable before anything
 * follows from it, and is needed until the confirmed position has passed the
 * event: then whoever starts from the state file, or from a position message,
 * replaces the same events, and no others.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "position/skips.h"

EvpubSkip *
evpub_skips_find(const EvpubPosition *position, const char *id)
{
	for (int i = 0; i < position->nskips; i++)
		if (strcmp(position->skips[i].id, id) == 0)
			return &position->skips[i];
	return NULL;
}

/* Have an array of one's own, with room for one more. */
static void
copy_list(EvpubPosition *position)
{
	EvpubSkip  *copy = MemoryContextAlloc(TopMemoryContext,
										  sizeof(EvpubSkip) * (position->nskips + 1));

	if (position->nskips > 0)
		memcpy(copy, position->skips, sizeof(EvpubSkip) * position->nskips);
	position->skips = copy;
}

void
evpub_skips_add(EvpubPosition *position, const char *id, const char *reason)
{
	EvpubSkip  *skip;
	char	   *copy;

	if (evpub_skips_find(position, id))
		return;

	/* first what may fail: there is no entry that is half made */
	copy = MemoryContextStrdup(TopMemoryContext, reason);
	copy_list(position);
	skip = &position->skips[position->nskips++];
	memset(skip, 0, sizeof(*skip));
	strlcpy(skip->id, id, sizeof(skip->id));
	skip->reason = copy;
}

void
evpub_skips_add_letter(EvpubPosition *position, const char *id, const char *reason,
					   const char *topic, int32 partition, int32 code)
{
	char	   *copy = MemoryContextStrdup(TopMemoryContext, topic);
	EvpubSkip  *skip;

	Assert(!evpub_skips_find(position, id));
	evpub_skips_add(position, id, reason);
	skip = evpub_skips_find(position, id);
	skip->letter = true;
	skip->topic = copy;
	skip->partition = partition;
	skip->code = code;
}

/* The entry of this event, in a copy of the list that may be changed. */
static EvpubSkip *
own_skip(EvpubPosition *position, const char *id)
{
	copy_list(position);
	return evpub_skips_find(position, id);
}

void
evpub_skips_give_up(EvpubPosition *position, const char *id)
{
	EvpubSkip  *skip = own_skip(position, id);

	if (skip)
		skip->letter = false;
}

void
evpub_skips_silence(EvpubPosition *position, const char *id)
{
	EvpubSkip  *skip = own_skip(position, id);

	if (skip)
		skip->silent = true;
}

/* Has the confirmed position passed the event?  Its id says where it belongs. */
static bool
passed(const EvpubPosition *position, const EvpubSkip *skip)
{
	unsigned long long lsn;
	unsigned int number;

	if (skip->passed)
		return true;
	if (sscanf(skip->id + EVPUB_ID_LSN_AT, "%16llX-%8X", &lsn, &number) != 2)
		return true;

	/* an evpub.gap event belongs to the gap, which may end before that */
	if (number >= EVPUB_GAP_NUMBERS)
	{
		for (int i = 0; i < position->ngaps; i++)
			if (!position->gaps[i].announced && position->gaps[i].to_lsn == lsn)
				return false;
	}
	return lsn <= position->confirmed_lsn;
}

void
evpub_skips_prune(EvpubPosition *position)
{
	int			kept = 0;

	for (int i = 0; i < position->nskips; i++)
		if (!passed(position, &position->skips[i]))
			kept++;
	if (kept == position->nskips)
		return;
	copy_list(position);
	kept = 0;
	for (int i = 0; i < position->nskips; i++)
		if (!passed(position, &position->skips[i]))
			position->skips[kept++] = position->skips[i];
	position->nskips = kept;
}

void
evpub_skips_release(const EvpubPosition *before, const EvpubPosition *now)
{
	if (before->skips == now->skips)
		return;
	for (int i = 0; i < before->nskips; i++)
	{
		const EvpubSkip *kept = evpub_skips_find(now, before->skips[i].id);

		/* what is in both lists has the same texts */
		if (kept)
			continue;
		pfree(before->skips[i].reason);
		if (before->skips[i].topic)
			pfree(before->skips[i].topic);
	}
	if (before->skips)
		pfree(before->skips);
}
