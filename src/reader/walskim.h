/*
 * walskim.h
 *		Passing over the small WAL records that nobody wants, where they lie.
 */
#ifndef EVPUB_WALSKIM_H
#define EVPUB_WALSKIM_H

#include "postgres.h"

#include "reader/walpass.h"

typedef enum EvpubSkim
{
	EVPUB_SKIM_STOPPED,			/* at a record that XLogReader has to read */
	EVPUB_SKIM_MORE				/* at one that is not wholly in the pages read so far */
} EvpubSkim;

/* Where a skim is. */
typedef struct EvpubSkimPlace
{
	XLogRecPtr	position;		/* a record starts here, or ends */
	XLogRecPtr	previous;		/* start of the record before; invalid: not known */
} EvpubSkimPlace;

/* Is a record of this kind one that readers of WAL look at? */
extern bool evpub_walskim_wanted(RmgrId rmid, uint8 info);

/* At the start of a page the next record lies behind its header. */
extern XLogRecPtr evpub_walskim_behind_header(XLogRecPtr lsn);

/*
 * Go on from "place" over records that nobody wants, in the pages that the pass has
 * read, but not beyond "stop" by more than a record.
 */
extern EvpubSkim evpub_walskim_go(EvpubWalPass *pass, XLogReaderState *xlog,
								  XLogRecPtr stop, EvpubSkimPlace *place);

#endif							/* EVPUB_WALSKIM_H */
