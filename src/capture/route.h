/*
 * route.h
 *		What a capture trigger does, compiled from its arguments.
 */
#ifndef EVPUB_CAPTURE_ROUTE_H
#define EVPUB_CAPTURE_ROUTE_H

#include "utils/rel.h"
#include "utils/reltrigger.h"

#include "capture/options.h"
#include "capture/render.h"
#include "capture/template.h"

typedef enum EvpubOp
{
	EVPUB_OP_CREATE,
	EVPUB_OP_UPDATE,
	EVPUB_OP_DELETE
} EvpubOp;

#define EVPUB_OPS (EVPUB_OP_DELETE + 1)

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
	EvpubTemplate key;
	EvpubTemplate type;
	uint32		places;			/* EVPUB_PLACE_BITs of all three */

	/* topic and type depend on the operation alone */
	bool		route_is_constant;
	struct
	{
		uint64		epoch;		/* of the buffer; 0: none */
		const EvpubRoute *route;
	}			routes[EVPUB_OPS];

	int			key_columns;
	EvpubColumn *key_column;

	AttrNumber	last_column;	/* the last that rendering reads */
	bool		has_dropped_columns;
} EvpubCapture;

/* {op} and {event} of an operation. */
extern const EvpubSlice evpub_op_names[EVPUB_OPS];
extern const EvpubSlice evpub_event_names[EVPUB_OPS];

/* Register the invalidation and transaction callbacks. */
extern void evpub_route_init(void);

/*
 * Compiled settings of a trigger that is firing; good until the end of the
 * transaction.  ERROR if its arguments do not fit the relation.
 */
extern EvpubCapture *evpub_route_get(const Trigger *trigger, Relation rel);

/*
 * Compile options for a relation into CurrentMemoryContext; ERROR if they do
 * not fit.  "root" is the captured relation, rel itself or above it.
 */
extern EvpubCapture *evpub_route_compile(const EvpubOptions *options,
										 Relation rel, Oid root);

/* Append the topic of a constant-route event and the type as a JSON string. */
extern void evpub_route_render(const EvpubCapture *capture,
							   EvpubPlaceValues *values, StringInfo type_text,
							   StringInfo topic, StringInfo type);

/* Topic template in force where none is given. */
extern const char *evpub_route_default_topic(void);

#endif							/* EVPUB_CAPTURE_ROUTE_H */
