/*
 * status.h
 *		The publisher's status, as evpub.status shows it.
 */
#ifndef EVPUB_ADMIN_STATUS_H
#define EVPUB_ADMIN_STATUS_H

#include "postgres.h"

#include "shmem.h"

/* Also where evpub is not preloaded, or its worker does not run. */
extern void evpub_status_read(EvpubStatus *status);

#endif							/* EVPUB_ADMIN_STATUS_H */
