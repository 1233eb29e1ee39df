/*
 * compact.c
 *		Closes the gaps that collapsed events leave.
 *
 * Collapsing only marks events as dropped, and says what others become.  Here
 * array and arena lose the bytes of those that are dropped.  Their numbers must
 * not be lost: the ranges of chunks have to join without a hole.
 */
#include "postgres.h"

#include "capture/compact.h"

static Size
event_bytes(const EvpubBuffered *event)
{
	return (Size) event->key_len + event->tenant_len + event->subject_len +
		event->body_len + event->tail_len + event->headers_len + event->pk_len;
}

/*
 * Give the numbers of a dropped event to one beside it, so that ranges still
 * join without a hole.  False if it has no neighbour in its range.
 */
static bool
give_numbers(EvpubBuffered *event, EvpubBuffered *before, EvpubBuffered *after)
{
	if (before != NULL && before->end == event->first)
		before->end = event->end;
	else if (after != NULL && after->first == event->end)
		after->first = event->first;
	else
		return false;
	return true;
}

/*
 * Move an event's bytes down to "at", or to where they are, and give it the
 * tail that collapsing made for it; returns how many bytes it has then.  A tail
 * grows by no more than what was dropped below it.
 */
static Size
move_event(EvpubBuffered *event, char *arena, Size at)
{
	const EvpubMerged *merged = event->change.merged;
	Size		bytes = event_bytes(event);
	Size		before;
	Size		behind;

	if (likely(event->change.kind == EVPUB_CHANGE_NONE || merged == NULL))
	{
		if (at != event->start)
			memmove(arena + at, arena + event->start, bytes);
		event->start = at;
		return bytes;
	}
	behind = (Size) event->headers_len + event->pk_len;
	before = bytes - behind - event->tail_len;
	Assert(at + before + merged->tail.len + behind <= event->start + bytes);
	memmove(arena + at, arena + event->start, before);
	memmove(arena + at + before + merged->tail.len,
			arena + event->start + bytes - behind, behind);
	memcpy(arena + at + before, merged->tail.data, merged->tail.len);
	event->start = at;
	event->tail_len = merged->tail.len;
	event->change.changed_len = merged->changed_len;
	event->change.merged = NULL;
	return before + event->tail_len + behind;
}

Size
evpub_compact(EvpubBuffered *events, Size first, Size end, char *arena,
			  Size start, Size *arena_end)
{
	Size		kept = first;
	Size		at = start;

	for (Size i = first; i < end; i++)
	{
		EvpubBuffered *event = &events[i];

		if (event->dropped)
		{
			if (give_numbers(event, kept > first ? &events[kept - 1] : NULL,
							 i + 1 < end ? &events[i + 1] : NULL))
				continue;

			/* only its numbers are left */
			event->key_len = event->tenant_len = event->subject_len = 0;
			event->body_len = event->tail_len = event->headers_len = 0;
			event->pk_len = 0;
			event->change.merged = NULL;
			event->change.kind = EVPUB_CHANGE_NONE;
		}
		at += move_event(event, arena, at);
		events[kept++] = *event;
	}
	*arena_end = at;
	return kept;
}
