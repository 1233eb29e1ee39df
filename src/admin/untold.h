/*
 * untold.h
 *		DDL that changes what consumers have, without an event.
 */
#ifndef EVPUB_ADMIN_UNTOLD_H
#define EVPUB_ADMIN_UNTOLD_H

#include "postgres.h"

#include "nodes/nodes.h"

/*
 * To be called after a statement: NOTICEs that say what consumers are not told
 * of, and what to type.  "function" is evpub.capture().
 */
extern void evpub_notice_untold(Node *statement, Oid function);

#endif							/* EVPUB_ADMIN_UNTOLD_H */
