/*
 * template.h
 *		Templates such as '{tenant}/{table}/{pk}'.
 *
 * A template is compiled once into segments: text, and placeholders that are filled
 * for each event.  What is known when it is compiled (database, schema, table)
 * becomes text.  All text is UTF-8.
 */
#ifndef EVPUB_CAPTURE_TEMPLATE_H
#define EVPUB_CAPTURE_TEMPLATE_H

#include "event/event.h"

/* What a template is for: decides which placeholders it may hold. */
typedef enum EvpubTemplateUse
{
	EVPUB_TEMPLATE_TOPIC,
	EVPUB_TEMPLATE_TENANT,
	EVPUB_TEMPLATE_KEY,
	EVPUB_TEMPLATE_TYPE,
	EVPUB_TEMPLATE_TOPIC_BY_HAND	/* default topic of evpub.publish() */
} EvpubTemplateUse;

/* What a segment stands for; the order is that of the table in template.c. */
typedef enum EvpubPlaceholder
{
	EVPUB_PLACEHOLDER_DATABASE,
	EVPUB_PLACEHOLDER_SCHEMA,
	EVPUB_PLACEHOLDER_TABLE,
	EVPUB_PLACEHOLDER_TENANT,
	EVPUB_PLACEHOLDER_PK,
	EVPUB_PLACEHOLDER_OP,
	EVPUB_PLACEHOLDER_EVENT,
	EVPUB_PLACEHOLDER_TYPE,
	EVPUB_PLACEHOLDER_TEXT
} EvpubPlaceholder;

#define EVPUB_PLACEHOLDERS EVPUB_PLACEHOLDER_TEXT

#define EVPUB_PLACEHOLDER_BIT(placeholder) (1u << (placeholder))

typedef struct EvpubSegment
{
	EvpubPlaceholder placeholder;
	EvpubSlice	text;			/* of EVPUB_PLACEHOLDER_TEXT */
} EvpubSegment;

typedef struct EvpubTemplate
{
	int			count;
	EvpubSegment *segments;
	uint32		placeholders;	/* EVPUB_PLACEHOLDER_BITs that rendering fills */
	uint32		named;			/* those of all placeholders in the source */
} EvpubTemplate;

/* Text for each placeholder, in UTF-8; only those that a template holds are read. */
typedef struct EvpubPlaceholderValues
{
	EvpubSlice	text[EVPUB_PLACEHOLDERS];
} EvpubPlaceholderValues;

/*
 * Is the template well-formed, with placeholders that its use allows, and is
 * its text legal in a topic's name if it is for one?  Does not throw (it
 * serves a GUC check hook); false sets *detail.
 */
extern bool evpub_template_check(const char *source, EvpubTemplateUse use,
								 char **detail);

/*
 * Compile a template (in the server's encoding) into CurrentMemoryContext.
 * "constants" has the values of the placeholders in the bit set "known"; "option"
 * names the template in error messages.
 */
extern void evpub_template_compile(EvpubTemplate *dst, const char *source,
								   EvpubTemplateUse use, const char *option,
								   const EvpubPlaceholderValues *constants,
								   uint32 known);

/* A template with one placeholder ("{match}") replaced by another template. */
extern char *evpub_template_replace(const char *source, const char *placeholder,
									const char *replacement);

/* Is this the name of a placeholder? */
extern bool evpub_template_is_placeholder(const char *name);

/* Append the template with its placeholders filled. */
extern void evpub_template_render(StringInfo dst, const EvpubTemplate *src,
								  const EvpubPlaceholderValues *values);

/* May it be evpub.allowed_topics?  Does not throw; false sets *detail. */
extern bool evpub_topic_pattern_check(const char *pattern, char **detail);

/*
 * ERROR unless a topic of this name can exist in Kafka, and is allowed.  It was
 * made for "table" from template "source"; or by hand, with InvalidOid.
 */
extern void evpub_topic_check(EvpubSlice topic, Oid table, const char *source);

#endif							/* EVPUB_CAPTURE_TEMPLATE_H */
