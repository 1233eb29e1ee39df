/*
 * triggers.h
 *		Making the triggers of a captured table.
 */
#ifndef EVPUB_ADMIN_TRIGGERS_H
#define EVPUB_ADMIN_TRIGGERS_H

#include "postgres.h"

#include "nodes/nodes.h"

#include "capture/options.h"

/*
 * Make the triggers that capture a table with these options, which have been
 * checked but for the filter.  With the rights of the caller.
 */
extern void evpub_triggers_create(Oid relid, const EvpubOptions *options);

/* ERROR unless a filter is one expression, on {row}, and on no system column. */
extern void evpub_filter_check(const char *filter);

/* A filter's text with {row} replaced. */
extern char *evpub_filter_text(const char *filter, const char *row);

/* A filter as a parse tree; ERROR if it is more or less than one expression. */
extern Node *evpub_filter_parse(const char *filter, const char *row);

#endif							/* EVPUB_ADMIN_TRIGGERS_H */
