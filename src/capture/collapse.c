/*
 * collapse.c
 *		Events of one row in one transaction, put together.
 *
 * Done when events are about to be logged, so that what a savepoint rolled
 * back has no part in it.  A row is known by table, tenant and key.  Several
 * updates are one, at the place of the last.  A created stays where it is,
 * since other rows may refer to it from then on; one update of it is kept as
 * well.  Created and deleted is nothing.  Deleted and created again is an
 * update, at the later place.
 *
 * Only what is in the buffer together is put together, and always a part of it
 * from some event on to its end.  So the outcome must stand for what went in
 * when it is collapsed again with later events, and when it is not.
 *
 * A subtransaction may have logged its events while those of its parent, which
 * come before them, wait here.  An update can take the place of an earlier one
 * all the same, and of a created that was deleted: what is published last is
 * right.  But a created and its deleted do not cancel out, if an event of the row
 * was logged in between.
 *
 * Where a key is not unique at every moment (a deferrable one), rows may pass
 * through each other's keys: UPDATE t SET id = id + 1 deletes 2 after another
 * row was created as 2.  The trigger sees that and makes a replacement of it
 * (twin.c), which is an update here; and nothing is taken to cancel out.
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "capture/captured.h"
#include "capture/collapse.h"

/* What is kept of a row so far. */
typedef enum RowState
{
	ROW_CREATED,				/* "created", and perhaps "updated" */
	ROW_UPDATED,
	ROW_DELETED,
	ROW_NOTHING
} RowState;

typedef struct Row
{
	Size		key;			/* index of an event that has its identity */
	uint32		hash;
	char		status;			/* for simplehash */
	RowState	state;
	Size		created;
	Size		updated;		/* of a created row; or of its own */
	bool		has_update;
	Size		deleted;
} Row;

/* For the comparisons of the hash table; it has no argument to carry them. */
static EvpubBuffered *events_at;
static const char *arena_at;
static uint32 logged_behind_at;

static EvpubSlice
tenant_of(const EvpubBuffered *event)
{
	return (EvpubSlice) {arena_at + event->start + event->key_len, event->tenant_len};
}

static EvpubSlice
pk_of(const EvpubBuffered *event)
{
	const char *p = arena_at + event->start + event->key_len +
		event->tenant_len + event->subject_len;

	if (event->pk_len == 0)
		return (EvpubSlice) {p, event->body_len};
	p += event->body_len + event->tail_len + event->headers_len;
	return (EvpubSlice) {p, event->pk_len};
}

static uint32
hash_row(Size index)
{
	const EvpubBuffered *event = &events_at[index];
	EvpubSlice	tenant = tenant_of(event);
	EvpubSlice	pk = pk_of(event);

	return hash_combine(hash_bytes((const unsigned char *) pk.data, pk.len),
						hash_combine(hash_bytes((const unsigned char *) tenant.data, tenant.len),
									 (uint32) (event->change.capture ^ event->change.capture >> 32)));
}

static bool
same_key(Size a, Size b)
{
	const EvpubBuffered *x = &events_at[a];
	const EvpubBuffered *y = &events_at[b];

	return x->change.capture == y->change.capture &&
		evpub_slice_equals(pk_of(x), pk_of(y)) && evpub_slice_equals(tenant_of(x), tenant_of(y));
}

#define SH_PREFIX rows
#define SH_ELEMENT_TYPE Row
#define SH_KEY_TYPE Size
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_row(key)
#define SH_EQUAL(tb, a, b) same_key(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static void
drop(Size index)
{
	events_at[index].dropped = true;
}

/* ---- the columns that changed ---- */

/* `,"changed":["a","b"]` of an update's tail, as it is now. */
static EvpubSlice
changed_of(const EvpubBuffered *event)
{
	const char *tail = arena_at + event->start + event->key_len + event->tenant_len +
		event->subject_len + event->body_len;

	if (event->change.merged != NULL)
		return (EvpubSlice) {event->change.merged->tail.data,
							 event->change.merged->changed_len};
	return (EvpubSlice) {tail, event->change.changed_len};
}

/* The next name, with its quotes; false at the end of the list. */
static bool
next_name(EvpubSlice list, uint32 *at, EvpubSlice *name)
{
	uint32		i = *at;

	while (i < list.len && list.data[i] != '"')
		i++;
	if (i == list.len)
		return false;
	name->data = list.data + i;
	for (i++; list.data[i] != '"'; i++)
		if (list.data[i] == '\\')
			i++;
	i++;
	name->len = list.data + i - name->data;
	*at = i;
	return true;
}

/* Behind `,"changed":[` */
#define NAMES_AT (sizeof(",\"changed\":[") - 1)

static bool
has_name(EvpubSlice list, EvpubSlice wanted)
{
	uint32		at = NAMES_AT;
	EvpubSlice	name;

	while (next_name(list, &at, &name))
		if (evpub_slice_equals(name, wanted))
			return true;
	return false;
}

/*
 * The update "into" stands for "from" as well: it names the columns that either
 * changed.  If one of them does not say, the outcome cannot.
 */
static void
merge_changed(const EvpubBuffered *from, EvpubBuffered *into)
{
	EvpubSlice	before = changed_of(from);
	EvpubSlice	after = changed_of(into);
	EvpubSlice	name;
	EvpubMerged *merged;
	StringInfoData text;
	uint32		at = NAMES_AT;
	bool		more = false;

	if (after.len == 0)
		return;
	initStringInfo(&text);
	if (before.len > 0)
	{
		appendBinaryStringInfo(&text, before.data, before.len - 1);
		while (next_name(after, &at, &name))
		{
			if (has_name(before, name))
				continue;
			appendStringInfoChar(&text, ',');
			appendBinaryStringInfo(&text, name.data, name.len);
		}
		appendStringInfoChar(&text, ']');
		more = text.len > (int) after.len;
	}
	if (before.len == 0 || more)
	{
		merged = palloc(sizeof(EvpubMerged));
		merged->changed_len = text.len;
		appendBinaryStringInfo(&text, arena_at + into->start + into->key_len +
							   into->tenant_len + into->subject_len +
							   into->body_len + into->change.changed_len,
							   into->tail_len - into->change.changed_len);
		merged->tail = (EvpubSlice) {text.data, text.len};
		into->change.merged = merged;
	}
	else
		pfree(text.data);		/* all are named already */
}

/* ---- what was, and what comes ---- */

/* Are all events of the row since this one in the buffer? */
static bool
is_all_here(Size index)
{
	return events_at[index].number >= logged_behind_at;
}

/* The row was there before: a later delete must be published. */
static void
make_update(EvpubBuffered *event)
{
	event->route = event->change.as_update;
	event->op = EVPUB_OP_UPDATE;
	event->change.kind = EVPUB_CHANGE_UPDATE;
}

static void
begin_update(Row *row, Size index)
{
	row->state = ROW_UPDATED;
	row->updated = index;
	row->has_update = true;
}

static void
take_updated(Row *row, Size index)
{
	if ((row->state == ROW_CREATED || row->state == ROW_UPDATED) && row->has_update)
	{
		merge_changed(&events_at[row->updated], &events_at[index]);
		drop(row->updated);
	}
	if (row->state == ROW_CREATED)
	{
		row->updated = index;
		row->has_update = true;
	}
	else
		begin_update(row, index);
}

/* A row that was there before, or (the key is not unique) is there already? */
static void
take_created(Row *row, Size index)
{
	EvpubBuffered *event = &events_at[index];

	if (row->state != ROW_NOTHING && event->change.as_update != NULL)
	{
		if (row->state == ROW_DELETED)
			drop(row->deleted);
		make_update(event);
		take_updated(row, index);
		return;
	}

	/* a delete must be published */
	if (row->state != ROW_NOTHING)
		event->change.kind = EVPUB_CHANGE_CREATE;
	row->state = ROW_CREATED;
	row->created = index;
	row->has_update = false;
}

/*
 * A row went, but another has its key.  If that is the one that was created, it
 * took the place of the one that went, and what was created is an update.
 */
static void
take_replaced(Row *row, Size index)
{
	EvpubBuffered *created;

	if (row->state != ROW_CREATED)
	{
		take_updated(row, index);
		return;
	}
	created = &events_at[row->created];
	if (created->change.as_update == NULL)
	{
		created->change.kind = EVPUB_CHANGE_CREATE;
		take_updated(row, index);
	}
	else if (!row->has_update && is_all_here(row->created) &&
			 ItemPointerEquals(&created->change.tid, &events_at[index].change.tid))
	{
		drop(index);
		make_update(created);
		begin_update(row, row->created);
	}
	else
	{
		take_updated(row, index);
		drop(row->created);
		begin_update(row, index);
	}
}

static void
take_deleted(Row *row, Size index)
{
	if ((row->state == ROW_CREATED || row->state == ROW_UPDATED) && row->has_update)
	{
		drop(row->updated);
		events_at[index].absorbed = true;
	}
	if (row->state == ROW_CREATED &&
		events_at[row->created].change.kind == EVPUB_CHANGE_INSERT &&
		events_at[row->created].change.unique && is_all_here(row->created))
	{
		drop(row->created);
		drop(index);
		row->state = ROW_NOTHING;
		return;
	}
	/* two rows of this key went at once */
	if (row->state == ROW_DELETED)
		drop(row->deleted);
	row->state = ROW_DELETED;
	row->deleted = index;
}

/* Created ones alone collapse to themselves. */
static bool
worth_it(const EvpubBuffered *events, Size first, Size end)
{
	for (Size i = first; i < end; i++)
		if (events[i].change.kind > EVPUB_CHANGE_CREATE)
			return true;
	return false;
}

void
evpub_collapse(EvpubBuffered *events, Size first, Size end, const char *arena,
			   uint32 logged_behind)
{
	rows_hash  *rows;

	if (!worth_it(events, first, end))
		return;
	events_at = events;
	arena_at = arena;
	logged_behind_at = logged_behind;
	rows = rows_create(CurrentMemoryContext, 256, NULL);
	for (Size i = first; i < end; i++)
	{
		Row		   *row;
		bool		found;

		if (events[i].dropped || events[i].change.kind == EVPUB_CHANGE_NONE ||
			events[i].change.kind == EVPUB_CHANGE_RESYNC)
			continue;
		if (events[i].change.kind == EVPUB_CHANGE_TRUNCATE)
		{
			rows_reset(rows);
			continue;
		}
		row = rows_insert(rows, i, &found);
		if (!found)
			row->state = ROW_NOTHING;
		switch ((EvpubChangeKind) events[i].change.kind)
		{
			case EVPUB_CHANGE_INSERT:
			case EVPUB_CHANGE_CREATE:
				take_created(row, i);
				break;
			case EVPUB_CHANGE_UPDATE:
				take_updated(row, i);
				break;
			case EVPUB_CHANGE_REPLACE:
				take_replaced(row, i);
				break;
			case EVPUB_CHANGE_DELETE:
				take_deleted(row, i);
				break;
			case EVPUB_CHANGE_TRUNCATE:
			case EVPUB_CHANGE_RESYNC:
			case EVPUB_CHANGE_NONE:
				break;
		}
	}
	rows_destroy(rows);
}
