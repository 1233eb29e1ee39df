/*
 * recordwriter.h
 *		The records of a BATCH frame.
 */
#ifndef EVPUB_RECORDWRITER_H
#define EVPUB_RECORDWRITER_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "event/event.h"

/*
 * Append an event as a record.  "topic" is the number that the relay knows the
 * topic by; partition -1: by the key, and without one by the id.
 */
extern void evpub_record_append(StringInfo batch, uint32 topic, int32 partition,
								const EvpubEvent *event, const EvpubCommit *commit);

#endif							/* EVPUB_RECORDWRITER_H */
