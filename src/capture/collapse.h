/*
 * collapse.h
 *		Events of one row in one transaction, put together.
 */
#ifndef EVPUB_CAPTURE_COLLAPSE_H
#define EVPUB_CAPTURE_COLLAPSE_H

#include "postgres.h"

#include "storage/itemptr.h"

#include "event/event.h"

typedef enum EvpubChangeKind
{
	EVPUB_CHANGE_NONE,			/* not to be collapsed */
	EVPUB_CHANGE_INSERT,		/* created, by INSERT */
	EVPUB_CHANGE_CREATE,		/* created, by a change of its key */
	EVPUB_CHANGE_UPDATE,
	EVPUB_CHANGE_REPLACE,		/* updated: a row went, another one with its key
								 * is there */
	EVPUB_CHANGE_DELETE,
	EVPUB_CHANGE_TRUNCATE,		/* what is before it collapses with nothing after */
	EVPUB_CHANGE_RESYNC			/* as it is; not to be collapsed */
} EvpubChangeKind;

/* What becomes of the tail of an update that others were put into. */
typedef struct EvpubMerged
{
	EvpubSlice	tail;
	uint32		changed_len;
} EvpubMerged;

/* What collapsing needs to know of an event besides what goes to Kafka. */
typedef struct EvpubChange
{
	uint64		capture;		/* captured table and options */
	const EvpubRoute *as_update;	/* of a created: its route as an update; NULL
									 * if it cannot become one */
	const EvpubMerged *merged;	/* of an update, while collapsing; or NULL */
	uint32		changed_len;	/* bytes of the tail, at its beginning, that name
								 * the columns that changed */
	ItemPointerData tid;			/* of the row's version */
	uint8		kind;			/* EvpubChangeKind */
	bool		unique;			/* at most one row has this key at any moment */
} EvpubChange;

/* An event in the buffer; its bytes are in the arena. */
typedef struct EvpubBuffered
{
	const EvpubRoute *route;
	Size		start;			/* in the arena: key, tenant, subject, body, tail,
								 * headers, pk */
	uint32		number;
	uint32		first;			/* numbers from "first" to before "end" are its
								 * own, or of events that were dropped */
	uint32		end;
	uint32		key_len;
	uint32		tenant_len;
	uint32		subject_len;
	uint32		body_len;
	uint32		tail_len;
	uint32		headers_len;
	uint32		pk_len;			/* only if the body is not the key */
	bool		has_key:1;
	bool		has_value:1;
	bool		dropped:1;
	bool		absorbed:1;		/* a delete: updates before it were dropped for it */
	uint8		op;				/* EvpubOp, as it counts for evpub.stat_tables */
	Oid			table;			/* where it was captured; InvalidOid: by hand */
	EvpubChange change;
} EvpubBuffered;

/*
 * Among the events with these indexes, mark as dropped those that need not be
 * published, and make an update of a created whose row was deleted before.  Later
 * events of the same rows as those with numbers below "logged_behind" may be in WAL
 * already.  What change.merged points to is allocated in the current context.
 */
extern void evpub_collapse(EvpubBuffered *events, Size first, Size end,
						   const char *arena, uint32 logged_behind);

#endif							/* EVPUB_CAPTURE_COLLAPSE_H */
