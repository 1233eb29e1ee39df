/*
 * render.c
 *		Column values as text and as JSON, always in UTF-8.
 *
 * An event must not depend on the settings of the session that made it: types
 * whose output obeys settings are printed under fixed ones.  Keys are mostly
 * integers and text, which take a short way without a function call.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "capture/render.h"

EvpubSlice
evpub_utf8(const char *text, Size len)
{
	char	   *utf8;

	if (likely(GetDatabaseEncoding() == PG_UTF8))
		return (EvpubSlice) {text, len};

	/* of SQL_ASCII it only verifies the bytes, and gives back the same */
	utf8 = pg_server_to_any(text, len, PG_UTF8);
	if (utf8 != text)
		len = strlen(utf8);
	return (EvpubSlice) {utf8, len};
}

void
evpub_json_string(StringInfo dst, EvpubSlice text)
{
	char	   *copy;

	for (uint32 i = 0; i < text.len; i++)
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
			return EVPUB_COLUMN_NUMERIC;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return EVPUB_COLUMN_TEXT;
		case UUIDOID:
		case NAMEOID:
		case CHAROID:
		case OIDOID:
			return EVPUB_COLUMN_PRINTED;
		default:
			return get_typtype(type) == TYPTYPE_ENUM ?
				EVPUB_COLUMN_PRINTED : EVPUB_COLUMN_PRINTED_FIXED;
	}
}

void
evpub_column_init(EvpubColumn *column, TupleDesc desc, AttrNumber number)
{
	Form_pg_attribute attribute = TupleDescAttr(desc, number - 1);
	Oid			type = getBaseType(attribute->atttypid);
	const char *name = NameStr(attribute->attname);
	StringInfoData json_name;
	Oid			output;
	bool		is_varlena;

	column->number = number;
	column->kind = column_kind(type);
	if (column->kind == EVPUB_COLUMN_NUMERIC ||
		column->kind == EVPUB_COLUMN_PRINTED ||
		column->kind == EVPUB_COLUMN_PRINTED_FIXED)
	{
		getTypeOutputInfo(type, &output, &is_varlena);
		fmgr_info_cxt(output, &column->output, CurrentMemoryContext);
	}
	initStringInfo(&json_name);
	evpub_json_string(&json_name, evpub_utf8(name, strlen(name)));
	column->json_name.data = json_name.data;
	column->json_name.len = json_name.len;
}

/* Until AtEOXact_GUC() with the result, values print the same in any session. */
static int
fix_settings(void)
{
	static const struct
	{
		const char *name;
		const char *value;
	}			fixed[] = {
		{"bytea_output", "hex"},
		{"datestyle", "ISO"},
		{"extra_float_digits", "1"},
		{"intervalstyle", "postgres"},
		{"timezone", "UTC"},
	};
	int			nest = NewGUCNestLevel();

	/* setting all five costs much more than looking; they mostly fit */
	if (bytea_output == BYTEA_OUTPUT_HEX && DateStyle == USE_ISO_DATES &&
		extra_float_digits > 0 && IntervalStyle == INTSTYLE_POSTGRES &&
		strcmp(pg_get_timezone_name(session_timezone), "UTC") == 0)
		return nest;

	for (int i = 0; i < (int) lengthof(fixed); i++)
		(void) set_config_option(fixed[i].name, fixed[i].value,
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return nest;
}

static EvpubSlice
print_value(EvpubColumn *column, Datum value)
{
	char	   *text;
	int			nest;

	if (column->kind == EVPUB_COLUMN_PRINTED_FIXED)
	{
		/* after an error the nest level goes with the (sub)transaction */
		nest = fix_settings();
		text = OutputFunctionCall(&column->output, value);
		AtEOXact_GUC(true, nest);
	}
	else
		text = OutputFunctionCall(&column->output, value);
	return evpub_utf8(text, strlen(text));
}

EvpubSlice
evpub_column_text(EvpubColumn *column, Datum value, char *small)
{
	struct varlena *packed;

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
			return evpub_utf8(VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
		case EVPUB_COLUMN_NUMERIC:
		case EVPUB_COLUMN_PRINTED:
		case EVPUB_COLUMN_PRINTED_FIXED:
			return print_value(column, value);
	}
	elog(ERROR, "unrecognized column kind %d", (int) column->kind);
	return (EvpubSlice) {"", 0};	/* keep compiler quiet */
}

void
evpub_column_json(StringInfo dst, const EvpubColumn *column, EvpubSlice text)
{
	bool		bare;

	switch (column->kind)
	{
		case EVPUB_COLUMN_INT2:
		case EVPUB_COLUMN_INT4:
		case EVPUB_COLUMN_INT8:
		case EVPUB_COLUMN_BOOL:
			bare = true;
			break;
		case EVPUB_COLUMN_NUMERIC:
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
