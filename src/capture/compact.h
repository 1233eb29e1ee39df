/*
 * compact.h
 *		Closes the gaps that collapsed events leave.
 */
#ifndef EVPUB_CAPTURE_COMPACT_H
#define EVPUB_CAPTURE_COMPACT_H

#include "postgres.h"

#include "capture/collapse.h"

/*
 * Close the gaps among the events with indexes from "first" to before "end",
 * whose bytes begin at "start" in the arena.  Returns where the events end then,
 * and in *arena_end where their bytes do.
 */
extern Size evpub_compact(EvpubBuffered *events, Size first, Size end, char *arena,
						  Size start, Size *arena_end);

#endif							/* EVPUB_CAPTURE_COMPACT_H */
