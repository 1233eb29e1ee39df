/*
 * options.h
 *		The options of a captured table, as they stand in trigger arguments.
 */
#ifndef EVPUB_CAPTURE_OPTIONS_H
#define EVPUB_CAPTURE_OPTIONS_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "capture/optiontable.h"

/*
 * Values in the server's encoding; NULL where there is none.  Lists are
 * identifiers with commas between them, quoted where they must be.
 */
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

/*
 * The options in the arguments of evpub.capture_table() or capture_schemas(),
 * which begin with number "first"; what is NULL stays as it is by default.
 */
extern void evpub_options_of_arguments(EvpubOptions *options,
									   FunctionCallInfo fcinfo, int first);

/*
 * Replace a placeholder in all templates, headers too, by another template.  True
 * if it stood somewhere; with replacement NULL that is all.
 */
extern bool evpub_options_replace(EvpubOptions *options, const char *placeholder,
								  const char *replacement);

/* ERROR for choices that do not exist (yet), and for those that contradict. */
extern void evpub_options_check(const EvpubOptions *options);

/* An option's choice: is it this one?  False if it has no value. */
extern bool evpub_options_chosen(const EvpubOptions *options, EvpubOption option,
								 const char *choice);

/* The names in an option that is a list (palloc'd), NIL if it has no value. */
extern List *evpub_options_list(const EvpubOptions *options, EvpubOption option);

/* Does option "operations" have this one ("insert", "update", ...)? */
extern bool evpub_options_operation(const EvpubOptions *options,
									const char *operation);

/* Trigger arguments that give these options, as String nodes. */
extern List *evpub_options_arguments(const EvpubOptions *options);

/* Append the call of evpub.capture_table() that gives these options. */
extern void evpub_options_definition(StringInfo dst, const char *table,
									 const EvpubOptions *options);

#endif							/* EVPUB_CAPTURE_OPTIONS_H */
