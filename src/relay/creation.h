/*
 * creation.h
 *		What is told of topics that evpub creates.
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
 * Makes the creation of what records wait for ("head", or NULL) the reason, if
 * it takes long.  While one new topic follows the other the text stays the
 * same: each text becomes a line in the server's log.  Returns when it may
 * change.
 */
extern int64_t creation_tell(const Topic *head, int64_t now);

#endif							/* EVPUB_RELAY_CREATION_H */
