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

/* Before recovery begins, when its signs are still there. */
static void
look_at_start(EvpubShared *shared)
{
	shared->recovered = evpub_recovery_note();
	shared->standby = evpub_recovery_standby();
}

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
	evpub_shmem_init(look_at_start);
	evpub_worker_register();
}
