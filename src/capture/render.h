/*
 * render.h
 *		Column values as text and as JSON, always in UTF-8.
 */
#ifndef EVPUB_CAPTURE_RENDER_H
#define EVPUB_CAPTURE_RENDER_H

#include "access/tupdesc.h"
#include "fmgr.h"

#include "capture/fixed.h"
#include "event/event.h"

/* How a value of the column becomes text. */
typedef enum EvpubColumnKind
{
	EVPUB_COLUMN_INT2,			/* integers come first */
	EVPUB_COLUMN_INT4,
	EVPUB_COLUMN_INT8,
	EVPUB_COLUMN_BOOL,
	EVPUB_COLUMN_NUMBER,		/* printed; a JSON number, if there is one for it */
	EVPUB_COLUMN_TEXT,			/* the value's own bytes */
	EVPUB_COLUMN_PRINTED,		/* printed; a JSON string */
	EVPUB_COLUMN_TIME,			/* a date or timestamp, as to_json() writes it; a
								 * JSON string */

	/* of these the JSON comes first, and is what the text is made of */
	EVPUB_COLUMN_JSONB,			/* jsonb as it is */
	EVPUB_COLUMN_TO_JSON,		/* what to_json() makes of it */
	EVPUB_COLUMN_TO_JSONB		/* the same by to_jsonb(), since there may be
								 * json in it */
} EvpubColumnKind;

typedef struct EvpubColumn
{
	AttrNumber	number;
	EvpubColumnKind kind;
	Oid			type;			/* below domains */
	EvpubFixed	fixed;			/* what must be set to print it */
	FmgrInfo	output;			/* of the kinds that call a function */
	const char *name;			/* in the server's encoding, for messages */
	EvpubSlice	json_name;		/* the name as a JSON string, with its quotes */
} EvpubColumn;

/* Room that evpub_column_text() may ask for in "small". */
#define EVPUB_SMALL_TEXT 32

/* Room for keys that need no memory of their own. */
#define EVPUB_SMALL_KEY 192

/*
 * Fill *column, with memory from CurrentMemoryContext, which must live as
 * long as it does.
 */
extern void evpub_column_init(EvpubColumn *column, TupleDesc desc,
							  AttrNumber number);

/*
 * The text of a value, for keys, tenants and templates: the string that
 * evpub_column_data() appends, without its quotes and escapes, or the JSON of what is
 * no string.  It lies in small, in the value itself, or in CurrentMemoryContext.
 * Output functions of user-defined types run here.
 */
extern EvpubSlice evpub_column_text(EvpubColumn *column, Datum value,
									char *small);

/* Append a value as JSON: what to_jsonb() makes of it in UTC. */
extern void evpub_column_data(StringInfo dst, EvpubColumn *column, Datum value,
							  bool isnull);

/*
 * The same, and the text of it as well; the value is not NULL.  The text is as
 * evpub_column_text() gives it.
 */
extern EvpubSlice evpub_column_both(StringInfo dst, EvpubColumn *column, Datum value,
									char *small);

/* Is its text, and its JSON, an integer, with which nothing can go wrong? */
extern bool evpub_column_is_integer(const EvpubColumn *column);

/* Is the value no string, number or boolean: is its text JSON? */
extern bool evpub_column_is_json(const EvpubColumn *column);

/*
 * ERROR if an event with so many bytes is larger than evpub.max_event_bytes.
 * Asked of parts of it as well, where there would be no memory for the whole.
 */
extern void evpub_check_bytes(Size bytes);

/* Is the text printable ASCII that stands in a JSON string as it is? */
extern bool evpub_is_plain(EvpubSlice text);

/* Append text as a JSON string, with its quotes. */
extern void evpub_json_string(StringInfo dst, EvpubSlice text);

/* Append text with '%', ',', '/' and ':' percent-encoded, for {pk}. */
extern void evpub_pk_text(StringInfo dst, EvpubSlice text);

/*
 * Text in the server's encoding to UTF-8; palloc'd unless it is UTF-8.  ERROR
 * if it is not valid.
 */
extern EvpubSlice evpub_utf8(const char *text, Size len);

/*
 * The name of the database; data is NULL if it is not valid here.  Names of
 * databases are bytes of whatever encoding the session had that gave them.
 */
extern EvpubSlice evpub_database_name(void);

#endif							/* EVPUB_CAPTURE_RENDER_H */
