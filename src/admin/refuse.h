/*
 * refuse.h
 *		Statements on captured tables that are refused before their end.
 */
#ifndef EVPUB_ADMIN_REFUSE_H
#define EVPUB_ADMIN_REFUSE_H

#include "nodes/parsenodes.h"
#include "utils/rel.h"

/* ERROR: a table's capture depends on what a statement changes. */
extern void evpub_refuse_change(const char *table, const char *reason)
	__attribute__((noreturn));

/* To be called before a statement runs; ERROR if it is one of these. */
extern void evpub_refuse_attach(Node *statement);
extern void evpub_refuse_drop_index(Node *statement);
extern void evpub_refuse_rename_own_schema(Node *statement);

/*
 * To be called for each object that a statement alters, before it is visible;
 * ERROR if it gets another name and a filter calls it by the old one.
 */
extern void evpub_refuse_rename(Node *statement, Oid classid, Oid objid, int subid);

#endif							/* EVPUB_ADMIN_REFUSE_H */
