/*
 * headers.c
 *		Kafka headers of events: given by hand, with the table, or by setting.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "capture/headers.h"
#include "capture/render.h"
#include "capture/template.h"
#include "settings.h"

/* evpub.extra_headers, parsed when it was set last */
static MemoryContext extra_context = NULL;
static EvpubHeader *extra = NULL;
static int	extra_count = 0;
static uint32 extra_generation = 0;

/* Names that evpub itself sets, now or in another envelope. */
static void
check_header_name(const char *name, int len)
{
	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name of a header must not be empty"),
				 errhint("Give each header a name.")));
	if ((len >= 6 && pg_strncasecmp(name, "evpub-", 6) == 0) ||
		(len >= 3 && pg_strncasecmp(name, "ce_", 3) == 0) ||
		(len == 12 && pg_strncasecmp(name, "content-type", 12) == 0))
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("header \"%.*s\" is reserved", len, name),
				 errdetail("Headers evpub-*, ce_* and content-type are set by evpub."),
				 errhint("Choose another name.")));
}

static char *
value_of(const JsonbValue *item, const char *name)
{
	if (item->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value of header \"%s\" must be a string", name),
				 errhint("Write numbers and booleans in quotes; leave out headers without a value.")));
	return pnstrdup(item->val.string.val, item->val.string.len);
}

int
evpub_headers_parse(Datum object, EvpubHeader **headers)
{
	Jsonb	   *json = DatumGetJsonbP(object);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	char	   *name = NULL;
	int			count = 0;

	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers of an event must be a JSON object"),
				 errhint("Give them as in '{\"traceparent\": \"...\"}'.")));

	*headers = palloc(sizeof(EvpubHeader) * Max(JB_ROOT_COUNT(json), 1));
	iterator = JsonbIteratorInit(&json->root);
	(void) JsonbIteratorNext(&iterator, &item, true);	/* WJB_BEGIN_OBJECT */
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_END_OBJECT)
	{
		if (token == WJB_KEY)
		{
			check_header_name(item.val.string.val, item.val.string.len);
			name = pnstrdup(item.val.string.val, item.val.string.len);
			continue;
		}
		(*headers)[count].name = evpub_utf8(name, strlen(name));
		(*headers)[count].value = value_of(&item, name);
		/* for its errors: better now than with the first event */
		(void) evpub_utf8((*headers)[count].value, strlen((*headers)[count].value));
		count++;
	}
	return count;
}

char *
evpub_headers_replace(const char *object, const char *placeholder, const char *replacement)
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

			item.val.string.val = evpub_template_replace(source, placeholder, replacement);
			item.val.string.len = strlen(item.val.string.val);
		}
		result = pushJsonbValue(&state, token,
								token == WJB_KEY || token == WJB_VALUE ||
								token == WJB_ELEM ? &item : NULL);
	}
	json = JsonbValueToJsonb(result);
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

bool
evpub_headers_check(const char *text, char **detail)
{
	MemoryContext caller = CurrentMemoryContext;
	EvpubHeader *headers;

	if (text[0] == '\0')
		return true;
	PG_TRY();
	{
		(void) evpub_headers_parse(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)),
								   &headers);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		/* parsing holds nothing but memory */
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		*detail = error->detail ?
			psprintf("%s: %s", error->message, error->detail) : error->message;
		return false;
	}
	PG_END_TRY();
	return true;
}

static void
add_text(StringInfo dst, const EvpubHeader *header)
{
	EvpubSlice	value = evpub_utf8(header->value, strlen(header->value));

	evpub_headers_add(dst, header->name.data, header->name.len, value.data, value.len);
}

void
evpub_headers_encode(StringInfo dst, Datum object)
{
	EvpubHeader *headers;
	int			count = evpub_headers_parse(object, &headers);

	for (int i = 0; i < count; i++)
		add_text(dst, &headers[i]);
}

/* Is a header of this name among the encoded ones? */
static bool
has_header(const StringInfo encoded, EvpubSlice name)
{
	const char *p = encoded->data;
	const char *end = p + encoded->len;

	while (p < end)
	{
		uint32		len;

		memcpy(&len, p, sizeof(len));
		p += sizeof(len);
		if (len == name.len && memcmp(p, name.data, len) == 0)
			return true;
		p += len;
		memcpy(&len, p, sizeof(len));
		p += sizeof(len) + len;
	}
	return false;
}

static void
parse_extra(void)
{
	MemoryContext caller;

	if (extra_context == NULL)
		extra_context = AllocSetContextCreate(TopMemoryContext, "evpub extra headers",
											  ALLOCSET_SMALL_SIZES);
	extra_count = 0;
	MemoryContextReset(extra_context);
	caller = MemoryContextSwitchTo(extra_context);
	extra_count = evpub_headers_parse(DirectFunctionCall1(jsonb_in,
														  CStringGetDatum(evpub_extra_headers)),
									  &extra);
	MemoryContextSwitchTo(caller);
	extra_generation = evpub_extra_headers_generation;
}

void
evpub_headers_add_extra(StringInfo dst)
{
	int			own = dst->len;

	if (likely(evpub_extra_headers == NULL || evpub_extra_headers[0] == '\0'))
		return;
	if (extra_generation != evpub_extra_headers_generation)
		parse_extra();
	for (int i = 0; i < extra_count; i++)
	{
		if (own == 0 || !has_header(dst, extra[i].name))
			add_text(dst, &extra[i]);
	}
}
