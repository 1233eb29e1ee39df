/*
 * options.h
 *		The options of a captured table, as they stand in trigger arguments.
 */
#ifndef EVPUB_CAPTURE_OPTIONS_H
#define EVPUB_CAPTURE_OPTIONS_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

/* In the order of the arguments of evpub.capture_table(). */
typedef enum EvpubOption
{
	EVPUB_OPTION_TOPIC,
	EVPUB_OPTION_TENANT_COLUMN,
	EVPUB_OPTION_TENANT,
	EVPUB_OPTION_KEY,
	EVPUB_OPTION_TYPE,
	EVPUB_OPTION_OPERATIONS,
	EVPUB_OPTION_UPDATE_COLUMNS,
	EVPUB_OPTION_IGNORE_COLUMNS,
	EVPUB_OPTION_FILTER,
	EVPUB_OPTION_PAYLOAD,
	EVPUB_OPTION_DATA_COLUMNS,
	EVPUB_OPTION_HEADERS,
	EVPUB_OPTION_ENVELOPE,
	EVPUB_OPTION_KEY_COLUMNS,
	EVPUB_OPTION_ON_TRUNCATE,
	EVPUB_OPTION_ON_DELETE,
	EVPUB_OPTION_COLLAPSE,

	/*
	 * only in arguments: what an update is that crosses the filter, or that the
	 * trigger sees nothing but rows that change their partition
	 */
	EVPUB_OPTION_AS,

	/*
	 * Only in arguments: that the trigger is to fire always.  It is pg_trigger that
	 * makes it do so; check() compares, since ENABLE TRIGGER ALL, with which dumps
	 * made with --disable-triggers end, takes that back.
	 */
	EVPUB_OPTION_ON_REPLICA
} EvpubOption;

#define EVPUB_TABLE_OPTIONS (EVPUB_OPTION_COLLAPSE + 1)
#define EVPUB_OPTIONS (EVPUB_OPTION_ON_REPLICA + 1)

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

/* Set an option from an argument of evpub.capture_table(). */
extern void evpub_options_set(EvpubOptions *options, EvpubOption option,
							  Datum value);

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
									 const EvpubOptions *options,
									 bool on_replica);

#endif							/* EVPUB_CAPTURE_OPTIONS_H */
