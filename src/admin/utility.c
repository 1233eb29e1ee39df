/*
 * utility.c
 *		Restoring a dump of tables into a database whose rules capture them.
 *
 * Where a rule of evpub.capture_schemas() is in force already, the tables get
 * their keys, and with them, by the rule, their capture triggers; and then the
 * dump makes those triggers, which are there.  So a capture trigger that is made
 * under one of its own names replaces the one that stands there, as with CREATE OR
 * REPLACE TRIGGER; and those that stand under the other names, if they were made
 * with other options, since together they would tell of everything twice.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "admin/refuse.h"
#include "admin/utility.h"
#include "capture/route.h"
#include "compat.h"
#include "evpub.h"

#define OUR_TRIGGERS "_evpub_capture"

static ProcessUtility_hook_type next_process_utility = NULL;

/* Is it a name that capture_table() gives? */
static bool
is_our_name(const char *name)
{
	static const char *const endings[] = {"", "_insert", "_update", "_delete",
	"_enter", "_leave", "_truncate"};

	if (strncmp(name, OUR_TRIGGERS, strlen(OUR_TRIGGERS)) != 0)
		return false;
	for (size_t i = 0; i < lengthof(endings); i++)
		if (strcmp(name + strlen(OUR_TRIGGERS), endings[i]) == 0)
			return true;
	return false;
}

static bool
makes_capture_trigger(Node *statement)
{
	CreateTrigStmt *create = (CreateTrigStmt *) statement;
	char	   *schema;
	char	   *function;

	if (!IsA(statement, CreateTrigStmt) || create->isconstraint || create->replace ||
		!is_our_name(create->trigname))
		return false;
	DeconstructQualifiedName(create->funcname, &schema, &function);
	return schema != NULL && strcmp(schema, EVPUB_NAME) == 0 &&
		strcmp(function, "capture") == 0;
}

/* Of the triggers of one capture, this differs. */
static bool
is_of_one(const char *argument)
{
	return strncmp(argument, "as=", 3) == 0;
}

/* Has the trigger all of these arguments, and no others? */
static bool
has_arguments(const Trigger *trigger, List *arguments)
{
	ListCell   *cell = list_head(arguments);
	int			i = 0;

	for (;;)
	{
		while (cell != NULL && is_of_one(strVal(lfirst(cell))))
			cell = lnext(arguments, cell);
		while (i < trigger->tgnargs && is_of_one(trigger->tgargs[i]))
			i++;
		if (cell == NULL || i == trigger->tgnargs)
			return cell == NULL && i == trigger->tgnargs;
		if (strcmp(strVal(lfirst(cell)), trigger->tgargs[i]) != 0)
			return false;
		cell = lnext(arguments, cell);
		i++;
	}
}

static bool
is_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		owner;

	if (!HeapTupleIsValid(tuple))
		return false;
	owner = has_privs_of_role(GetUserId(), ((Form_pg_class) GETSTRUCT(tuple))->relowner);
	ReleaseSysCache(tuple);
	return owner;
}

/* Drop the table's capture triggers that were made with other options. */
static void
drop_others(const CreateTrigStmt *create)
{
	Oid			function = evpub_capture_function();
	Oid			relid = RangeVarGetRelid(create->relation, NoLock, true);
	StringInfoData commands;
	Relation	rel;
	char	   *table;

	/* who does not own the table will be told by CREATE TRIGGER */
	if (!OidIsValid(relid) || !OidIsValid(function) ||
		evpub_captured_tables(function, relid) == NIL || !is_owner(relid))
		return;

	/* as DROP TRIGGER: no weaker lock first */
	rel = table_open(relid, AccessExclusiveLock);
	table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									   RelationGetRelationName(rel));
	initStringInfo(&commands);
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgfoid == function && !trigger->tgisclone &&
			is_our_name(trigger->tgname) && !has_arguments(trigger, create->args))
			appendStringInfo(&commands, "DROP TRIGGER %s ON %s;",
							 quote_identifier(trigger->tgname), table);
	}
	/* DROP TRIGGER refuses a table that somebody has open */
	table_close(rel, NoLock);
	if (commands.len == 0)
		return;
	SPI_connect();
	if (SPI_execute(commands.data, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not run \"%s\"", commands.data);
	SPI_finish();
}

static void
process_utility(PlannedStmt *planned, const char *query, bool read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *destination,
				QueryCompletion *completion)
{
	if (makes_capture_trigger(planned->utilityStmt))
	{
		drop_others((CreateTrigStmt *) planned->utilityStmt);
		/* it may be in a plan cache */
		planned = copyObject(planned);
		read_only = false;
		((CreateTrigStmt *) planned->utilityStmt)->replace = true;
	}
	if (next_process_utility)
		next_process_utility(planned, query, read_only, context, params,
							 environment, destination, completion);
	else
		standard_ProcessUtility(planned, query, read_only, context, params,
								environment, destination, completion);
}

void
evpub_admin_init(void)
{
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
