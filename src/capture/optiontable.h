/*
 * optiontable.h
 *		What the options of a captured table are, each of them by itself.
 */
#ifndef EVPUB_CAPTURE_OPTIONTABLE_H
#define EVPUB_CAPTURE_OPTIONTABLE_H

#include "postgres.h"

/* EVPUB_OPTION_TOPIC and so on, in the order of the arguments of capture_table() */
typedef enum EvpubOption
{
#define EVPUB_OPTION(symbol, name, kind, value, choices, comment) EVPUB_OPTION_##symbol,
#include "capture/optionlist.h"
#undef EVPUB_OPTION
	EVPUB_OPTIONS
} EvpubOption;

/* Those that capture_table() takes come first. */
#define EVPUB_TABLE_OPTIONS EVPUB_OPTION_AS

typedef enum EvpubOptionKind
{
	EVPUB_KIND_TEXT,
	EVPUB_KIND_TEMPLATE,				/* text that {match} of a rule may stand in */
	EVPUB_KIND_WORD,					/* text: one of some choices */
	EVPUB_KIND_NAME,
	EVPUB_KIND_NAMES,					/* name[] */
	EVPUB_KIND_WORDS,					/* text[] of identifiers: some of the choices */
	EVPUB_KIND_HEADERS,				/* jsonb: an object whose values are templates */
	EVPUB_KIND_BOOL
} EvpubOptionKind;

/* What optionlist.h says of an option. */
extern const char *evpub_option_name(EvpubOption option);
extern EvpubOptionKind evpub_option_kind(EvpubOption option);
extern const char *evpub_option_value(EvpubOption option);
extern const char *evpub_option_choices(EvpubOption option);
extern const char *evpub_option_comment(EvpubOption option);

/* The type of its argument. */
extern const char *evpub_option_type(EvpubOption option);

/* The option whose name is the first len bytes, or -1. */
extern int	evpub_option_find(const char *name, Size len);

/* The names of those that capture_table() takes, with commas between them. */
extern char *evpub_option_names(void);

#endif							/* EVPUB_CAPTURE_OPTIONTABLE_H */
