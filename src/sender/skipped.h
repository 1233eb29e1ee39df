/*
 * skipped.h
 *		What is published instead of an event that a person gave up:
 *		evpub.skipped.
 */
#ifndef EVPUB_SKIPPED_H
#define EVPUB_SKIPPED_H

#include "postgres.h"

#include "position/position.h"
#include "sender/recordwriter.h"

/*
 * Is the record's event given up?  NULL if it is not.  If skip->silent, nothing
 * is published instead of it.
 */
extern const EvpubSkip *evpub_skipped_find(const EvpubPosition *position,
										   const EvpubRecord *record);

/* The evpub.skipped event that stands for a record. */
typedef struct EvpubSkipped
{
	EvpubRoute	route;
	StringInfoData tail;
} EvpubSkipped;

/*
 * Make the record that of the evpub.skipped event: with the same id, key and
 * topic, and with tenant and pk of the event unless they are large.  It is valid
 * as long as *skipped, which is freed with the current memory context.
 */
extern void evpub_skipped_replace(EvpubSkipped *skipped, EvpubRecord *record,
								  const EvpubSkip *skip);

#endif							/* EVPUB_SKIPPED_H */
