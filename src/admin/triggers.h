/*
 * triggers.h
 *		Making the triggers of a captured table.
 */
#ifndef EVPUB_ADMIN_TRIGGERS_H
#define EVPUB_ADMIN_TRIGGERS_H

#include "postgres.h"

#include "capture/options.h"

/*
 * Make the triggers that capture a table with these options, which have been
 * checked but for the filter.  With the rights of the caller.
 */
extern void evpub_triggers_create(Oid relid, const EvpubOptions *options);

#endif							/* EVPUB_ADMIN_TRIGGERS_H */
