/*
 * tally.h
 *		How many events the current transaction has logged, by table and operation.
 */
#ifndef EVPUB_CAPTURE_TALLY_H
#define EVPUB_CAPTURE_TALLY_H

#include "postgres.h"

#include "capture/collapse.h"

/* How long the tally is now: where that of a (sub)transaction begins. */
extern int	evpub_tally_mark(void);

/*
 * These events are logged, those that are dropped are not.  "from" is where the tally
 * of the (sub)transaction begins that logs them.
 */
extern void evpub_tally_take(const EvpubBuffered *events, Size count, int from);

/* The (sub)transaction whose tally begins at this mark was rolled back. */
extern void evpub_tally_cut(int mark);

/* The transaction has committed, or is prepared: view evpub.stat_tables shows it. */
extern void evpub_tally_publish(void);

/* The transaction has ended, however it did. */
extern void evpub_tally_end(void);

#endif							/* EVPUB_CAPTURE_TALLY_H */
