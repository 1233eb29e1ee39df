/*
 * captured.h
 *		A captured table, or a partition of one: its options, compiled.
 */
#ifndef EVPUB_CAPTURE_CAPTURED_H
#define EVPUB_CAPTURE_CAPTURED_H

#include "nodes/primnodes.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

#include "capture/render.h"
#include "capture/template.h"

typedef enum EvpubOp
{
	EVPUB_OP_CREATE,
	EVPUB_OP_UPDATE,
	EVPUB_OP_DELETE,
	EVPUB_OP_TRUNCATE,
	EVPUB_OP_RESYNC
} EvpubOp;

#define EVPUB_OPS (EVPUB_OP_RESYNC + 1)

typedef enum EvpubOnTruncate
{
	EVPUB_TRUNCATE_PER_TENANT,
	EVPUB_TRUNCATE_ERROR,
	EVPUB_TRUNCATE_IGNORE
} EvpubOnTruncate;

typedef enum EvpubPayload
{
	EVPUB_PAYLOAD_KEY,
	EVPUB_PAYLOAD_CHANGED_COLUMNS,	/* their names */
	EVPUB_PAYLOAD_ROW
} EvpubPayload;

typedef struct EvpubHeaderTemplate
{
	EvpubSlice	name;
	EvpubTemplate value;
} EvpubHeaderTemplate;

/*
 * Compiled settings of one trigger.  For a partition these are those of its
 * own trigger (a clone), with the captured root's names in the templates.
 */
typedef struct EvpubCapture
{
	MemoryContext context;		/* holds all of it */
	Oid			relation;
	Oid			root;			/* where it was captured */
	bool		stale;			/* compile again before the next use */
	uint32		default_topic_generation;

	/* tenant: from a column, from a constant, or the one standing in for the
	 * other where it is NULL */
	bool		has_tenant_column;
	EvpubColumn tenant_column;
	bool		has_tenant;
	EvpubSlice	tenant;

	EvpubTemplate topic;
	const char *topic_source;	/* of the template, for messages */
	EvpubTemplate key;
	EvpubTemplate type;
	uint32		placeholders;	/* EVPUB_PLACEHOLDER_BITs of all, headers too */
	uint32		placeholders_but_topic;	/* those of key and headers */

	/* topic and type depend on the operation alone */
	bool		route_is_constant;
	struct
	{
		uint64		epoch;		/* of the buffer; 0: none */
		const EvpubRoute *route;
	}			routes[EVPUB_OPS];

	EvpubEnvelope envelope;
	EvpubSlice	source;			/* CloudEvents: the database */
	bool		tombstone;		/* instead of an event of a delete */

	int			headers;
	EvpubHeaderTemplate *header;

	int			key_columns;
	EvpubColumn *key_column;
	bool		key_is_unique;	/* at every moment: the index is immediate */
	Oid			key_index;		/* finds rows by key, whether it is or not */
	List	   *partition_indexes;	/* would, once they are attached */
	bool		collapse;
	uint64		identity;		/* of root and options */

	/* what goes into "data"; of payload "row" all columns */
	EvpubPayload payload;
	int			data_columns;
	EvpubColumn *data_column;

	/* by attribute number - 1: an update must change one of these; NULL: any */
	bool	   *counts;

	/* operations that make events */
	bool		has_filter;
	Expr	   *filter;			/* on one row, as OUTER_VAR; NULL: none */
	bool		enters;			/* updates bring rows into the filter */
	bool		leaves;			/* or take them out of it */
	bool		moves;			/* only sees rows that change their partition,
								 * inside the filter or not */
	bool		on_insert;
	bool		on_update;
	bool		on_delete;
	EvpubOnTruncate on_truncate;
	bool		makes[EVPUB_OPS];	/* there may be events of this one; a resync,
									 * where it is called */

	AttrNumber	last_column;	/* the last that rendering reads */
	Size		small_key_room; /* a row is rendered as a key of integers, and that
								 * takes no more than this; else 0 */
} EvpubCapture;

/* The trigger for updates where it is one of its own. */
#define EVPUB_UPDATE_TRIGGER "_evpub_capture_update"

#endif							/* EVPUB_CAPTURE_CAPTURED_H */
