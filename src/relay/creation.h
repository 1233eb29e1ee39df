/*
 * creation.h
 *		Topics that evpub creates: which are asked for, and what is reported of them.
 */
#ifndef EVPUB_RELAY_CREATION_H
#define EVPUB_RELAY_CREATION_H

#include <stdint.h>

#include "lookup.h"
#include "topics.h"

/*
 * Creation was answered: one line in the server's log, however many of these
 * topics were made by it.
 */
extern void creation_note(Topic *const *topics, const Lookup *lookup);

/*
 * Those of these topics that were created and are not there yet become a group.
 * Its first is the scout, which is asked for often; the others wait for it.
 */
extern void creation_group(Topic *const *topics, int count, int64_t now);

/*
 * The scout is there: the others of its group are asked for now.  Should a
 * broker answer that does not know them yet, they become a group again.
 */
extern void creation_arrived(const Topic *scout, int64_t now);

/*
 * Those that wait for their scout are asked for after so long without it, in
 * ms: it may have been deleted meanwhile, or be the last of them to come.
 */
#define CREATION_GROUP_MS 1000

/*
 * Makes the creation of what records wait for ("head", or NULL) the reason, if
 * it takes long.  While one new topic follows the other the text stays the
 * same: each text becomes a line in the server's log.  Returns when it may
 * change.
 */
extern int64_t creation_report(const Topic *head, int64_t now);

#endif							/* EVPUB_RELAY_CREATION_H */
