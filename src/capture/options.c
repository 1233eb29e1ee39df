/*
 * options.c
 *		The options of a captured table, as they stand in trigger arguments.
 *
 * The trigger's arguments are the only place where they are kept, so that
 * pg_dump, pg_upgrade and schema comparison carry them without knowing us.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/value.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "capture/options.h"

typedef enum OptionKind
{
	KIND_TEXT,
	KIND_NAME,
	KIND_NAMES,					/* name[] */
	KIND_WORDS,					/* text[] of identifiers */
	KIND_JSON,
	KIND_BOOL
} OptionKind;

static const struct
{
	const char *name;
	OptionKind	kind;
	const char *value;			/* unless given */
}			known[EVPUB_OPTIONS] = {
	[EVPUB_OPTION_TOPIC] = {"topic", KIND_TEXT, NULL},
	[EVPUB_OPTION_TENANT_COLUMN] = {"tenant_column", KIND_NAME, NULL},
	[EVPUB_OPTION_TENANT] = {"tenant", KIND_TEXT, NULL},
	[EVPUB_OPTION_KEY] = {"key", KIND_TEXT, "{tenant}"},
	[EVPUB_OPTION_TYPE] = {"type", KIND_TEXT, "{table}.{event}"},
	[EVPUB_OPTION_OPERATIONS] = {"operations", KIND_WORDS, "insert,update,delete,truncate"},
	[EVPUB_OPTION_UPDATE_COLUMNS] = {"update_columns", KIND_NAMES, NULL},
	[EVPUB_OPTION_IGNORE_COLUMNS] = {"ignore_columns", KIND_NAMES, NULL},
	[EVPUB_OPTION_FILTER] = {"filter", KIND_TEXT, NULL},
	[EVPUB_OPTION_PAYLOAD] = {"payload", KIND_TEXT, "key"},
	[EVPUB_OPTION_DATA_COLUMNS] = {"data_columns", KIND_NAMES, NULL},
	[EVPUB_OPTION_HEADERS] = {"headers", KIND_JSON, NULL},
	[EVPUB_OPTION_ENVELOPE] = {"envelope", KIND_TEXT, "plain"},
	[EVPUB_OPTION_KEY_COLUMNS] = {"key_columns", KIND_NAMES, NULL},
	[EVPUB_OPTION_ON_TRUNCATE] = {"on_truncate", KIND_TEXT, NULL},
	[EVPUB_OPTION_ON_DELETE] = {"on_delete", KIND_TEXT, "event"},
	[EVPUB_OPTION_COLLAPSE] = {"collapse", KIND_BOOL, "true"},
	[EVPUB_OPTION_AS] = {"as", KIND_TEXT, NULL},
	[EVPUB_OPTION_ON_REPLICA] = {"on_replica", KIND_BOOL, "false"},
};

void
evpub_options_default(EvpubOptions *options)
{
	for (int i = 0; i < EVPUB_OPTIONS; i++)
		options->value[i] = known[i].value;
}

static char *
list_options(void)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < EVPUB_TABLE_OPTIONS; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", known[i].name);
	return list.data;
}

/* Index of the option whose name is the first len bytes, or -1. */
static int
find_option(const char *name, Size len)
{
	for (int i = 0; i < EVPUB_OPTIONS; i++)
	{
		if (strlen(known[i].name) == len &&
			strncmp(known[i].name, name, len) == 0)
			return i;
	}
	return -1;
}

void
evpub_options_read(EvpubOptions *options, int nargs, char **args, bool strict)
{
	bool		given[EVPUB_OPTIONS] = {false};

	evpub_options_default(options);
	for (int i = 0; i < nargs; i++)
	{
		const char *equals = strchr(args[i], '=');
		int			option;

		option = equals ? find_option(args[i], equals - args[i]) : -1;
		if (option < 0)
		{
			if (!strict)
				continue;
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 equals ?
					 errmsg("unknown option in argument \"%s\" of a capture trigger", args[i]) :
					 errmsg("argument \"%s\" of a capture trigger is not of the form option=value", args[i]),
					 errhint("Options are %s.", list_options())));
		}
		if (given[option] && strict)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" of a capture trigger is given twice",
							known[option].name),
					 errhint("Create the trigger with one value for each option.")));
		given[option] = true;
		options->value[option] = equals + 1;
	}
}

/* An array of names or words as a list of identifiers. */
static char *
list_from_array(EvpubOption option, ArrayType *array)
{
	StringInfoData list;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	bool		is_name = ARR_ELEMTYPE(array) == NAMEOID;

	deconstruct_array(array, ARR_ELEMTYPE(array), is_name ? NAMEDATALEN : -1,
					  false, is_name ? TYPALIGN_CHAR : TYPALIGN_INT,
					  &elements, &nulls, &count);
	initStringInfo(&list);
	for (int i = 0; i < count; i++)
	{
		const char *word;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not contain null", known[option].name),
					 errhint("Leave the null out of the array.")));
		word = is_name ? NameStr(*DatumGetName(elements[i])) :
			TextDatumGetCString(elements[i]);
		/* words are plain: quote_all_identifiers is not to stand in a trigger */
		appendStringInfo(&list, "%s%s", i > 0 ? "," : "",
						 known[option].kind == KIND_WORDS ? word : quote_identifier(word));
	}
	return list.data;
}

void
evpub_options_set(EvpubOptions *options, EvpubOption option, Datum value)
{
	char	   *result = NULL;

	switch (known[option].kind)
	{
		case KIND_TEXT:
			result = TextDatumGetCString(value);
			break;
		case KIND_NAME:
			result = pstrdup(NameStr(*DatumGetName(value)));
			break;
		case KIND_NAMES:
		case KIND_WORDS:
			result = list_from_array(option, DatumGetArrayTypeP(value));
			break;
		case KIND_JSON:
			{
				Jsonb	   *json = DatumGetJsonbP(value);

				result = JsonbToCString(NULL, &json->root, VARSIZE(json));
				break;
			}
		case KIND_BOOL:
			result = pstrdup(DatumGetBool(value) ? "true" : "false");
			break;
	}
	options->value[option] = result;
}

List *
evpub_options_list(const EvpubOptions *options, EvpubOption option)
{
	List	   *names;

	if (options->value[option] == NULL)
		return NIL;
	/* it changes its input */
	if (!SplitIdentifierString(pstrdup(options->value[option]), ',', &names))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" is not a list of names", known[option].name,
						options->value[option]),
				 errhint("Separate names by commas, and put those in double quotes that are not plain identifiers.")));
	return names;
}

bool
evpub_options_operation(const EvpubOptions *options, const char *operation)
{
	ListCell   *cell;

	foreach(cell, evpub_options_list(options, EVPUB_OPTION_OPERATIONS))
	{
		if (strcmp(lfirst(cell), operation) == 0)
			return true;
	}
	return false;
}

bool
evpub_options_chosen(const EvpubOptions *options, EvpubOption option,
					 const char *choice)
{
	return options->value[option] != NULL &&
		strcmp(options->value[option], choice) == 0;
}

/* ---- checks ---- */

static char *
list_choices(const char *const *choices)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; choices[i] != NULL; i++)
		appendStringInfo(&list, "%s\"%s\"",
						 i == 0 ? "" : choices[i + 1] == NULL ? " or " : ", ", choices[i]);
	return list.data;
}

static void
check_word(EvpubOption option, const char *value, const char *const *choices)
{
	for (int i = 0; choices[i] != NULL; i++)
	{
		if (strcmp(value, choices[i]) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown %s \"%s\"", known[option].name, value),
			 errhint("Use %s.", list_choices(choices))));
}

static void
check_operations(const EvpubOptions *options)
{
	static const char *const operations[] =
	{"insert", "update", "delete", "truncate", NULL};
	List	   *names = evpub_options_list(options, EVPUB_OPTION_OPERATIONS);
	ListCell   *cell;

	foreach(cell, names)
		check_word(EVPUB_OPTION_OPERATIONS, lfirst(cell), operations);
	if (names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("operations must not be empty"),
				 errhint("Use evpub.release_table() to publish nothing.")));
}

/* A name that stands twice would be two members of one JSON object. */
static void
check_names(const EvpubOptions *options, EvpubOption option)
{
	List	   *names = evpub_options_list(options, option);

	for (int i = 1; i < list_length(names); i++)
	{
		for (int j = 0; j < i; j++)
		{
			if (strcmp(list_nth(names, i), list_nth(names, j)) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("%s names column \"%s\" twice", known[option].name,
								(char *) list_nth(names, i)),
						 errhint("Name each column once.")));
		}
	}
}

void
evpub_options_check(const EvpubOptions *options)
{
	static const char *const payloads[] = {"key", "changed_columns", "row", NULL};
	static const char *const envelopes[] =
	{"plain", "cloudevents", "cloudevents_binary", "none", NULL};
	static const char *const deletes[] = {"event", "tombstone", NULL};
	static const char *const truncates[] = {"per_tenant", "error", "ignore", NULL};
	static const char *const crossings[] = {"created", "deleted", "moved", NULL};
	static const char *const booleans[] = {"true", "false", NULL};

	check_operations(options);
	for (int i = 0; i < EVPUB_OPTIONS; i++)
	{
		if (known[i].kind == KIND_NAMES)
			check_names(options, (EvpubOption) i);
	}
	check_word(EVPUB_OPTION_PAYLOAD, options->value[EVPUB_OPTION_PAYLOAD], payloads);
	check_word(EVPUB_OPTION_ENVELOPE, options->value[EVPUB_OPTION_ENVELOPE], envelopes);
	check_word(EVPUB_OPTION_ON_DELETE, options->value[EVPUB_OPTION_ON_DELETE], deletes);
	check_word(EVPUB_OPTION_COLLAPSE, options->value[EVPUB_OPTION_COLLAPSE], booleans);
	check_word(EVPUB_OPTION_ON_REPLICA, options->value[EVPUB_OPTION_ON_REPLICA], booleans);
	if (options->value[EVPUB_OPTION_ON_TRUNCATE] != NULL)
		check_word(EVPUB_OPTION_ON_TRUNCATE,
				   options->value[EVPUB_OPTION_ON_TRUNCATE], truncates);
	if (options->value[EVPUB_OPTION_UPDATE_COLUMNS] != NULL &&
		options->value[EVPUB_OPTION_IGNORE_COLUMNS] != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("update_columns and ignore_columns exclude each other"),
				 errhint("Give the columns that count, or those that do not.")));
	if (options->value[EVPUB_OPTION_AS] != NULL)
		check_word(EVPUB_OPTION_AS, options->value[EVPUB_OPTION_AS], crossings);
}

static bool
is_default(const EvpubOptions *options, int option)
{
	const char *value = options->value[option];

	return value == NULL ||
		(known[option].value != NULL && strcmp(value, known[option].value) == 0);
}

List *
evpub_options_arguments(const EvpubOptions *options)
{
	List	   *arguments = NIL;

	for (int i = 0; i < EVPUB_OPTIONS; i++)
	{
		if (!is_default(options, i))
			arguments = lappend(arguments,
								makeString(psprintf("%s=%s", known[i].name,
													options->value[i])));
	}
	return arguments;
}

/* A list of identifiers as the text of an array. */
static char *
array_text(const EvpubOptions *options, EvpubOption option)
{
	List	   *names = evpub_options_list(options, option);
	Datum	   *elements = palloc(sizeof(Datum) * Max(list_length(names), 1));
	int			count = 0;
	ListCell   *cell;
	Oid			output;
	bool		is_varlena;

	foreach(cell, names)
		elements[count++] = CStringGetTextDatum(lfirst(cell));
	getTypeOutputInfo(TEXTARRAYOID, &output, &is_varlena);
	return OidOutputFunctionCall(output,
								 PointerGetDatum(construct_array(elements, count, TEXTOID, -1,
																 false, TYPALIGN_INT)));
}

void
evpub_options_definition(StringInfo dst, const char *table,
						 const EvpubOptions *options, bool on_replica)
{
	appendStringInfo(dst, "SELECT evpub.capture_table(%s",
					 quote_literal_cstr(table));
	for (int i = 0; i < EVPUB_TABLE_OPTIONS; i++)
	{
		const char *value = options->value[i];

		if (is_default(options, i))
			continue;
		if (known[i].kind == KIND_BOOL)
		{
			appendStringInfo(dst, ", %s => %s", known[i].name, value);
			continue;
		}
		if (known[i].kind == KIND_NAMES || known[i].kind == KIND_WORDS)
			value = array_text(options, i);
		appendStringInfo(dst, ", %s => %s", known[i].name, quote_literal_cstr(value));
	}
	if (on_replica)
		appendStringInfoString(dst, ", on_replica => true");
	appendStringInfoString(dst, ")");
}
