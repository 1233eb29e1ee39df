/*
 * optiontable.c
 *		What the options of a captured table are, each of them by itself.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "capture/optiontable.h"

/* Types of arguments. */
static const char *const kind_types[] = {
	[EVPUB_KIND_TEXT] = "text",
	[EVPUB_KIND_TEMPLATE] = "text",
	[EVPUB_KIND_WORD] = "text",
	[EVPUB_KIND_NAME] = "name",
	[EVPUB_KIND_NAMES] = "name[]",
	[EVPUB_KIND_WORDS] = "text[]",
	[EVPUB_KIND_HEADERS] = "jsonb",
	[EVPUB_KIND_BOOL] = "boolean",
};

static const struct
{
	const char *name;
	EvpubOptionKind kind;
	const char *value;			/* unless given */
	const char *choices;		/* with commas between them; NULL: free */
	const char *comment;
}			table[EVPUB_OPTIONS] = {
#define EVPUB_OPTION(symbol, name, kind, value, choices, comment) \
	[EVPUB_OPTION_##symbol] = {name, EVPUB_KIND_##kind, value, choices, comment},
#include "capture/optionlist.h"
#undef EVPUB_OPTION
};

const char *
evpub_option_name(EvpubOption option)
{
	return table[option].name;
}

EvpubOptionKind
evpub_option_kind(EvpubOption option)
{
	return table[option].kind;
}

const char *
evpub_option_value(EvpubOption option)
{
	return table[option].value;
}

const char *
evpub_option_choices(EvpubOption option)
{
	return table[option].choices;
}

const char *
evpub_option_type(EvpubOption option)
{
	return kind_types[table[option].kind];
}

const char *
evpub_option_comment(EvpubOption option)
{
	return table[option].comment;
}

char *
evpub_option_names(void)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < EVPUB_TABLE_OPTIONS; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", table[i].name);
	return list.data;
}

int
evpub_option_find(const char *name, Size len)
{
	for (int i = 0; i < EVPUB_OPTIONS; i++)
	{
		if (strlen(table[i].name) == len &&
			strncmp(table[i].name, name, len) == 0)
			return i;
	}
	return -1;
}
