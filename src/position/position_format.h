/*
 * position_format.h
 *		A position as bytes: in the state file and in position messages.
 */
#ifndef EVPUB_POSITION_FORMAT_H
#define EVPUB_POSITION_FORMAT_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "position/position.h"

typedef enum EvpubPositionForm
{
	EVPUB_POSITION_FILE = 'f',	/* everything */
	EVPUB_POSITION_FULL = 'a',	/* message: all topics, gaps not announced yet */
	EVPUB_POSITION_CHANGES = 'c'	/* message: only topics that have changed */
} EvpubPositionForm;

extern void evpub_position_serialize(StringInfo out, const EvpubPosition *position,
									 EvpubPositionForm form);

/*
 * Read one, from in->cursor on, into memory of the current context.  False for
 * anything that does not parse completely, be it cut, too long or nonsense;
 * that is never an ERROR, and never more memory than a small multiple of the
 * bytes that are there.
 */
extern bool evpub_position_parse(StringInfo in, EvpubPosition *position);

/*
 * Bring *position up to what a later message says.  What it takes of the message
 * is copied into TopMemoryContext.  "full": topics that are not in it are gone.
 */
extern void evpub_position_merge(EvpubPosition *position,
								 const EvpubPosition *message, bool full);

#endif							/* EVPUB_POSITION_FORMAT_H */
