/*
 * compile.h
 *		Compiling the options of a captured table for one relation.
 */
#ifndef EVPUB_CAPTURE_COMPILE_H
#define EVPUB_CAPTURE_COMPILE_H

#include "utils/rel.h"

#include "capture/captured.h"
#include "capture/options.h"

/* {op} and {event} of an operation. */
extern const EvpubSlice evpub_op_names[EVPUB_OPS];
extern const EvpubSlice evpub_event_names[EVPUB_OPS];

/*
 * Compile options for a relation into CurrentMemoryContext; ERROR if they do
 * not fit.  "root" is the captured relation, rel itself or above it.
 */
extern EvpubCapture *evpub_compile_options(const EvpubOptions *options,
										 Relation rel, Oid root);

/* Append the topic of a constant-route event and the type as a JSON string. */
extern void evpub_compiled_route(const EvpubCapture *capture,
							   EvpubPlaceholderValues *values, StringInfo type_text,
							   StringInfo topic, StringInfo type);

/* Topic template in force where none is given. */
extern const char *evpub_compiled_default_topic(void);

#endif							/* EVPUB_CAPTURE_COMPILE_H */
