/*
 * options.c
 *		The options of a captured table, as they stand in trigger arguments.
 *
 * The trigger's arguments are the only place where they are kept, so that
 * pg_dump, pg_upgrade and schema comparison carry them without knowing us.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "capture/options.h"

static const struct
{
	const char *name;
	const char *value;			/* unless given */
}			known[EVPUB_OPTIONS] = {
	[EVPUB_OPTION_TOPIC] = {"topic", NULL},
	[EVPUB_OPTION_TENANT_COLUMN] = {"tenant_column", NULL},
	[EVPUB_OPTION_TENANT] = {"tenant", NULL},
	[EVPUB_OPTION_KEY] = {"key", "{tenant}"},
	[EVPUB_OPTION_TYPE] = {"type", "{table}.{event}"},
	[EVPUB_OPTION_PAYLOAD] = {"payload", "key"},
	[EVPUB_OPTION_ENVELOPE] = {"envelope", "plain"},
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
	for (int i = 0; i < EVPUB_OPTIONS; i++)
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

static void
check_choice(EvpubOption option, const char *value, const char *there,
			 const char *const *later)
{
	if (strcmp(value, there) == 0)
		return;
	for (; *later != NULL; later++)
	{
		if (strcmp(value, *later) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s \"%s\" is not supported by this version of evpub",
							known[option].name, value),
					 errhint("Use \"%s\".", there)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown %s \"%s\"", known[option].name, value),
			 errhint("Use \"%s\".", there)));
}

void
evpub_options_check(const EvpubOptions *options)
{
	static const char *const later_payloads[] =
	{"changed_columns", "row", NULL};
	static const char *const later_envelopes[] =
	{"cloudevents", "cloudevents_binary", "none", NULL};

	check_choice(EVPUB_OPTION_PAYLOAD,
				 options->value[EVPUB_OPTION_PAYLOAD], "key", later_payloads);
	check_choice(EVPUB_OPTION_ENVELOPE,
				 options->value[EVPUB_OPTION_ENVELOPE], "plain",
				 later_envelopes);
}

static bool
is_default(const EvpubOptions *options, int option)
{
	const char *value = options->value[option];

	return value == NULL ||
		(known[option].value != NULL && strcmp(value, known[option].value) == 0);
}

void
evpub_options_arguments(StringInfo dst, const EvpubOptions *options)
{
	const char *separator = "";

	for (int i = 0; i < EVPUB_OPTIONS; i++)
	{
		if (is_default(options, i))
			continue;
		appendStringInfo(dst, "%s%s", separator,
						 quote_literal_cstr(psprintf("%s=%s", known[i].name,
													 options->value[i])));
		separator = ", ";
	}
}

void
evpub_options_definition(StringInfo dst, const char *table,
						 const EvpubOptions *options)
{
	appendStringInfo(dst, "SELECT evpub.capture_table(%s",
					 quote_literal_cstr(table));
	for (int i = 0; i < EVPUB_OPTIONS; i++)
	{
		if (!is_default(options, i))
			appendStringInfo(dst, ", %s => %s", known[i].name,
							 quote_literal_cstr(options->value[i]));
	}
	appendStringInfoString(dst, ")");
}
