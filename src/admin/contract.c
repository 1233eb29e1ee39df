/*
 * contract.c
 *		Templates of captured tables, as evpub.asyncapi() describes them.
 *
 * A contract says what a template gives before there is a row: some placeholders
 * have a value then, others may be anything.  The document of a thousand tables
 * fills some ten thousand templates, so this is C and no SQL, which would plan
 * a query for each.
 *
 * Who describes a captured table must not fail where its trigger would: a template
 * that a hand-written trigger has wrong is taken as it is.  So this does not compile
 * it, as capture/template.c does.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(evpub_contract_fill);

/*
 * So many bytes of values are put into a template, which then is large enough for any
 * consumer.  A long type, often in a long header, would be a document without end.
 */
#define MAX_VALUES 10000

/* What to make of a template. */
typedef enum Form
{
	TEXT,						/* text; what has no value stays a placeholder */
	PATTERN,					/* a regular expression that the text matches */
	TEMPLATE					/* a template again: doubled braces stay doubled */
} Form;

static Form
form_argument(const char *form)
{
	if (strcmp(form, "text") == 0)
		return TEXT;
	if (strcmp(form, "pattern") == 0)
		return PATTERN;
	if (strcmp(form, "template") == 0)
		return TEMPLATE;
	elog(ERROR, "unknown form of a template: \"%s\"", form);
}

/* Append what stands for itself. */
static void
append_literal(StringInfo dst, const char *text, int len, Form form)
{
	for (int i = 0; i < len; i++)
	{
		if (form == PATTERN && strchr("][\\^$.*+?(){}|", text[i]) != NULL)
			appendStringInfoChar(dst, '\\');
		appendStringInfoChar(dst, text[i]);
	}
}

/* Length of the placeholder at "text", with its braces; 0: there is none. */
static int
placeholder_length(const char *text)
{
	int			len = 1;

	if (*text != '{')
		return 0;
	while (text[len] >= 'a' && text[len] <= 'z')
		len++;
	return len > 1 && text[len] == '}' ? len + 1 : 0;
}

/*
 * contract_fill(template, names, form): the template with its placeholders filled, as
 * far as "names" has strings for them, and these are not too long.  All encodings of a
 * server leave the bytes of ASCII to ASCII, so that bytes can be looked at one by one.
 */
Datum
evpub_contract_fill(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb	   *names = PG_GETARG_JSONB_P(1);
	Form		form = form_argument(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	StringInfoData filled;
	int			room = MAX_VALUES;

	initStringInfo(&filled);
	while (*source)
	{
		bool		is_doubled = (source[0] == '{' || source[0] == '}') && source[1] == source[0];
		int			len = is_doubled ? 0 : placeholder_length(source);
		JsonbValue	value;

		if (is_doubled)
		{
			append_literal(&filled, source, form == TEMPLATE ? 2 : 1, form);
			source += 2;
			continue;
		}
		if (len == 0)
		{
			append_literal(&filled, source++, 1, form);
			continue;
		}
		if (getKeyJsonValueFromContainer(&names->root, source + 1, len - 2, &value) != NULL &&
			value.type == jbvString && value.val.string.len <= room)
		{
			append_literal(&filled, value.val.string.val, value.val.string.len, form);
			room -= value.val.string.len;
		}
		else
			appendStringInfo(&filled, "%.*s", form == PATTERN ? 7 : len,
							 form == PATTERN ? "[\\s\\S]*" : source);
		source += len;
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(filled.data, filled.len));
}
