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

#include "capture/headers.h"
#include "capture/options.h"
#include "capture/template.h"

void
evpub_options_default(EvpubOptions *options)
{
	for (int i = 0; i < EVPUB_OPTIONS; i++)
		options->value[i] = evpub_option_value(i);
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

		option = equals ? evpub_option_find(args[i], equals - args[i]) : -1;
		if (option < 0)
		{
			if (!strict)
				continue;
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 equals ?
					 errmsg("unknown option in argument \"%s\" of a capture trigger", args[i]) :
					 errmsg("argument \"%s\" of a capture trigger is not of the form option=value", args[i]),
					 errhint("Options are %s.", evpub_option_names())));
		}
		if (given[option] && strict)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" of a capture trigger is given twice",
							evpub_option_name(option)),
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
					 errmsg("%s must not contain null", evpub_option_name(option)),
					 errhint("Leave the null out of the array.")));
		word = is_name ? NameStr(*DatumGetName(elements[i])) :
			TextDatumGetCString(elements[i]);
		/* words are plain: quote_all_identifiers is not to stand in a trigger */
		appendStringInfo(&list, "%s%s", i > 0 ? "," : "",
						 evpub_option_kind(option) == EVPUB_KIND_WORDS ? word : quote_identifier(word));
	}
	return list.data;
}

static char *
text_of_argument(EvpubOption option, Datum value)
{
	switch (evpub_option_kind(option))
	{
		case EVPUB_KIND_TEXT:
		case EVPUB_KIND_TEMPLATE:
		case EVPUB_KIND_WORD:
			return TextDatumGetCString(value);
		case EVPUB_KIND_NAME:
			return pstrdup(NameStr(*DatumGetName(value)));
		case EVPUB_KIND_NAMES:
		case EVPUB_KIND_WORDS:
			return list_from_array(option, DatumGetArrayTypeP(value));
		case EVPUB_KIND_HEADERS:
			{
				Jsonb	   *json = DatumGetJsonbP(value);

				return JsonbToCString(NULL, &json->root, VARSIZE(json));
			}
		case EVPUB_KIND_BOOL:
			break;
	}
	return pstrdup(DatumGetBool(value) ? "true" : "false");
}

void
evpub_options_of_arguments(EvpubOptions *options, FunctionCallInfo fcinfo, int first)
{
	int			given = PG_NARGS() - first;

	/*
	 * The function may be of another version of the script.  Options that an older one
	 * does not have come last, and are as by default.
	 */
	if (given > EVPUB_TABLE_OPTIONS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("function %s() is of another version of evpub than the library",
						get_func_name(fcinfo->flinfo->fn_oid)),
				 errdetail("The library does not know all of its arguments."),
				 errhint("Install the version of evpub that extversion in pg_extension names, and restart the server.")));
	evpub_options_default(options);
	for (int i = 0; i < given; i++)
	{
		if (!PG_ARGISNULL(first + i))
			options->value[i] = text_of_argument((EvpubOption) i,
												 PG_GETARG_DATUM(first + i));
	}
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
				 errmsg("%s \"%s\" is not a list of names", evpub_option_name(option),
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

/* The words that an option takes, with commas between them. */
static const char *
choices_of(EvpubOption option)
{
	return evpub_option_kind(option) == EVPUB_KIND_BOOL ? "true,false" :
		evpub_option_choices(option);
}

static char *
list_choices(const char *choices)
{
	StringInfoData list;

	initStringInfo(&list);
	while (*choices != '\0')
	{
		int			len = strcspn(choices, ",");
		bool		last = choices[len] == '\0';

		appendStringInfo(&list, "%s\"%.*s\"",
						 list.len == 0 ? "" : last ? " or " : ", ", len, choices);
		choices += last ? len : len + 1;
	}
	return list.data;
}

static void
check_word(EvpubOption option, const char *word)
{
	const char *choices = choices_of(option);

	for (const char *p = choices; *p != '\0';)
	{
		Size		len = strcspn(p, ",");

		if (strlen(word) == len && strncmp(p, word, len) == 0)
			return;
		p += p[len] == '\0' ? len : len + 1;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown %s \"%s\"", evpub_option_name(option), word),
			 errhint("Use %s.", list_choices(choices))));
}

static void
check_words(const EvpubOptions *options, EvpubOption option)
{
	List	   *words = evpub_options_list(options, option);
	ListCell   *cell;

	foreach(cell, words)
		check_word(option, lfirst(cell));
	if (words == NIL && option == EVPUB_OPTION_OPERATIONS)
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
						 errmsg("%s names column \"%s\" twice", evpub_option_name(option),
								(char *) list_nth(names, i)),
						 errhint("Name each column once.")));
		}
	}
}

void
evpub_options_check(const EvpubOptions *options)
{
	for (int i = 0; i < EVPUB_OPTIONS; i++)
	{
		EvpubOption option = (EvpubOption) i;

		if (options->value[i] == NULL)
			continue;
		if (evpub_option_kind(i) == EVPUB_KIND_NAMES)
			check_names(options, option);
		else if (evpub_option_kind(i) == EVPUB_KIND_WORDS)
			check_words(options, option);
		else if (choices_of(option) != NULL)
			check_word(option, options->value[i]);
	}
	if (options->value[EVPUB_OPTION_UPDATE_COLUMNS] != NULL &&
		options->value[EVPUB_OPTION_IGNORE_COLUMNS] != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("update_columns and ignore_columns exclude each other"),
				 errhint("Give the columns that count, or those that do not.")));
}

static bool
is_default(const EvpubOptions *options, int option)
{
	const char *value = options->value[option];
	const char *by_default = evpub_option_value(option);

	return value == NULL || (by_default != NULL && strcmp(value, by_default) == 0);
}

List *
evpub_options_arguments(const EvpubOptions *options)
{
	List	   *arguments = NIL;

	for (int i = 0; i < EVPUB_OPTIONS; i++)
	{
		if (!is_default(options, i))
			arguments = lappend(arguments,
								makeString(psprintf("%s=%s", evpub_option_name(i),
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
						 const EvpubOptions *options)
{
	appendStringInfo(dst, "SELECT evpub.capture_table(%s",
					 quote_literal_cstr(table));
	for (int i = 0; i < EVPUB_TABLE_OPTIONS; i++)
	{
		const char *value = options->value[i];

		if (is_default(options, i))
			continue;
		if (evpub_option_kind(i) == EVPUB_KIND_BOOL)
		{
			appendStringInfo(dst, ", %s => %s", evpub_option_name(i), value);
			continue;
		}
		if (evpub_option_kind(i) == EVPUB_KIND_NAMES || evpub_option_kind(i) == EVPUB_KIND_WORDS)
			value = array_text(options, i);
		appendStringInfo(dst, ", %s => %s", evpub_option_name(i), quote_literal_cstr(value));
	}
	appendStringInfoString(dst, ")");
}

bool
evpub_options_replace(EvpubOptions *options, const char *placeholder,
					  const char *replacement)
{
	bool		found = false;

	for (int i = 0; i < EVPUB_OPTIONS; i++)
	{
		const char *source = options->value[i];
		EvpubOptionKind kind = evpub_option_kind(i);
		char	   *(*replace) (const char *, const char *, const char *) =
			kind == EVPUB_KIND_HEADERS ? evpub_headers_replace : evpub_template_replace;

		if (source == NULL ||
			(kind != EVPUB_KIND_TEMPLATE && kind != EVPUB_KIND_HEADERS) ||
			strcmp(replace(source, placeholder, ""),
				   replace(source, placeholder, placeholder)) == 0)
			continue;
		found = true;
		if (replacement != NULL)
			options->value[i] = replace(source, placeholder, replacement);
	}
	return found;
}
