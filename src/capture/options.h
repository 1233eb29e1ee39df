/*
 * options.h
 *		The options of a captured table, as they stand in trigger arguments.
 */
#ifndef EVPUB_CAPTURE_OPTIONS_H
#define EVPUB_CAPTURE_OPTIONS_H

#include "postgres.h"

#include "lib/stringinfo.h"

typedef enum EvpubOption
{
	EVPUB_OPTION_TOPIC,
	EVPUB_OPTION_TENANT_COLUMN,
	EVPUB_OPTION_TENANT,
	EVPUB_OPTION_KEY,
	EVPUB_OPTION_TYPE,
	EVPUB_OPTION_PAYLOAD,
	EVPUB_OPTION_ENVELOPE
} EvpubOption;

#define EVPUB_OPTIONS (EVPUB_OPTION_ENVELOPE + 1)

/* Values in the server's encoding; NULL where there is none. */
typedef struct EvpubOptions
{
	const char *value[EVPUB_OPTIONS];
} EvpubOptions;

/* What each option is without being given; topic then is evpub.default_topic. */
extern void evpub_options_default(EvpubOptions *options);

/*
 * Read "name=value" arguments over the defaults.  The values are parts of the
 * arguments.  Strict: ERROR for what is not known; else it is passed over.
 */
extern void evpub_options_read(EvpubOptions *options, int nargs, char **args,
							   bool strict);

/* ERROR for values of payload and envelope that do not exist (yet). */
extern void evpub_options_check(const EvpubOptions *options);

/* Append quoted trigger arguments that give these options. */
extern void evpub_options_arguments(StringInfo dst, const EvpubOptions *options);

/* Append the call of evpub.capture_table() that gives these options. */
extern void evpub_options_definition(StringInfo dst, const char *table,
									 const EvpubOptions *options);

#endif							/* EVPUB_CAPTURE_OPTIONS_H */
