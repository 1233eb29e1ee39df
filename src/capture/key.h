/*
 * key.h
 *		Which columns identify the rows of a captured table.
 */
#ifndef EVPUB_CAPTURE_KEY_H
#define EVPUB_CAPTURE_KEY_H

#include "capture/captured.h"
#include "capture/options.h"

/*
 * Fill in key columns and what is known of their uniqueness.  Errors: there is
 * no primary key and no key_columns; key_columns names what is not there, may
 * be null, or has no value in triggers.
 */
extern void evpub_key_compile(EvpubCapture *capture, const EvpubOptions *options,
							  Relation rel);

/*
 * ERROR if there is a filter, and no index finds the rows of a key: one may leave
 * the filter while another one with its key stays inside.
 *
 * Not a part of compiling: a restore makes triggers in any order with indexes, and
 * the index of a partition is none of the table's until it is attached.
 */
extern void evpub_key_check_filter(const EvpubCapture *capture, Relation rel);

/* Has the table a column of this name? */
extern bool evpub_has_column(TupleDesc desc, const char *name);

/*
 * The column that an option names.  Errors: there is none of that name, or
 * triggers do not see its values.
 */
extern AttrNumber evpub_find_column(Relation rel, const char *name,
									const char *option);

#endif							/* EVPUB_CAPTURE_KEY_H */
