/*
 * walend.h
 *		Where WAL ends: for readers, and for positions that are written somewhere.
 */
#ifndef EVPUB_WALEND_H
#define EVPUB_WALEND_H

#include "postgres.h"

#include "access/xlogdefs.h"

/*
 * Everything that is flushed (in recovery: replayed), and its timeline.  No
 * event may be taken from beyond it: a crash could undo it.
 */
extern XLogRecPtr evpub_walreader_end(TimeLineID *timeline);

/*
 * The end of the last record in WAL, flushed or not; not in recovery.  What
 * pg_current_wal_insert_lsn() gives may lie behind a page header that no
 * record has followed yet, and so beyond the end of any record.
 */
extern XLogRecPtr evpub_walreader_insert_end(void);
extern XLogRecPtr evpub_walreader_before_header(XLogRecPtr lsn);

/*
 * The same, after it was flushed.  A position that is written somewhere has to
 * be: else a crash could end WAL before it.
 */
extern XLogRecPtr evpub_walreader_flushed_end(void);

#endif							/* EVPUB_WALEND_H */
