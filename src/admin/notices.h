/*
 * notices.h
 *		NOTICEs of capture_table(), for calls that may not do what was meant.
 */
#ifndef EVPUB_ADMIN_NOTICES_H
#define EVPUB_ADMIN_NOTICES_H

#include "postgres.h"

#include "capture/options.h"
#include "utils/rel.h"

/*
 * The call that gives the capture which the table has, in the current context;
 * NULL if it is not captured.
 */
extern char *evpub_notice_definition(Relation rel);

/*
 * Raise NOTICEs about a table that has just been captured, and is locked: "was"
 * is its definition of before, NULL if there was none.  Nothing for one that is
 * captured as before.
 */
extern void evpub_notice_capture(Oid relid, const char *was,
								 const EvpubOptions *options);

#endif							/* EVPUB_ADMIN_NOTICES_H */
