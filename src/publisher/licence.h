/*
 * licence.h
 *		May this server publish?  Decided at every start of the worker from
 *		what is found: label, slot, state file, timeline.
 */
#ifndef EVPUB_LICENCE_H
#define EVPUB_LICENCE_H

#include "postgres.h"

#include "position/position.h"
#include "publisher/verdict.h"

#define EVPUB_FENCED_HINT "If this server is to publish, and no other one does: SELECT evpub.take_over();"

/* Kafka has records that this server did not write: position.fenced_reason says which. */
#define EVPUB_FENCED_BY_RECORD_HINT \
	"Look for another server that publishes: publisher_id in its evpub.status begins with the same 8 digits. If that one is to go on, leave this one as it is. If this one is to publish, stop the other for good, then: SELECT evpub.take_over();"

/* What to do about a fenced server, by why it is fenced. */
#define EVPUB_FENCED_HINT_FOR(position) \
	((position)->fenced_reason ? EVPUB_FENCED_BY_RECORD_HINT : EVPUB_FENCED_HINT)

/*
 * Look at what is there, finish what a crash cut, and hold the slot if there
 * is one.  Fills *position from the state file (in the current context).
 * *reason says why it is not EVPUB_PUBLISH; NULL with EVPUB_STAND_GAP: the open
 * gap of *position does.
 */
extern EvpubVerdict evpub_licence_examine(EvpubPosition *position, char **reason);

/*
 * Make slot and state file for a new publisher, or, with the id of a publisher
 * that this server never was, the fenced state that take_over() ends.  ERROR
 * if no slot can be had; then nothing is left behind.
 */
extern EvpubVerdict evpub_licence_create(EvpubPosition *position, uint64 foreign_id,
										 char **reason);

/*
 * Publish from here on, under a new publisher id, from the position in the
 * file.  On ERROR everything is as before.
 */
extern void evpub_licence_take_over(EvpubPosition *position);

/* The reason for the gap that the loss of the state file leaves. */
extern char *evpub_licence_lost_file(const char *problem);

/* A position for a publisher whose state file is lost; not written yet. */
extern void evpub_licence_start_anew(EvpubPosition *position, XLogRecPtr from);

/* Give up slot and state file, which says so already. */
extern void evpub_licence_finish_retired(EvpubPosition *position);

/* Why nothing is published when no database is registered. */
#define EVPUB_NOBODY_REGISTERED \
	"no database is registered; CREATE EXTENSION evpub registers one"
#define EVPUB_NOBODY_HINT \
	"CREATE EXTENSION evpub; or, where it is installed: SELECT evpub.register_database();"

#endif							/* EVPUB_LICENCE_H */
