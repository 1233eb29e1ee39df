/*
 * brokers.h
 *		Is this a list of brokers' addresses?
 */
#ifndef EVPUB_BROKERS_H
#define EVPUB_BROKERS_H

/*
 * True if it is, or if it is empty.  Otherwise *bad is the address that is
 * none, and *hint says how to write it.  The texts are allocated by palloc().
 */
extern bool evpub_brokers_check(const char *list, char **bad, const char **hint);

#endif							/* EVPUB_BROKERS_H */
