/*
 * tables.h
 *		Capturing a table.
 */
#ifndef EVPUB_ADMIN_TABLES_H
#define EVPUB_ADMIN_TABLES_H

#include "postgres.h"

#include "capture/options.h"

/* What evpub.capture_table() does, with the rights of the caller. */
extern void evpub_capture_relation(Oid relid, const EvpubOptions *options);

#endif							/* EVPUB_ADMIN_TABLES_H */
