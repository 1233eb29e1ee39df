/*
 * accept.h
 *		What a person gives up: evpub.accept_gap() and evpub.discard().
 *
 * The answer says what was given up, or why it was refused.
 */
#ifndef EVPUB_ACCEPT_H
#define EVPUB_ACCEPT_H

#include "postgres.h"

#include "publisher/state.h"

/* The gap that is open, if it ends at lsn or before it. */
extern void evpub_accept_open_gap(EvpubWorker *worker, XLogRecPtr lsn,
								  EvpubAnswer *answer);

/* What is committed up to here, and not published yet. */
extern void evpub_accept_discard(EvpubWorker *worker, XLogRecPtr up_to,
								 EvpubAnswer *answer);

#endif							/* EVPUB_ACCEPT_H */
