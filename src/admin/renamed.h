/*
 * renamed.h
 *		Captured tables that get another name, as NOTICEs.
 */
#ifndef EVPUB_ADMIN_RENAMED_H
#define EVPUB_ADMIN_RENAMED_H

#include "postgres.h"

#include "nodes/nodes.h"
#include "utils/rel.h"

/*
 * To be called after a statement: NOTICEs of captured tables that have another name
 * or schema since, or whose schema has.  "function" is evpub.capture().
 */
extern void evpub_notice_renamed(Node *statement, Oid function);

#endif							/* EVPUB_ADMIN_RENAMED_H */
