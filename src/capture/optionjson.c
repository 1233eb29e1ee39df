/*
 * optionjson.c
 *		The options of a captured table as a JSON object.
 *
 * A rule of capture_schemas() keeps its options so, and evpub.tables reads each
 * of its columns out of one.
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "capture/optionjson.h"

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

	switch (evpub_option_kind(option))
	{
		case EVPUB_KIND_NAMES:
		case EVPUB_KIND_WORDS:
			(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
			foreach(cell, evpub_options_list(options, option))
				push_text(state, WJB_ELEM, lfirst(cell));
			(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
			break;
		case EVPUB_KIND_HEADERS:
			JsonbToJsonbValue(DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																 CStringGetDatum(text))),
							  &value);
			(void) pushJsonbValue(state, WJB_VALUE, &value);
			break;
		case EVPUB_KIND_BOOL:
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
		push_text(&state, WJB_KEY, evpub_option_name(i));
		if (texts)
			push_text(&state, WJB_VALUE, options->value[i]);
		else
			push_value(&state, options, (EvpubOption) i);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Jsonb *
evpub_optionjson_values(const EvpubOptions *options)
{
	return object_of(options, false);
}

Jsonb *
evpub_optionjson_texts(const EvpubOptions *options)
{
	return object_of(options, true);
}

static void
refuse_value(EvpubOption option)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the value of option \"%s\" is not what evpub.capture_table() takes",
					evpub_option_name(option)),
			 errdetail("It must be what to_jsonb() makes of a value of type %s.",
					   evpub_option_type(option)),
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
						 evpub_option_kind(option) == EVPUB_KIND_WORDS ? word : quote_identifier(word));
	}
	return list.data;
}

static char *
text_of_jsonb(EvpubOption option, JsonbValue *value)
{
	Jsonb	   *json;

	switch (evpub_option_kind(option))
	{
		case EVPUB_KIND_NAMES:
		case EVPUB_KIND_WORDS:
			return list_of_jsonb(option, value);
		case EVPUB_KIND_HEADERS:
			json = JsonbValueToJsonb(value);
			return JsonbToCString(NULL, &json->root, VARSIZE(json));
		case EVPUB_KIND_BOOL:
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
evpub_optionjson_read(EvpubOptions *options, Jsonb *object)
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
			option = evpub_option_find(item.val.string.val, item.val.string.len);
			if (option < 0 || option >= EVPUB_TABLE_OPTIONS)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("unknown option \"%s\"",
								pnstrdup(item.val.string.val, item.val.string.len)),
						 errhint("Options are %s.", evpub_option_names())));
		}
		else if (token == WJB_VALUE && item.type != jbvNull)
			options->value[option] = text_of_jsonb((EvpubOption) option, &item);
	}
}
