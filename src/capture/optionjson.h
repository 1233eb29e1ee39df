/*
 * optionjson.h
 *		The options of a captured table as a JSON object.
 */
#ifndef EVPUB_CAPTURE_OPTIONJSON_H
#define EVPUB_CAPTURE_OPTIONJSON_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "capture/options.h"

/*
 * An object with these options: lists are arrays, headers an object, and what
 * is NULL is left out.
 */
extern Jsonb *evpub_optionjson_values(const EvpubOptions *options);

/* The same with all values as the text that stands in arguments. */
extern Jsonb *evpub_optionjson_texts(const EvpubOptions *options);

/*
 * What an object of the first form says, over the defaults.  ERROR for an option
 * that is not known, or has a value of another kind.
 */
extern void evpub_optionjson_read(EvpubOptions *options, Jsonb *object);

#endif							/* EVPUB_CAPTURE_OPTIONJSON_H */
