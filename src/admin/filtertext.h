/*
 * filtertext.h
 *		The text of a filter, and the expression that it is.
 */
#ifndef EVPUB_ADMIN_FILTERTEXT_H
#define EVPUB_ADMIN_FILTERTEXT_H

#include "postgres.h"

#include "nodes/nodes.h"

/* ERROR unless a filter is one expression, on {row}, and on no system column. */
extern void evpub_filtertext_check(const char *filter);

/* A filter's text with {row} replaced. */
extern char *evpub_filtertext_replace(const char *filter, const char *row);

/* A filter as a parse tree; ERROR if it is more or less than one expression. */
extern Node *evpub_filtertext_parse(const char *filter, const char *row);

/* The query as which the text of a filter, with {row} replaced, is parsed. */
extern char *evpub_filtertext_query(const char *text);

/*
 * While that query is analyzed: have errors name the position in the text, and
 * not in the query.  The caller pops the context.
 */
extern void evpub_filtertext_push_context(ErrorContextCallback *callback, char *text);

#endif							/* EVPUB_ADMIN_FILTERTEXT_H */
