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
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "capture/options.h"
#include "capture/template.h"

typedef enum OptionKind
{
	KIND_TEXT,
	KIND_TEMPLATE,				/* text that {match} of a rule may stand in */
	KIND_WORD,					/* text: one of some choices */
	KIND_NAME,
	KIND_NAMES,					/* name[] */
	KIND_WORDS,					/* text[] of identifiers: some of the choices */
	KIND_HEADERS,				/* jsonb: an object whose values are templates */
	KIND_BOOL
} OptionKind;

/* Types of arguments. */
static const char *const kind_types[] = {
	[KIND_TEXT] = "text",
	[KIND_TEMPLATE] = "text",
	[KIND_WORD] = "text",
	[KIND_NAME] = "name",
	[KIND_NAMES] = "name[]",
	[KIND_WORDS] = "text[]",
	[KIND_HEADERS] = "jsonb",
	[KIND_BOOL] = "boolean",
};

static const struct
{
	const char *name;
	OptionKind	kind;
	const char *value;			/* unless given */
	const char *choices;		/* with commas between them; NULL: free */
	const char *comment;
}			known[EVPUB_OPTIONS] = {
#define EVPUB_OPTION(symbol, name, kind, value, choices, comment) \
	[EVPUB_OPTION_##symbol] = {name, KIND_##kind, value, choices, comment},
#include "capture/optionlist.h"
#undef EVPUB_OPTION
};

const char *
evpub_option_name(EvpubOption option)
{
	return known[option].name;
}

const char *
evpub_option_type(EvpubOption option)
{
	return kind_types[known[option].kind];
}

const char *
evpub_option_comment(EvpubOption option)
{
	return known[option].comment;
}

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

static char *
jsonb_text(Jsonb *json)
{
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

static char *
text_of_argument(EvpubOption option, Datum value)
{
	switch (known[option].kind)
	{
		case KIND_TEXT:
		case KIND_TEMPLATE:
		case KIND_WORD:
			return TextDatumGetCString(value);
		case KIND_NAME:
			return pstrdup(NameStr(*DatumGetName(value)));
		case KIND_NAMES:
		case KIND_WORDS:
			return list_from_array(option, DatumGetArrayTypeP(value));
		case KIND_HEADERS:
			return jsonb_text(DatumGetJsonbP(value));
		case KIND_BOOL:
			break;
	}
	return pstrdup(DatumGetBool(value) ? "true" : "false");
}

void
evpub_options_of_arguments(EvpubOptions *options, FunctionCallInfo fcinfo, int first)
{
	evpub_options_default(options);
	for (int i = 0; i < EVPUB_TABLE_OPTIONS; i++)
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

/* The words that an option takes, with commas between them. */
static const char *
choices_of(EvpubOption option)
{
	return known[option].kind == KIND_BOOL ? "true,false" : known[option].choices;
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
			 errmsg("unknown %s \"%s\"", known[option].name, word),
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
						 errmsg("%s names column \"%s\" twice", known[option].name,
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
		if (known[i].kind == KIND_NAMES)
			check_names(options, option);
		else if (known[i].kind == KIND_WORDS)
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
						 const EvpubOptions *options)
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
	appendStringInfoString(dst, ")");
}

/* ---- as JSON, for rules and for evpub.tables ---- */

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, const char *text)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	(void) pushJsonbValue(state, token, &value);
}

static void
push_value(JsonbParseState **state, const EvpubOptions *options, EvpubOption option)
{
	const char *text = options->value[option];
	JsonbValue	value;
	ListCell   *cell;

	switch (known[option].kind)
	{
		case KIND_NAMES:
		case KIND_WORDS:
			(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
			foreach(cell, evpub_options_list(options, option))
				push_text(state, WJB_ELEM, lfirst(cell));
			(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
			break;
		case KIND_HEADERS:
			JsonbToJsonbValue(DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																 CStringGetDatum(text))),
							  &value);
			(void) pushJsonbValue(state, WJB_VALUE, &value);
			break;
		case KIND_BOOL:
			value.type = jbvBool;
			value.val.boolean = strcmp(text, "true") == 0;
			(void) pushJsonbValue(state, WJB_VALUE, &value);
			break;
		default:
			push_text(state, WJB_VALUE, text);
	}
}

/* With "texts" each value is the text that stands in arguments. */
static Jsonb *
object_of(const EvpubOptions *options, bool texts)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < EVPUB_TABLE_OPTIONS; i++)
	{
		if (options->value[i] == NULL)
			continue;
		push_text(&state, WJB_KEY, known[i].name);
		if (texts)
			push_text(&state, WJB_VALUE, options->value[i]);
		else
			push_value(&state, options, (EvpubOption) i);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Jsonb *
evpub_options_to_jsonb(const EvpubOptions *options)
{
	return object_of(options, false);
}

Jsonb *
evpub_options_texts(const EvpubOptions *options)
{
	return object_of(options, true);
}

static void
refuse_value(EvpubOption option)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the value of option \"%s\" is not what evpub.capture_table() takes",
					known[option].name),
			 errdetail("It must be what to_jsonb() makes of a value of type %s.",
					   kind_types[known[option].kind]),
			 errhint("Correct it, or have evpub.capture_schemas() make the rule.")));
}

/* An array of strings as a list of identifiers. */
static char *
list_of_jsonb(EvpubOption option, const JsonbValue *array)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	StringInfoData list;

	if (array->type != jbvBinary || !JsonContainerIsArray(array->val.binary.data))
		refuse_value(option);
	initStringInfo(&list);
	iterator = JsonbIteratorInit(array->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		char	   *word;

		if (token != WJB_ELEM)
			continue;
		if (item.type != jbvString)
			refuse_value(option);
		word = pnstrdup(item.val.string.val, item.val.string.len);
		appendStringInfo(&list, "%s%s", list.len > 0 ? "," : "",
						 known[option].kind == KIND_WORDS ? word : quote_identifier(word));
	}
	return list.data;
}

static char *
text_of_jsonb(EvpubOption option, JsonbValue *value)
{
	switch (known[option].kind)
	{
		case KIND_NAMES:
		case KIND_WORDS:
			return list_of_jsonb(option, value);
		case KIND_HEADERS:
			return jsonb_text(JsonbValueToJsonb(value));
		case KIND_BOOL:
			if (value->type != jbvBool)
				refuse_value(option);
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			break;
	}
	if (value->type != jbvString)
		refuse_value(option);
	return pnstrdup(value->val.string.val, value->val.string.len);
}

void
evpub_options_of_jsonb(EvpubOptions *options, Jsonb *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	item;
	int			option = -1;

	evpub_options_default(options);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			option = find_option(item.val.string.val, item.val.string.len);
			if (option < 0 || option >= EVPUB_TABLE_OPTIONS)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("unknown option \"%s\"",
								pnstrdup(item.val.string.val, item.val.string.len)),
						 errhint("Options are %s.", list_options())));
		}
		else if (token == WJB_VALUE && item.type != jbvNull)
			options->value[option] = text_of_jsonb((EvpubOption) option, &item);
	}
}

/* ---- templates ---- */

/* The same object, with a placeholder replaced in all values that are text. */
static char *
replace_in_values(const char *object, const char *place, const char *replacement)
{
	Jsonb	   *json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														  CStringGetDatum(object)));
	JsonbIterator *iterator = JsonbIteratorInit(&json->root);
	JsonbParseState *state = NULL;
	JsonbIteratorToken token;
	JsonbValue	item;
	JsonbValue *result = NULL;

	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_VALUE && item.type == jbvString)
		{
			char	   *source = pnstrdup(item.val.string.val, item.val.string.len);

			push_text(&state, token, evpub_template_replace(source, place, replacement));
		}
		else
			result = pushJsonbValue(&state, token,
									token == WJB_KEY || token == WJB_VALUE ||
									token == WJB_ELEM ? &item : NULL);
	}
	return jsonb_text(JsonbValueToJsonb(result));
}

bool
evpub_options_replace(EvpubOptions *options, const char *place, const char *replacement)
{
	bool		found = false;

	for (int i = 0; i < EVPUB_OPTIONS; i++)
	{
		const char *source = options->value[i];
		char	   *(*replace) (const char *, const char *, const char *) =
			known[i].kind == KIND_HEADERS ? replace_in_values : evpub_template_replace;

		if (source == NULL ||
			(known[i].kind != KIND_TEMPLATE && known[i].kind != KIND_HEADERS) ||
			strcmp(replace(source, place, ""), replace(source, place, place)) == 0)
			continue;
		found = true;
		if (replacement != NULL)
			options->value[i] = replace(source, place, replacement);
	}
	return found;
}
