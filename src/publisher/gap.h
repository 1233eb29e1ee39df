/*
 * gap.h
 *		What is committed, but cannot or may not be published.
 */
#ifndef EVPUB_GAP_H
#define EVPUB_GAP_H

#include "postgres.h"

#include "publisher/state.h"

/* What evpub.status says of an open gap. */
extern char *evpub_gap_text(const EvpubOpenGap *gap);

/* The stream is broken and drained: WAL cannot be read. */
extern void evpub_gap_unreadable(EvpubWorker *worker);

/* The transaction that committed at commit_lsn can never be published. */
extern void evpub_gap_unpublishable(EvpubWorker *worker, XLogRecPtr commit_lsn,
									const char *reason);

/*
 * A limit is reached: the database needs the WAL that is kept.  disk_full: it
 * needs it soon.
 */
extern void evpub_gap_give_up(EvpubWorker *worker, const char *reason,
							  bool disk_full);

/*
 * What is committed, and would never be published if the publisher ended now.
 * disk_full: as above.
 */
extern EvpubLost evpub_gap_unpublished(EvpubWorker *worker, bool disk_full);

/* Try again now and then. */
extern void evpub_gap_look_again(EvpubWorker *worker);

/* Go on publishing from the position in the state file. */
extern void evpub_gap_close(EvpubWorker *worker);

/* Does reading begin behind something that is not known? */
extern bool evpub_gap_cuts_transactions(const EvpubOpenGap *gap);

#endif							/* EVPUB_GAP_H */
