/*
 * recordwriter.h
 *		The records of a BATCH frame.
 */
#ifndef EVPUB_RECORDWRITER_H
#define EVPUB_RECORDWRITER_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "event/event.h"

/* An event on its way to Kafka. */
typedef struct EvpubRecord
{
	EvpubEvent	event;
	const EvpubCommit *commit;
	uint32		topic;			/* the number that the relay knows it by */
	int32		partition;		/* -1: by the key, and without one by the id */
	uint32		next;			/* the number of the event behind it; of an
								 * accepted gap's event, the gap's next_number */
} EvpubRecord;

/*
 * Append a record to a BATCH frame.  Returns how many bytes key, value and headers have
 * there.
 */
extern uint32 evpub_record_append(StringInfo batch, const EvpubRecord *record);

#endif							/* EVPUB_RECORDWRITER_H */
