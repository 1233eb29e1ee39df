/*
 * utility.c
 *		Restoring a dump of tables into a database whose rules capture them.
 *
 * Where a rule of evpub.capture_schemas() is in force already, the tables get
 * their keys, and with them, by the rule, their capture triggers; and then the
 * dump makes those triggers, which are there.  So a capture trigger that is made
 * under its own name replaces the one that stands there, as with CREATE OR REPLACE
 * TRIGGER.
 *
 * The rule may have made triggers with names that the dump's settings do not need.
 * They stay: to drop them here would be wrong where somebody has made several
 * triggers by hand, and an event that is published twice is better than none.
 * evpub.check() reports them.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"

#include "admin/utility.h"
#include "compat.h"
#include "names.h"

#define OUR_TRIGGERS "_evpub_capture"

static ProcessUtility_hook_type next_process_utility = NULL;

static bool
makes_capture_trigger(Node *statement)
{
	CreateTrigStmt *create = (CreateTrigStmt *) statement;
	char	   *schema;
	char	   *function;

	if (!IsA(statement, CreateTrigStmt) || create->isconstraint || create->replace ||
		strncmp(create->trigname, OUR_TRIGGERS, strlen(OUR_TRIGGERS)) != 0)
		return false;
	DeconstructQualifiedName(create->funcname, &schema, &function);
	return schema != NULL && strcmp(schema, EVPUB_NAME) == 0 &&
		strcmp(function, "capture") == 0;
}

static void
process_utility(PlannedStmt *planned, const char *query, bool read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *destination,
				QueryCompletion *completion)
{
	if (makes_capture_trigger(planned->utilityStmt))
	{
		/* it may be in a plan cache */
		planned = copyObject(planned);
		read_only = false;
		((CreateTrigStmt *) planned->utilityStmt)->replace = true;
	}
	next_process_utility(planned, query, read_only, context, params, environment,
						 destination, completion);
}

void
evpub_admin_init(void)
{
	next_process_utility = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = process_utility;
}
