/*
 * server.c
 *		Fuzzes what reads texts that users write: templates, options, filters.
 *
 * These files call the server's parsers of SQL, JSON and regular expressions, its
 * encodings and its lists.  So the target is a module of a real server, which runs
 * as a single process (fuzz.t.py): SELECT evpub_fuzz('template', '-runs=1000').
 * The server itself is not built with the sanitizers; the files that are tested
 * are, and the input lies in memory of its own.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "nodes/nodes.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "admin/filtertext.h"
#include "capture/headers.h"
#include "capture/optionjson.h"
#include "capture/options.h"
#include "capture/render.h"
#include "capture/template.h"
#include "settings.h"

#include "lib/fuzz.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(evpub_fuzz);

extern int	LLVMFuzzerRunDriver(int *argc, char ***argv,
								int (*callback) (const uint8_t *data, size_t size));

/* What an input is given to, as text in the server's encoding. */
typedef void (*Reader) (const char *text);

static Reader reader;
static MemoryContext context;

/* ---- templates, names of topics ---- */

static void
read_template(const char *text)
{
	static const EvpubTemplateUse uses[] = {
		EVPUB_TEMPLATE_TOPIC, EVPUB_TEMPLATE_TENANT, EVPUB_TEMPLATE_KEY,
		EVPUB_TEMPLATE_TYPE, EVPUB_TEMPLATE_TOPIC_BY_HAND
	};
	EvpubPlaceholderValues values;

	for (int i = 0; i < EVPUB_PLACEHOLDERS; i++)
		values.text[i] = (EvpubSlice) {"value", 5};

	/*
	 * The setting's check does not know the database, whose name may be what makes a
	 * topic too long, so here it adds nothing to the template.
	 */
	values.text[EVPUB_PLACEHOLDER_DATABASE].len = 0;
	for (size_t i = 0; i < lengthof(uses); i++)
	{
		volatile bool compiled = false;
		char	   *detail = NULL;
		bool		good = evpub_template_check(text, uses[i], &detail);

		FUZZ_EXPECT(good || (detail != NULL && detail[0] != '\0'));
		PG_TRY();
		{
			EvpubTemplate template;
			StringInfoData out;

			evpub_template_compile(&template, text, uses[i], "topic", &values,
								   EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_DATABASE));
			compiled = true;
			initStringInfo(&out);
			evpub_template_render(&out, &template, &values);
			evpub_topic_check((EvpubSlice) {out.data, out.len}, InvalidOid, text);
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(context);
			FlushErrorState();
		}
		PG_END_TRY();
		/* what the setting's check lets through must not fail at the next event */
		FUZZ_EXPECT(compiled || !good);
	}
	(void) evpub_template_is_placeholder(text);
	(void) evpub_template_replace(text, "{match}", "{{x}}");
	(void) evpub_template_replace("a{match}{{match}}b", "{match}", text);
}

/* evpub.allowed_topics: short, or PostgreSQL's compiler may take seconds. */
static void
read_pattern(const char *text)
{
	char	   *detail = NULL;

	if (strlen(text) > 40)
		return;
	if (evpub_topic_pattern_check(text, &detail))
		return;
	FUZZ_EXPECT(detail != NULL);
}

static void
read_template_or_pattern(const char *text)
{
	if (text[0] == '~')
		read_pattern(text + 1);
	else
		read_template(text);
}

/* ---- options as JSON, and as a trigger's arguments; headers ---- */

/* What was read is written, and read again as the same. */
static void
read_again(const EvpubOptions *options)
{
	EvpubOptions again;
	StringInfoData definition;

	evpub_optionjson_read(&again, evpub_optionjson_values(options));
	for (int i = 0; i < EVPUB_TABLE_OPTIONS; i++)
	{
		/* in another form, perhaps: spaces in JSON, quotes that are not needed */
		FUZZ_EXPECT((options->value[i] == NULL) == (again.value[i] == NULL));
		if (evpub_option_kind(i) == EVPUB_KIND_TEXT && options->value[i] != NULL)
			FUZZ_EXPECT(strcmp(options->value[i], again.value[i]) == 0);
	}
	(void) evpub_optionjson_texts(options);
	initStringInfo(&definition);
	evpub_options_definition(&definition, "public.member", options);
	(void) evpub_options_arguments(options);
	(void) evpub_options_replace(&again, "{match}", NULL);
	(void) evpub_options_replace(&again, "{match}", "{table}");
	evpub_options_check(options);
}

static void
read_headers(const char *text)
{
	char	   *detail = NULL;
	StringInfoData encoded;

	if (!evpub_headers_check(text, &detail))
	{
		FUZZ_EXPECT(detail != NULL);
		return;
	}
	if (text[0] == '\0')
		return;
	initStringInfo(&encoded);
	evpub_headers_encode(&encoded, DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	evpub_extra_headers = unconstify(char *, text);
	evpub_extra_headers_generation++;
	evpub_headers_add_extra(&encoded);
	evpub_extra_headers = NULL;
	(void) evpub_headers_replace(text, "{match}", "x");
}

/* Lines are the arguments of a trigger. */
static void
read_arguments(const char *text)
{
	char	   *args[FUNC_MAX_ARGS];
	int			nargs = 0;
	EvpubOptions options;

	for (char *line = strtok(pstrdup(text), "\n"); line != NULL && nargs < FUNC_MAX_ARGS;
		 line = strtok(NULL, "\n"))
		args[nargs++] = line;
	evpub_options_read(&options, nargs, args, false);
	evpub_options_read(&options, nargs, args, true);
	for (int i = 0; i < EVPUB_OPTIONS; i++)
	{
		if (options.value[i] != NULL &&
			(evpub_option_kind(i) == EVPUB_KIND_NAMES || evpub_option_kind(i) == EVPUB_KIND_WORDS))
			(void) evpub_options_list(&options, i);
	}
	evpub_options_check(&options);
	read_again(&options);
}

static void
read_options(const char *text)
{
	EvpubOptions options;

	if (text[0] != '{')
	{
		read_arguments(text);
		return;
	}
	read_headers(text);
	evpub_optionjson_read(&options, DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																	   CStringGetDatum(text))));
	read_again(&options);
}

/* ---- filters ---- */

/*
 * One expression, whatever is in the text: nothing else gets into the trigger.  So it
 * is the same one wherever an expression may stand.
 */
static void
read_filter(const char *text)
{
	volatile bool parsed = false;
	const char *row = "NEW";
	Node	   *expression;

	evpub_filtertext_check(text);
	expression = evpub_filtertext_parse(text, row);
	(void) evpub_filtertext_query(evpub_filtertext_replace(text, "OLD"));
	PG_TRY();
	{
		List	   *statements = raw_parser(psprintf("SELECT 1 WHERE (%s\n)",
													 evpub_filtertext_replace(text, row)),
											RAW_PARSE_DEFAULT);
		SelectStmt *select = (SelectStmt *) linitial_node(RawStmt, statements)->stmt;

		FUZZ_EXPECT(list_length(statements) == 1);
		FUZZ_EXPECT(equal(select->whereClause, expression));
		parsed = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	FUZZ_EXPECT(parsed);
}

/* ---- one input ---- */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = malloc(size + 1);
	MemoryContext caller = MemoryContextSwitchTo(context);
	ErrorContextCallback *callbacks = error_context_stack;

	if (text == NULL)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	/* what is no text does not get as far as this */
	if (strlen(text) == size && pg_verify_mbstr(PG_UTF8, text, (int) size, true))
	{
		PG_TRY();
		{
			reader(text);
		}
		PG_CATCH();
		{
			ErrorData  *error;

			MemoryContextSwitchTo(context);
			error = CopyErrorData();
			FlushErrorState();
			/* what a user can cause has a code of its own */
			FUZZ_EXPECT(error->sqlerrcode != ERRCODE_INTERNAL_ERROR);
		}
		PG_END_TRY();
	}
	error_context_stack = callbacks;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(context);
	free(text);
	return 0;
}

/* ---- samples ---- */

static const char *const templates[] = {
	"{tenant}/{table}/{pk}", "cms-hr-operation", "{database}.{schema}.{table}.{event}",
	"{{literal}}-{op}", "{type}", "{match}", "{nobody}", "a}b", "{open", "", "..", ".",
	"{tenant}{tenant}{tenant}", "ünïcode-{pk}", "~[a-z]+(-dlq)?", "~(a|b)*{1,3}[", "~.*"
};

static const char *const options[] = {
	"{\"topic\": \"cms-{table}\", \"key\": \"{tenant}\", \"collapse\": false, \"operations\": [\"insert\", \"update\"]}",
	"{\"headers\": {\"__TypeId__\": \"{table}\", \"a\": \"{{b\"}, \"data_columns\": [\"Name\", \"select\"], \"envelope\": \"cloudevents\"}",
	"{\"filter\": \"{row}.deleted_at IS NULL\", \"update_columns\": [], \"on_delete\": \"tombstone\", \"on_replica\": true, \"tenant\": null}",
	"{\"traceparent\": \"00-0af7\", \"ce_id\": \"1\"}", "{\"evpub-id\": \"x\"}", "{\"a\": 1}", "{}",
	"{\"key_columns\": [[\"nested\"]]}", "{\"headers\": {\"a\": {\"b\": []}}}",
	"topic=cms\nkey={tenant}\noperations=insert,update\npayload=row\ndata_columns=\"Name\",id",
	"headers={\"a\": \"{match}\"}\nfilter=true\nas=moved\ncollapse=true",
	"envelope=plain\nenvelope=none\nunknown=1\nnothing", "key_columns=a,,b\nupdate_columns=\"a"
};

static const char *const filters[] = {
	"{row}.deleted_at IS NULL", "{row}.a > 1 AND coalesce({row}.b, '') <> 'x'",
	"{row}.xmin = 1", "true) ; DROP TABLE t; SELECT (true", "{row}.a -- a comment",
	"{row}.a /* a comment", "{row}.a IN (SELECT b FROM c WHERE d = {row}.e)", "{row}.*",
	"({row}).a::text ~ 'b' AS x", "{row}.a, {row}.b", "{row}.a), ({row}.b", "{row}.a) FROM t WHERE (true", "{row}).a + (1",
	"{row}.a UNION SELECT 1",
	"CASE WHEN {row}.a THEN {row}.b[1:2] ELSE U&'\\0041' END", "{row}.a = $1", "DEFAULT {row}",
	"exists(VALUES ({row}.a)) AND {row}.b = ANY (ARRAY[1,2]) AND NOT {row}.c", "{row"
};

static const struct
{
	const char *name;
	Reader		reader;
	const char *const *samples;
	size_t		count;
}			targets[] = {
	{"template", read_template_or_pattern, templates, lengthof(templates)},
	{"options", read_options, options, lengthof(options)},
	{"filter", read_filter, filters, lengthof(filters)},
};

static void
fuzz_samples(void)
{
	for (size_t i = 0; i < lengthof(targets); i++)
		for (size_t j = 0; targets[i].reader == reader && j < targets[i].count; j++)
			fuzz_sample(targets[i].samples[j], strlen(targets[i].samples[j]));
}

/* Runs libFuzzer with these arguments; does not return. */
Datum
evpub_fuzz(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(1);
	Datum	   *words;
	int			count;
	int			argc = 1;
	char	  **argv;

	for (size_t i = 0; i < lengthof(targets); i++)
		if (strcmp(targets[i].name, name) == 0)
			reader = targets[i].reader;
	if (reader == NULL)
		elog(ERROR, "there is no target \"%s\"", name);
	context = AllocSetContextCreate(TopMemoryContext, "evpub fuzz", ALLOCSET_DEFAULT_SIZES);
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &words, NULL, &count);
	argv = palloc0(sizeof(char *) * (count + 2));
	argv[0] = name;
	for (int i = 0; i < count; i++)
		argv[argc++] = TextDatumGetCString(words[i]);
	PG_RETURN_INT32(LLVMFuzzerRunDriver(&argc, &argv, LLVMFuzzerTestOneInput));
}
