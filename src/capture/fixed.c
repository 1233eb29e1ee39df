/*
 * fixed.c
 *		Settings under which values are printed, whatever the session has.
 *
 * An event must not depend on the settings of the session that made it.  Some
 * settings are dear to change (search_path), so only those are changed that the
 * type may obey and the session has otherwise.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "capture/fixed.h"

/* utils/pg_locale.h has it, and wants ICU's headers from 17 on */
extern PGDLLIMPORT char *locale_monetary;

/* temporary objects last, as in functions that are safe to be called by anyone */
#define SAFE_PATH "pg_catalog, pg_temp"

typedef enum Setting
{
	SET_BYTEA_OUTPUT,
	SET_DATESTYLE,
	SET_EXTRA_FLOAT_DIGITS,
	SET_INTERVALSTYLE,
	SET_TIMEZONE,
	SET_QUOTE_ALL_IDENTIFIERS,
	SET_SEARCH_PATH,
	SET_LC_MONETARY
} Setting;

#define SETTINGS (SET_LC_MONETARY + 1)
#define BIT(setting) (1u << (setting))

#define NONE 0
#define TIMES (BIT(SET_DATESTYLE) | BIT(SET_TIMEZONE))
#define FORMATS (TIMES | BIT(SET_BYTEA_OUTPUT) | BIT(SET_EXTRA_FLOAT_DIGITS) | \
				 BIT(SET_INTERVALSTYLE))
#define ALL (BIT(SETTINGS) - 1)

static const struct
{
	const char *name;
	const char *value;			/* NULL: what the session would have after RESET */
}			fixed[SETTINGS] = {
	[SET_BYTEA_OUTPUT] = {"bytea_output", "hex"},
	[SET_DATESTYLE] = {"datestyle", "ISO"},
	[SET_EXTRA_FLOAT_DIGITS] = {"extra_float_digits", "1"},
	[SET_INTERVALSTYLE] = {"intervalstyle", "postgres"},
	[SET_TIMEZONE] = {"timezone", "UTC"},
	[SET_QUOTE_ALL_IDENTIFIERS] = {"quote_all_identifiers", "off"},
	[SET_SEARCH_PATH] = {"search_path", SAFE_PATH},
	/* it says where the point of a stored amount is, so no other value will do */
	[SET_LC_MONETARY] = {"lc_monetary", NULL},
};

static const char *
value_of(Setting setting)
{
	return fixed[setting].value != NULL ? fixed[setting].value :
		GetConfigOptionResetString(fixed[setting].name);
}

/* Has the session this setting already, or one that prints the same? */
static bool
fits(Setting setting)
{
	const char *zone;

	switch (setting)
	{
		case SET_BYTEA_OUTPUT:
			return bytea_output == BYTEA_OUTPUT_HEX;
		case SET_DATESTYLE:
			/* the order of day and month is of no account in this style */
			return DateStyle == USE_ISO_DATES;
		case SET_EXTRA_FLOAT_DIGITS:
			return extra_float_digits > 0;
		case SET_INTERVALSTYLE:
			return IntervalStyle == INTSTYLE_POSTGRES;
		case SET_TIMEZONE:
			zone = pg_get_timezone_name(session_timezone);
			return strcmp(zone, "UTC") == 0 || strcmp(zone, "Etc/UTC") == 0;
		case SET_QUOTE_ALL_IDENTIFIERS:
			return !quote_all_identifiers;
		case SET_SEARCH_PATH:
			return strcmp(namespace_search_path, SAFE_PATH) == 0;
		case SET_LC_MONETARY:
			return strcmp(locale_monetary, value_of(SET_LC_MONETARY)) == 0;
	}
	return false;
}

int
evpub_fixed_begin(EvpubFixed settings)
{
	int			nest = 0;

	for (int i = 0; i < SETTINGS; i++)
	{
		if (!(settings & BIT(i)) || fits(i))
			continue;
		if (nest == 0)
			nest = NewGUCNestLevel();
		(void) set_config_option(fixed[i].name, value_of(i),
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	}
	return nest;
}

void
evpub_fixed_end(int nest)
{
	if (nest != 0)
		AtEOXact_GUC(true, nest);
}

/* What an immutable function obeys can only be a format, as float8out() does. */
static EvpubFixed
of_function(Oid function)
{
	return func_volatile(function) == PROVOLATILE_IMMUTABLE ? FORMATS : ALL;
}

Oid
evpub_json_cast(Oid type)
{
	Oid			function;

	/* the same question as to_json() asks */
	if (type >= FirstNormalObjectId &&
		find_coercion_pathway(JSONOID, type, COERCION_EXPLICIT, &function) ==
		COERCION_PATH_FUNC)
		return function;
	return InvalidOid;
}

EvpubFixed
evpub_fixed_of(Oid type, bool in_json)
{
	Oid			inner;
	Oid			output;
	bool		is_varlena;

	type = getBaseType(type);
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case BOOLOID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case UUIDOID:
		case NAMEOID:
		case CHAROID:
		case OIDOID:
		case JSONOID:
		case JSONBOID:
		case XMLOID:
		case INETOID:
		case CIDROID:
		case TIMEOID:
		case BITOID:
		case VARBITOID:
		case PG_LSNOID:
		case TSVECTOROID:
			return NONE;
		case BYTEAOID:
			return BIT(SET_BYTEA_OUTPUT);
		case FLOAT4OID:
		case FLOAT8OID:
			return BIT(SET_EXTRA_FLOAT_DIGITS);
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return TIMES;
		case INTERVALOID:
			return BIT(SET_INTERVALSTYLE);
		case MONEYOID:
			return BIT(SET_LC_MONETARY);
		default:
			break;
	}

	/* what a composite type is made of may change at any time */
	if (type_is_rowtype(type))
		return ALL;
	if (in_json && OidIsValid(evpub_json_cast(type)))
		return of_function(evpub_json_cast(type));
	switch (get_typtype(type))
	{
		case TYPTYPE_ENUM:
			return NONE;
		case TYPTYPE_RANGE:
			return evpub_fixed_of(get_range_subtype(type), false);
		case TYPTYPE_MULTIRANGE:
			return evpub_fixed_of(get_multirange_range(type), false);
		default:
			break;
	}
	inner = get_element_type(type);
	if (OidIsValid(inner))
		return evpub_fixed_of(inner, in_json);
	getTypeOutputInfo(type, &output, &is_varlena);
	return of_function(output);
}
