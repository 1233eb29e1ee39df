/*
 * row.h
 *		A row as events need it, and the event that it makes.
 */
#ifndef EVPUB_CAPTURE_ROW_H
#define EVPUB_CAPTURE_ROW_H

#include "executor/tuptable.h"

#include "capture/captured.h"
#include "capture/collapse.h"

typedef struct EvpubRow
{
	bool		has_tenant;
	EvpubSlice	tenant;			/* as text */
	EvpubSlice	tenant_json;
	EvpubSlice	pk_json;		/* object of the key's columns */
	EvpubSlice	pk_text;		/* value of {pk}; only if it is asked for */
	EvpubSlice	data_json;		/* object; empty if there is none */

	/* of updates; empty if there is none */
	EvpubSlice	changed_json;	/* array of names */
	EvpubSlice	old_pk_json;	/* object */

	ItemPointerData tid;			/* of this version of the row */

	char		small[EVPUB_SMALL_TEXT];	/* tenant may lie here */
	char		small_json[EVPUB_SMALL_KEY];	/* tenant_json and pk_json may */
} EvpubRow;

/*
 * Render a row into memory of CurrentMemoryContext.  ERROR if it has no
 * tenant; the unchecked one leaves has_tenant false then, for the old row of
 * an update.
 */
extern void evpub_row_render(EvpubRow *row, EvpubCapture *capture, Relation rel,
							 TupleTableSlot *slot);
extern void evpub_row_render_unchecked(EvpubRow *row, EvpubCapture *capture,
									   TupleTableSlot *slot);

/* Find only the tenant of a row. */
extern void evpub_row_tenant(EvpubRow *row, EvpubCapture *capture,
							 TupleTableSlot *slot);

/* Put the event of a row into the transaction's buffer. */
extern void evpub_row_event(EvpubCapture *capture, EvpubChangeKind kind,
							const EvpubRow *row);

#endif							/* EVPUB_CAPTURE_ROW_H */
