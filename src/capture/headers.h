/*
 * headers.h
 *		Kafka headers of events: given by hand, with the table, or by setting.
 */
#ifndef EVPUB_CAPTURE_HEADERS_H
#define EVPUB_CAPTURE_HEADERS_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "event/event.h"

typedef struct EvpubHeader
{
	EvpubSlice	name;			/* UTF-8 */
	char	   *value;			/* in the server's encoding */
} EvpubHeader;

/*
 * The headers of a jsonb object whose values are strings, in memory of the
 * current context; returns how many.  ERROR for anything else, and for names
 * that are reserved.
 */
extern int	evpub_headers_parse(Datum object, EvpubHeader **headers);

/*
 * The text of a jsonb object with a placeholder replaced by another template in
 * all values that are text.
 */
extern char *evpub_headers_replace(const char *object, const char *placeholder,
								   const char *replacement);

/* As evpub_headers_parse() of evpub.extra_headers, as text; false sets *detail. */
extern bool evpub_headers_check(const char *text, char **detail);

/* A jsonb object as encoded headers. */
extern void evpub_headers_encode(StringInfo dst, Datum object);

/*
 * Append those of evpub.extra_headers; what is there already stays as it is.
 */
extern void evpub_headers_add_extra(StringInfo dst);

#endif							/* EVPUB_CAPTURE_HEADERS_H */
