/*
 * utility.h
 *		What loading the library calls in the admin room.
 */
#ifndef EVPUB_ADMIN_UTILITY_H
#define EVPUB_ADMIN_UTILITY_H

/* Register the hook on utility statements. */
extern void evpub_admin_init(void);

#endif							/* EVPUB_ADMIN_UTILITY_H */
