/*
 * publisher.c
 *		What loading the library does for the publisher.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "publisher/publisher.h"
#include "publisher/recovery.h"
#include "publisher/worker.h"
#include "registration.h"
#include "shmem.h"

void
evpub_publisher_init(void)
{
	evpub_registration_init();

	/*
	 * pg_upgrade starts servers with our library, too: it must not find a
	 * worker that makes slots or writes WAL there.
	 */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	evpub_shmem_init(evpub_recovery_note);
	evpub_worker_register();
}
