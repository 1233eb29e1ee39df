/*
 * worker.h
 *		The background worker that publishes.
 */
#ifndef EVPUB_WORKER_H
#define EVPUB_WORKER_H

#include "postgres.h"

/* Register the static worker; call while libraries are preloaded. */
extern void evpub_worker_register(void);

extern PGDLLEXPORT void evpub_worker_main(Datum argument);

#endif							/* EVPUB_WORKER_H */
