/*
 * evpub.c
 *		Loading: settings, callbacks, shared memory and the worker.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "admin/ddl.h"
#include "admin/guard.h"
#include "admin/utility.h"
#include "capture/capture.h"
#include "parameters.h"
#include "publisher/publisher.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	evpub_parameters_define();
	evpub_capture_init();
	evpub_ddl_init();
	evpub_guard_init();
	evpub_publisher_init();
	evpub_admin_init();
}
