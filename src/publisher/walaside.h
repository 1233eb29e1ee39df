/*
 * walaside.h
 *		Segments of WAL that PostgreSQL may remove, and we put back.
 */
#ifndef EVPUB_WALASIDE_H
#define EVPUB_WALASIDE_H

#include "postgres.h"

#include "access/xlogdefs.h"

/* Directory for it, beside the segments, so that a rename moves them. */
#define EVPUB_WALASIDE_DIRECTORY "pg_wal/evpub.kept"

/* Is there anything aside? */
extern bool evpub_walaside_has(void);

/*
 * Set the segments of [first, end) aside, of every timeline; all must be flushed
 * to their ends.  Returns how many are aside.  What cannot be set aside is logged,
 * and left alone.
 */
extern int	evpub_walaside_set(XLogSegNo first, XLogSegNo end);

/* Where the oldest that is set aside begins; InvalidXLogRecPtr: there is none. */
extern XLogRecPtr evpub_walaside_oldest(void);

/*
 * Put all of it back; not in recovery.  Returns how many segments have their
 * place again.  Throws if one cannot be put back, and may be called again.
 */
extern int	evpub_walaside_put_back(void);

/*
 * In recovery: remove what lies before lsn, or has got its place in pg_wal by
 * other ways.  Throws only if the directory cannot be read.
 */
extern void evpub_walaside_forget(XLogRecPtr lsn);

#endif							/* EVPUB_WALASIDE_H */
