/*
 * ddl.h
 *		Statements that change what a captured table's settings refer to.
 */
#ifndef EVPUB_ADMIN_DDL_H
#define EVPUB_ADMIN_DDL_H

/* Register the hooks. */
extern void evpub_ddl_init(void);

#endif							/* EVPUB_ADMIN_DDL_H */
