/*
 * registration.h
 *		Registering a database: what backends do so that its changes are
 *		published, or are no more.
 */
#ifndef EVPUB_REGISTRATION_H
#define EVPUB_REGISTRATION_H

#include "postgres.h"

/* Register label provider, object-access hook and transaction callback. */
extern void evpub_registration_init(void);

/*
 * May events of this database be captured?  ERROR if it is registered, but evpub is
 * not preloaded.  False in a database without its label, such as a copy made by
 * CREATE DATABASE ... TEMPLATE: then the caller makes no events, and a WARNING was
 * raised once in this session.  Gives the transaction an xid.
 */
extern bool evpub_database_registered(void);

/* The publisher id that a label's text names: 16 hexadecimal digits.  False: none. */
extern bool evpub_label_parse(const char *text, uint64 *publisher_id);

#endif							/* EVPUB_REGISTRATION_H */
