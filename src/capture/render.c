/*
 * render.c
 *		Column values as text and as JSON, always in UTF-8.
 *
 * An event must not depend on the settings of the session that made it: types
 * whose output obeys settings are printed under fixed ones (fixed.c).  Keys are
 * mostly integers and text, which take a short way without a function call.
 *
 * A value is what to_jsonb() makes of it, wherever it stands.  Where to_json() or the
 * output function gives the same value they are called, being faster.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "capture/render.h"
#include "settings.h"

void
evpub_check_bytes(Size bytes)
{
	if (unlikely(bytes > (Size) evpub_max_event_bytes))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event is too large"),
				 errdetail("Key, value and headers may take %zu bytes, the limit is %d.",
						   bytes, evpub_max_event_bytes),
				 errhint("Leave data out of the event, or raise evpub.max_event_bytes if the brokers and consumers take larger messages.")));
}

/* Says what to do about a value that has no place in UTF-8. */
static void
explain_encoding(void *arg)
{
	const EvpubColumn *column = arg;

	int			code = geterrcode();

	if (code != ERRCODE_CHARACTER_NOT_IN_REPERTOIRE &&
		code != ERRCODE_UNTRANSLATABLE_CHARACTER &&
		code != ERRCODE_UNDEFINED_FUNCTION)
		return;
	if (column != NULL)
		errdetail("Column \"%s\" holds it. Events are UTF-8; the encoding of the database is %s.",
				  column->name, GetDatabaseEncodingName());
	else
		errdetail("Events are UTF-8; the encoding of the database is %s.",
				  GetDatabaseEncodingName());
	if (code == ERRCODE_UNDEFINED_FUNCTION)
		errhint("Use a database of another encoding: there is no conversion of this one to UTF-8.");
	else
		errhint("Correct the value, or store what is not text in a column of type bytea.");
}

/* Has the word a byte that is a quote, a backslash, or no printable ASCII? */
static inline bool
word_is_plain(uint64 word)
{
	const uint64 ones = UINT64CONST(0x0101010101010101);
	uint64		quotes = word ^ ones * '"';
	uint64		backslashes = word ^ ones * '\\';

	/* the highest bit of a byte: not ASCII; below a space; zero, where they differ */
	return ((word | (word - ones * ' ') | ((quotes - ones) & ~quotes) |
			 ((backslashes - ones) & ~backslashes)) & ones * 0x80) == 0;
}

/*
 * Is the text printable ASCII that stands in JSON as it is?  Then it is the same in
 * all encodings that a server may have.  Most are, so this is done eight bytes at a
 * time.
 */
static inline bool
is_plain(const char *text, Size len)
{
	uint64		word;

	for (; len >= sizeof(word); text += sizeof(word), len -= sizeof(word))
	{
		memcpy(&word, text, sizeof(word));
		if (!word_is_plain(word))
			return false;
	}
	if (len == 0)
		return true;
	word = UINT64CONST(0x0101010101010101) * ' ';
	memcpy(&word, text, len);
	return word_is_plain(word);
}

/* ERROR if it is not valid; then "column" is named, if it is not NULL. */
static EvpubSlice
to_utf8(EvpubColumn *column, const char *text, Size len)
{
	ErrorContextCallback callback;
	char	   *utf8 = unconstify(char *, text);

	/*
	 * A value that is the same in all encodings needs no look at the encoding.  Names
	 * do, since an encoding that has no way to UTF-8 is refused for them, before
	 * there is any value.
	 */
	if (likely(column != NULL && is_plain(text, len)))
		return (EvpubSlice) {text, len};

	/*
	 * Text of a UTF-8 database is verified as well: names of roles and
	 * databases, which a column may hold, are in any encoding.
	 */
	if (likely(GetDatabaseEncoding() == PG_UTF8 &&
			   pg_verify_mbstr(PG_UTF8, text, len, true)))
		return (EvpubSlice) {text, len};

	callback.callback = explain_encoding;
	callback.arg = column;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	if (GetDatabaseEncoding() == PG_UTF8)
		(void) pg_verify_mbstr(PG_UTF8, text, len, false);
	else
		/* of SQL_ASCII it only verifies the bytes, and gives back the same */
		utf8 = pg_server_to_any(text, len, PG_UTF8);
	error_context_stack = callback.previous;
	if (utf8 != text)
		len = strlen(utf8);
	return (EvpubSlice) {utf8, len};
}

EvpubSlice
evpub_utf8(const char *text, Size len)
{
	return to_utf8(NULL, text, len);
}

EvpubSlice
evpub_database_name(void)
{
	char	   *name = get_database_name(MyDatabaseId);
	int			encoding = GetDatabaseEncoding();

	if (name == NULL)
		elog(ERROR, "cache lookup failed for database %u", MyDatabaseId);
	if (!pg_verify_mbstr(encoding == PG_SQL_ASCII ? PG_UTF8 : encoding,
						 name, strlen(name), true))
		return (EvpubSlice) {NULL, 0};
	return evpub_utf8(name, strlen(name));
}

bool
evpub_is_plain(EvpubSlice text)
{
	return is_plain(text.data, text.len);
}

void
evpub_json_string(StringInfo dst, EvpubSlice text)
{
	char	   *copy;
	bool		plain = is_plain(text.data, text.len);

	for (uint32 i = 0; !plain && i < text.len; i++)
	{
		unsigned char c = text.data[i];

		if (unlikely(c < ' ' || c == '"' || c == '\\'))
		{
			/* escape_json() wants a terminated string */
			copy = pnstrdup(text.data, text.len);
			escape_json(dst, copy);
			pfree(copy);
			return;
		}
	}
	enlargeStringInfo(dst, text.len + 2);
	dst->data[dst->len++] = '"';
	memcpy(dst->data + dst->len, text.data, text.len);
	dst->len += text.len;
	dst->data[dst->len++] = '"';
	dst->data[dst->len] = '\0';
}

void
evpub_pk_text(StringInfo dst, EvpubSlice text)
{
	for (uint32 i = 0; i < text.len; i++)
	{
		char		c = text.data[i];

		if (c == '%' || c == ',' || c == '/' || c == ':')
			appendStringInfo(dst, "%%%02X", c);
		else
			appendStringInfoCharMacro(dst, c);
	}
}

/*
 * Is what to_json() makes of the type good as it is?  It leaves json alone,
 * which may name a member twice.
 */
static bool
may_hold_json(Oid type)
{
	Oid			element;

	type = getBaseType(type);
	element = get_element_type(type);
	if (OidIsValid(element))
		return may_hold_json(element);
	return type == JSONOID || type_is_rowtype(type) ||
		OidIsValid(evpub_json_cast(type));
}

static EvpubColumnKind
column_kind(Oid type)
{
	switch (type)
	{
		case INT2OID:
			return EVPUB_COLUMN_INT2;
		case INT4OID:
			return EVPUB_COLUMN_INT4;
		case INT8OID:
			return EVPUB_COLUMN_INT8;
		case BOOLOID:
			return EVPUB_COLUMN_BOOL;
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
			return EVPUB_COLUMN_NUMBER;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return EVPUB_COLUMN_TEXT;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return EVPUB_COLUMN_TIME;
		case JSONBOID:
			return EVPUB_COLUMN_JSONB;
		default:
			break;
	}
	if (may_hold_json(type))
		return EVPUB_COLUMN_TO_JSONB;
	return OidIsValid(get_element_type(type)) ?
		EVPUB_COLUMN_TO_JSON : EVPUB_COLUMN_PRINTED;
}

/* Prepare to call to_json() or to_jsonb(). */
static void
init_to_json(EvpubColumn *column, Form_pg_attribute attribute)
{
	/* it takes any type, and learns which from the expression */
	Oid			function = column->kind == EVPUB_COLUMN_TO_JSON ? F_TO_JSON : F_TO_JSONB;
	Const	   *argument = makeConst(attribute->atttypid, attribute->atttypmod,
									 attribute->attcollation, attribute->attlen,
									 (Datum) 0, true, attribute->attbyval);

	column->fixed = evpub_fixed_of(column->type, true);
	fmgr_info_cxt(function, &column->output, CurrentMemoryContext);
	fmgr_info_set_expr((Node *) makeFuncExpr(function, get_func_rettype(function),
											 list_make1(argument),
											 InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL),
					   &column->output);
}

void
evpub_column_init(EvpubColumn *column, TupleDesc desc, AttrNumber number)
{
	Form_pg_attribute attribute = TupleDescAttr(desc, number - 1);
	StringInfoData json_name;
	Oid			output;
	bool		is_varlena;

	column->number = number;
	column->type = getBaseType(attribute->atttypid);
	column->kind = column_kind(column->type);
	if (column->kind == EVPUB_COLUMN_NUMBER ||
		column->kind == EVPUB_COLUMN_PRINTED)
	{
		column->fixed = evpub_fixed_of(column->type, false);
		getTypeOutputInfo(column->type, &output, &is_varlena);
		fmgr_info_cxt(output, &column->output, CurrentMemoryContext);
	}
	else if (column->kind == EVPUB_COLUMN_TO_JSON ||
			 column->kind == EVPUB_COLUMN_TO_JSONB)
		init_to_json(column, attribute);
	column->name = pstrdup(NameStr(attribute->attname));
	initStringInfo(&json_name);
	evpub_json_string(&json_name, evpub_utf8(column->name, strlen(column->name)));
	column->json_name.data = json_name.data;
	column->json_name.len = json_name.len;
}

/* ---- values ---- */

/* Says which column it was; and of json, what to do about it. */
static void
explain_output(void *arg)
{
	const EvpubColumn *column = arg;

	errcontext("value of column \"%s\" for an event", column->name);
	if (column->kind != EVPUB_COLUMN_TO_JSONB)
		return;
	switch (geterrcode())
	{
		case ERRCODE_INVALID_TEXT_REPRESENTATION:
		case ERRCODE_UNTRANSLATABLE_CHARACTER:
		case ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE:
		case ERRCODE_FEATURE_NOT_SUPPORTED: /* SQL_ASCII: an escape above 127 */
			errhint("Values of type json are sent as jsonb has them; correct the value, or make the column jsonb, which refuses it at once.");
			break;
		default:
			break;
	}
}

/* Call a column's function, of which we know nothing, under fixed settings. */
static Datum
call_output(EvpubColumn *column, Datum value)
{
	ErrorContextCallback callback;
	Datum		result;
	int			nest;

	callback.callback = explain_output;
	callback.arg = column;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	nest = evpub_fixed_begin(column->fixed);
	result = FunctionCall1(&column->output, value);
	evpub_fixed_end(nest);
	error_context_stack = callback.previous;
	return result;
}

static EvpubSlice
print_value(EvpubColumn *column, Datum value)
{
	char	   *text = DatumGetCString(call_output(column, value));

	return to_utf8(column, text, strlen(text));
}

/* ISO 8601, as in to_json(), but in UTC by argument instead of by setting. */
static EvpubSlice
time_text(EvpubColumn *column, Datum value)
{
	char	   *text = palloc(MAXDATELEN + 1);
	int			utc = 0;

	JsonEncodeDateTime(text, value, column->type,
					   column->type == TIMESTAMPTZOID ? &utc : NULL);
	return (EvpubSlice) {text, strlen(text)};
}

static EvpubSlice
jsonb_text(EvpubColumn *column, Jsonb *json)
{
	char	   *text = JsonbToCString(NULL, &json->root, VARSIZE(json));

	return to_utf8(column, text, strlen(text));
}

/* A value as JSON, of a kind that is not made of its text; a string without its quotes. */
static EvpubSlice
json_text(EvpubColumn *column, Datum value, bool *is_string)
{
	text	   *result;
	Jsonb	   *json;
	JsonbValue	scalar;

	*is_string = false;
	if (column->kind == EVPUB_COLUMN_TO_JSON)
	{
		result = DatumGetTextPP(call_output(column, value));
		return to_utf8(column, VARDATA_ANY(result), VARSIZE_ANY_EXHDR(result));
	}
	json = DatumGetJsonbP(column->kind == EVPUB_COLUMN_JSONB ? value :
						  call_output(column, value));
	if (JB_ROOT_IS_SCALAR(json) && JsonbExtractScalar(&json->root, &scalar) &&
		scalar.type == jbvString)
	{
		*is_string = true;
		return to_utf8(column, scalar.val.string.val, scalar.val.string.len);
	}
	return jsonb_text(column, json);
}

bool
evpub_column_is_integer(const EvpubColumn *column)
{
	return column->kind <= EVPUB_COLUMN_INT8;
}

bool
evpub_column_is_json(const EvpubColumn *column)
{
	return column->kind == EVPUB_COLUMN_JSONB || column->kind == EVPUB_COLUMN_TO_JSON ||
		column->kind == EVPUB_COLUMN_TO_JSONB;
}

EvpubSlice
evpub_column_text(EvpubColumn *column, Datum value, char *small)
{
	struct varlena *packed;
	bool		is_string;

	switch (column->kind)
	{
		case EVPUB_COLUMN_INT2:
			return (EvpubSlice) {small, pg_ltoa(DatumGetInt16(value), small)};
		case EVPUB_COLUMN_INT4:
			return (EvpubSlice) {small, pg_ltoa(DatumGetInt32(value), small)};
		case EVPUB_COLUMN_INT8:
			return (EvpubSlice) {small, pg_lltoa(DatumGetInt64(value), small)};
		case EVPUB_COLUMN_BOOL:
			if (DatumGetBool(value))
				return (EvpubSlice) {"true", 4};
			return (EvpubSlice) {"false", 5};
		case EVPUB_COLUMN_TEXT:
			packed = PG_DETOAST_DATUM_PACKED(value);
			return to_utf8(column, VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
		case EVPUB_COLUMN_NUMBER:
		case EVPUB_COLUMN_PRINTED:
			return print_value(column, value);
		case EVPUB_COLUMN_TIME:
			return time_text(column, value);
		case EVPUB_COLUMN_JSONB:
		case EVPUB_COLUMN_TO_JSON:
		case EVPUB_COLUMN_TO_JSONB:
			return json_text(column, value, &is_string);
	}
	elog(ERROR, "unrecognized column kind %d", (int) column->kind);
	return (EvpubSlice) {"", 0};	/* keep compiler quiet */
}

/* Append the text of a value as JSON, of a kind whose JSON is made of it. */
static void
put_text(StringInfo dst, const EvpubColumn *column, EvpubSlice text)
{
	bool		bare;

	/* escaped it may be six times as long, and more than memory can be had for */
	if (unlikely(text.len > EVPUB_MAX_EVENT_BYTES))
		evpub_check_bytes(text.len);
	switch (column->kind)
	{
		case EVPUB_COLUMN_INT2:
		case EVPUB_COLUMN_INT4:
		case EVPUB_COLUMN_INT8:
		case EVPUB_COLUMN_BOOL:
			bare = true;
			break;
		case EVPUB_COLUMN_NUMBER:
			/* JSON has no NaN, Infinity and -Infinity */
			bare = (text.data[text.len - 1] >= '0' &&
					text.data[text.len - 1] <= '9');
			break;
		default:
			bare = false;
			break;
	}
	if (bare)
		appendBinaryStringInfo(dst, text.data, text.len);
	else
		evpub_json_string(dst, text);
}

EvpubSlice
evpub_column_both(StringInfo dst, EvpubColumn *column, Datum value, char *small)
{
	EvpubSlice	text;
	bool		is_string;

	if (likely(!evpub_column_is_json(column)))
	{
		text = evpub_column_text(column, value, small);
		put_text(dst, column, text);
		return text;
	}
	text = json_text(column, value, &is_string);
	if (unlikely(text.len > EVPUB_MAX_EVENT_BYTES))
		evpub_check_bytes(text.len);
	if (is_string)
		evpub_json_string(dst, text);
	else
		appendBinaryStringInfo(dst, text.data, text.len);
	return text;
}

void
evpub_column_data(StringInfo dst, EvpubColumn *column, Datum value, bool isnull)
{
	char		small[EVPUB_SMALL_TEXT];

	if (isnull)
		appendStringInfoString(dst, "null");
	else
		(void) evpub_column_both(dst, column, value, small);
}
