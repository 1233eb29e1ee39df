/*
 * template.h
 *		Templates such as '{tenant}/{table}/{pk}'.
 *
 * A template is compiled once into segments: text, and places that are filled
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
typedef enum EvpubPlace
{
	EVPUB_PLACE_DATABASE,
	EVPUB_PLACE_SCHEMA,
	EVPUB_PLACE_TABLE,
	EVPUB_PLACE_TENANT,
	EVPUB_PLACE_PK,
	EVPUB_PLACE_OP,
	EVPUB_PLACE_EVENT,
	EVPUB_PLACE_TYPE,
	EVPUB_PLACE_TEXT
} EvpubPlace;

#define EVPUB_PLACES EVPUB_PLACE_TEXT

#define EVPUB_PLACE_BIT(place) (1u << (place))

typedef struct EvpubSegment
{
	EvpubPlace	place;
	EvpubSlice	text;			/* of EVPUB_PLACE_TEXT */
} EvpubSegment;

typedef struct EvpubTemplate
{
	int			count;
	EvpubSegment *segments;
	uint32		places;			/* EVPUB_PLACE_BITs that rendering fills */
	uint32		named;			/* those of all placeholders in the source */
} EvpubTemplate;

/* Text for each place, in UTF-8; only those that a template holds are read. */
typedef struct EvpubPlaceValues
{
	EvpubSlice	place[EVPUB_PLACES];
} EvpubPlaceValues;

/*
 * Is the template well-formed, with placeholders that its use allows, and is
 * its text legal in a topic's name if it is for one?  Does not throw (it
 * serves a GUC check hook); false sets *detail.
 */
extern bool evpub_template_check(const char *source, EvpubTemplateUse use,
								 char **detail);

/*
 * Compile a template (in the server's encoding) into CurrentMemoryContext.
 * "constants" has the values of the places in the bit set "known"; "option"
 * names the template in error messages.
 */
extern void evpub_template_compile(EvpubTemplate *dst, const char *source,
								   EvpubTemplateUse use, const char *option,
								   const EvpubPlaceValues *constants,
								   uint32 known);

/* A template with one placeholder ("{match}") replaced by another template. */
extern char *evpub_template_replace(const char *source, const char *place,
									const char *replacement);

/* Is this the name of a placeholder? */
extern bool evpub_template_is_place(const char *name);

/* Append the template with its places filled. */
extern void evpub_template_render(StringInfo dst, const EvpubTemplate *src,
								  const EvpubPlaceValues *values);

/* May it be evpub.allowed_topics?  Does not throw; false sets *detail. */
extern bool evpub_topic_pattern_check(const char *pattern, char **detail);

/*
 * ERROR unless a topic of this name can exist in Kafka, and is allowed.  It was
 * made for "table" from template "source"; or by hand, with InvalidOid.
 */
extern void evpub_topic_check(EvpubSlice topic, Oid table, const char *source);

#endif							/* EVPUB_CAPTURE_TEMPLATE_H */
