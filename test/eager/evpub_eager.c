/*
 * evpub_eager.c
 *		For tests that start the publisher a thousand times: the postmaster
 *		starts it again at once, not a second after it ended.
 *
 * To be preloaded after evpub.  Nothing else differs from a server without it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "postmaster/bgworker_internals.h"

#include "compat.h"
#include "names.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	evpub_bgworker_iter iter;

	evpub_bgworker_foreach(iter)
	{
		BackgroundWorker *worker = &evpub_bgworker(iter)->rw_worker;

		if (strcmp(worker->bgw_library_name, EVPUB_NAME) == 0)
			worker->bgw_restart_time = 0;
	}
}
