/*
 * tablename.h
 *		A table's name as it stands in SQL.
 */
#ifndef EVPUB_ADMIN_TABLENAME_H
#define EVPUB_ADMIN_TABLENAME_H

#include "postgres.h"

/*
 * Schema and name, quoted where that is needed, in the current memory context;
 * NULL if there is no such relation, which happens only to those who hold no
 * lock on it.
 */
extern char *evpub_qualified_name(Oid relid);

#endif							/* EVPUB_ADMIN_TABLENAME_H */
