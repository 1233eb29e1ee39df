/*
 * render.h
 *		Column values as text and as JSON, always in UTF-8.
 */
#ifndef EVPUB_CAPTURE_RENDER_H
#define EVPUB_CAPTURE_RENDER_H

#include "access/tupdesc.h"
#include "fmgr.h"

#include "event.h"

/* How a value of the column becomes text. */
typedef enum EvpubColumnKind
{
	EVPUB_COLUMN_INT2,
	EVPUB_COLUMN_INT4,
	EVPUB_COLUMN_INT8,
	EVPUB_COLUMN_BOOL,
	EVPUB_COLUMN_NUMERIC,
	EVPUB_COLUMN_TEXT,			/* the value's own bytes */
	EVPUB_COLUMN_PRINTED,		/* output function that obeys no setting */
	EVPUB_COLUMN_PRINTED_FIXED	/* output function under fixed settings */
} EvpubColumnKind;

typedef struct EvpubColumn
{
	AttrNumber	number;
	EvpubColumnKind kind;
	FmgrInfo	output;			/* of the kinds that print */
	EvpubSlice	json_name;		/* the name as a JSON string, with its quotes */
} EvpubColumn;

/* Room that evpub_column_text() may ask for in "small". */
#define EVPUB_SMALL_TEXT 32

/*
 * Fill *column, with memory from CurrentMemoryContext, which must live as
 * long as it does.
 */
extern void evpub_column_init(EvpubColumn *column, TupleDesc desc,
							  AttrNumber number);

/*
 * The text of a value.  It lies in small, in the value itself, or in
 * CurrentMemoryContext.  Output functions of user-defined types run here.
 */
extern EvpubSlice evpub_column_text(EvpubColumn *column, Datum value,
									char *small);

/* Append the column's text as a JSON value. */
extern void evpub_column_json(StringInfo dst, const EvpubColumn *column,
							  EvpubSlice text);

/* Append text as a JSON string, with its quotes. */
extern void evpub_json_string(StringInfo dst, EvpubSlice text);

/* Append text with '%', ',', '/' and ':' percent-encoded, for {pk}. */
extern void evpub_pk_text(StringInfo dst, EvpubSlice text);

/* Text in the server's encoding to UTF-8; palloc'd unless it is UTF-8. */
extern EvpubSlice evpub_utf8(const char *text, Size len);

#endif							/* EVPUB_CAPTURE_RENDER_H */
