/*
 * registration.c
 *		Registering a database: what backends do so that its changes are
 *		published, or are no more.
 *
 * A registered database has a security label of our own provider, whose text
 * names the publisher id.  A label is transactional, goes with DROP DATABASE, and
 * is not copied by CREATE DATABASE ... TEMPLATE.
 *
 * The slot must exist before a label can commit, and only the worker makes
 * slots.  So a transaction that sets a label first puts a request with its xid
 * into shared memory and waits for the answer.  The slot goes when nobody is
 * registered any more; what this file promises for that, and why no event is
 * lost with the slot, is at the head of publisher/registry.c.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "commands/seclabel.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "clock.h"
#include "compat.h"
#include "names.h"
#include "registration.h"
#include "shmem.h"

/* How long a request may stay unanswered, without and with a worker, in ms. */
#define REQUEST_WORKER_TIMEOUT 10000
#define REQUEST_TIMEOUT 60000

PG_FUNCTION_INFO_V1(evpub_register_database);

static object_access_hook_type prev_object_access_hook = NULL;

/*
 * This transaction sets or removes a label, or drops a database: it counts
 * among registry_changers.
 */
static bool registry_touched = false;

static ObjectAddress
this_database(void)
{
	ObjectAddress address;

	ObjectAddressSet(address, DatabaseRelationId, MyDatabaseId);
	return address;
}

/* Before the first change, see the head of publisher/registry.c. */
static void
touch_registry(void)
{
	if (registry_touched)
		return;
	if (EvpubShmem)
		pg_atomic_fetch_add_u32(&EvpubShmem->registry_changers, 1);
	registry_touched = true;
}

/* Put a request of the current transaction into a free place. */
static int
add_request(uint64 publisher_id)
{
	TransactionId xid = GetTopTransactionId();
	int			place = -1;

	LWLockAcquire(EvpubShmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EVPUB_MAX_REQUESTS; i++)
	{
		EvpubRequest *request = &EvpubShmem->requests[i];

		if (request->state != EVPUB_REQUEST_FREE && request->xid == xid)
		{
			place = i;
			break;
		}
		if (request->state == EVPUB_REQUEST_FREE && place < 0)
			place = i;
	}
	if (place >= 0)
	{
		EvpubShmem->requests[place].state = EVPUB_REQUEST_PENDING;
		EvpubShmem->requests[place].xid = xid;
		EvpubShmem->requests[place].publisher_id = publisher_id;
	}
	LWLockRelease(EvpubShmem->lock);

	if (place < 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many transactions register databases at the same time"),
				 errhint("Try again when they have ended.")));
	return place;
}

static void
report_no_worker(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the evpub worker does not run"),
			 errdetail("A database can only be registered while the worker holds the replication slot."),
			 errhint("Check the server log; the setting max_worker_processes (%d) may leave no room for it.",
					 max_worker_processes)));
}

/*
 * Ask the worker for the slot and wait until it is there.  On error or cancel
 * the request stays; the worker clears it when the transaction has ended.
 */
static void
request_slot(uint64 publisher_id)
{
	int			place = add_request(publisher_id);
	EvpubRequest answer;
	EvpubMsec	started = evpub_clock_now();

	evpub_shmem_wake();
	ConditionVariablePrepareToSleep(&EvpubShmem->changed);
	for (;;)
	{
		pid_t		worker;

		LWLockAcquire(EvpubShmem->lock, LW_EXCLUSIVE);
		answer = EvpubShmem->requests[place];
		if (answer.state == EVPUB_REQUEST_FAILED)
			EvpubShmem->requests[place].state = EVPUB_REQUEST_FREE;
		LWLockRelease(EvpubShmem->lock);
		if (answer.state != EVPUB_REQUEST_PENDING)
			break;

		SpinLockAcquire(&EvpubShmem->mutex);
		worker = EvpubShmem->worker_pid;
		SpinLockRelease(&EvpubShmem->mutex);
		if (evpub_clock_passed(started,
							   worker ? REQUEST_TIMEOUT : REQUEST_WORKER_TIMEOUT))
			report_no_worker();
		ConditionVariableTimedSleep(&EvpubShmem->changed, 1000,
									evpub_wait_event("EvpubRegister"));
	}
	ConditionVariableCancelSleep();

	if (answer.state == EVPUB_REQUEST_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not register the database for publishing: %s",
						answer.error),
				 answer.hint[0] ? errhint("%s", answer.hint) : 0));
}

bool
evpub_label_parse(const char *text, uint64 *publisher_id)
{
	if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
		return false;
	*publisher_id = strtoull(text, NULL, 16);
	return true;
}

/* What must hold before any database can publish. */
static void
check_server(void)
{
	evpub_require_preloaded();
	if (wal_level < WAL_LEVEL_REPLICA)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("evpub needs wal_level \"replica\" or higher"),
				 errhint("Set wal_level = replica and restart the server.")));
	if (max_worker_processes == 0)
		report_no_worker();
	PreventCommandDuringRecovery("registering a database with evpub");
}

/* As SECURITY LABEL does: take_over() changes the labels of all databases. */
static void
lock_label(void)
{
	LockSharedObject(DatabaseRelationId, MyDatabaseId, 0, ShareUpdateExclusiveLock);
}

/*
 * Register the current database: make sure of the slot, then set the label.
 * CREATE EXTENSION calls this; a copy made by CREATE DATABASE ... TEMPLATE
 * has the extension, but no label, until somebody calls it there.
 */
Datum
evpub_register_database(PG_FUNCTION_ARGS)
{
	ObjectAddress database = this_database();
	EvpubStatus status;
	char		label[17];

	(void) fcinfo;
	check_server();
	touch_registry();
	request_slot(0);

	evpub_shmem_status(&status);
	if (status.publisher_id == 0 && GetSecurityLabel(&database, EVPUB_NAME) != NULL)
	{
		/* a dump made by pg_dump -C has the label before the extension */
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("changes in this database are not published yet"),
				 errdetail("The publisher's state is \"%s\": %s.",
						   evpub_state_names[status.state], status.reason),
				 errhint("Call evpub.take_over() if this server should publish.")));
		PG_RETURN_VOID();
	}
	if (status.publisher_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not register the database for publishing"),
				 errdetail("The publisher's state is \"%s\": %s.",
						   evpub_state_names[status.state], status.reason)));
	snprintf(label, sizeof(label), "%016llx", (unsigned long long) status.publisher_id);
	lock_label();
	SetSecurityLabel(&database, EVPUB_NAME, label);
	CommandCounterIncrement();
	PG_RETURN_VOID();
}

/* Called for SECURITY LABEL FOR evpub, as pg_dump's script has it. */
static void
relabel(const ObjectAddress *object, const char *label)
{
	uint64		publisher_id;

	if (object->classId != DatabaseRelationId)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("evpub labels only databases")));
	/* the owner of one database must not fence, or end, the publisher of all */
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to set a label of evpub")));
	touch_registry();
	if (label == NULL || IsBinaryUpgrade)
		return;
	if (!evpub_label_parse(label, &publisher_id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid evpub label \"%s\"", label),
				 errdetail("A label is a publisher id of 16 hexadecimal digits."),
				 errhint("CREATE EXTENSION evpub sets it; pg_dump restores it.")));
	check_server();
	request_slot(publisher_id);
}

static void
object_access(ObjectAccessType access, Oid classId, Oid objectId, int subId,
			  void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, classId, objectId, subId, arg);

	if (access != OAT_DROP)
		return;
	if (classId == DatabaseRelationId)
		touch_registry();
	else if (classId == ExtensionRelationId && !IsBinaryUpgrade)
	{
		char	   *name = get_extension_name(objectId);

		/*
		 * In the transaction of DROP EXTENSION: a rollback brings both back.
		 * An event trigger could not do it, since it goes with the extension.
		 */
		if (name && strcmp(name, EVPUB_NAME) == 0)
		{
			ObjectAddress database = this_database();

			touch_registry();
			lock_label();
			SetSecurityLabel(&database, EVPUB_NAME, NULL);
		}
	}
}

static void
registry_transaction(XactEvent event, void *arg)
{
	(void) arg;
	if (!registry_touched)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			/* requests die in a crash, prepared transactions do not */
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that registers or drops a database of evpub")));
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			/* we are visible; in this order */
			registry_touched = false;
			if (EvpubShmem)
			{
				pg_atomic_fetch_add_u64(&EvpubShmem->registry_generation, 1);
				pg_atomic_fetch_sub_u32(&EvpubShmem->registry_changers, 1);
				evpub_shmem_wake();
			}
			break;
		default:
			break;
	}
}

void
evpub_registration_init(void)
{
	register_label_provider(EVPUB_NAME, relabel);
	prev_object_access_hook = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(registry_transaction, NULL);
}

bool
evpub_database_registered(void)
{
	static uint64 known_generation = 0;
	static bool known = false;
	static bool warned = false;
	uint64		generation = 1;
	bool		changing = registry_touched;

	/*
	 * The caller captures if we say so.  From here on the worker sees it run,
	 * and keeps the slot until it has ended.  A change of a row has an xid
	 * already, evpub.publish() may be the first that needs one.
	 */
	(void) GetTopTransactionId();

	/*
	 * pg_shseclabel has no cache invalidation; instead every transaction that
	 * changes labels raises the generation after it has become visible.
	 */
	if (EvpubShmem)
	{
		if (pg_atomic_read_u32(&EvpubShmem->registry_changers) > 0)
			changing = true;
		pg_memory_barrier();
		generation = pg_atomic_read_u64(&EvpubShmem->registry_generation);
	}
	if (changing || generation != known_generation)
	{
		ObjectAddress database = this_database();

		/*
		 * Not by the catalog snapshot of before: whoever raised the generation
		 * sends the invalidation only a moment later, and what we
		 * read now is believed until the generation rises again.
		 */
		InvalidateCatalogSnapshot();
		known = GetSecurityLabel(&database, EVPUB_NAME) != NULL;
		known_generation = changing ? 0 : generation;
	}
	if (!known && !warned)
	{
		warned = true;
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("changes in this database are not published"),
				 errdetail("The database is not registered with evpub, as in a copy made by CREATE DATABASE ... TEMPLATE."),
				 errhint("Call evpub.register_database() if it should publish.")));
	}
	/*
	 * A backend that has loaded the library by itself, at its first captured row,
	 * has seen no TRUNCATE of a partition and no DDL before that, and others see
	 * none of it still.  Half of the changes are worse than none.
	 */
	if (known)
		evpub_require_preloaded();
	return known;
}
