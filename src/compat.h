/*
 * compat.h
 *		Differences between PostgreSQL's major versions (15 to 18).  Nothing
 *		else in the tree looks at PG_VERSION_NUM.
 */
#ifndef EVPUB_COMPAT_H
#define EVPUB_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "evpub supports PostgreSQL 15 to 18"
#endif

#endif							/* EVPUB_COMPAT_H */
