/*
 * walfind.h
 *		What there is of WAL that may be missing or damaged.
 *
 * All of these throw errors of resources, which say nothing of WAL.  They end
 * with ERRCODE_ADMIN_SHUTDOWN when the worker is to leave.
 */
#ifndef EVPUB_WALFIND_H
#define EVPUB_WALFIND_H

#include "postgres.h"

#include "clock.h"
#include "reader/walreader.h"

/*
 * Go to the first record that starts in this page, or behind it if the end of
 * another fills it, and read it.  InvalidXLogRecPtr if there is none before the
 * limit.
 */
extern XLogRecPtr evpub_walfind_first(EvpubWalReader *reader, XLogRecPtr page);

/*
 * Where a record starts that can be read, at lsn or behind it: to go on behind
 * WAL that is missing or damaged.  InvalidXLogRecPtr if there is none.
 */
extern XLogRecPtr evpub_walfind_record(XLogRecPtr lsn);

/* The same, with an ERROR (query canceled) when it takes longer. */
extern XLogRecPtr evpub_walfind_record_until(XLogRecPtr lsn, EvpubMsec deadline);

/* Is the segment there that holds lsn? */
extern bool evpub_walfind_segment(XLogRecPtr lsn);

/* Can WAL be read from one position (where a record starts) up to another? */
extern bool evpub_walfind_readable(XLogRecPtr from, XLogRecPtr to);

#endif							/* EVPUB_WALFIND_H */
