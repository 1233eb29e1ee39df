/*
 * guard.c
 *		Keeps functions of a table's owner from running with the rights of
 *		whoever plans a query over the table, or makes a trigger on it.
 *
 * PostgreSQL evaluates what is constant in expressions that belong to a table,
 * before a single row is read: in the predicates and expressions of its indexes,
 * in its extended statistics, its CHECK constraints, its partition key; and it
 * checks a literal that is compared with a column whose type holds a domain.  All
 * of that may call functions, and they run as the current user.  A superuser who
 * calls evpub.resync() or evpub.capture_table() for a table of somebody else's, or
 * a rule that captures what somebody makes, would run them as a superuser.
 *
 * There is no place in the planner to switch to the owner and back: these
 * expressions are evaluated between those that the caller has written, which
 * have to run with his rights.  So each call is looked at by itself.  Where
 * the function manager is about to call a function, it asks whether a hook is
 * needed, and calls the hook before and after it: for all that is not in C, and
 * for what an extension has in C and does more than compute.  And the owner must
 * have the right to call it, since the executor has asked only for the caller.
 * Built-in functions have no hook; those that could do harm are refused.
 *
 * A function for which the hook is needed is not inlined either, so nothing of
 * its body gets into a plan that is executed with other rights.
 *
 * What is made here with a hook may be called later, and then finds no guard in
 * force.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "admin/guard.h"
#include "compat.h"

/* In force while evpub_guarded() works. */
typedef struct Guard
{
	Oid			owner;
	Oid			caller;
	List	   *trusted;
	char	   *search_path;
} Guard;

/* A function that is being called while a guard is, or was, in force. */
typedef struct Call
{
	const Guard *guard;			/* in force outside of it */
	bool		of_owner;
	bool		has_user;		/* it runs with the rights of its definer */
	bool		has_settings;	/* it has a SET clause */
	Oid			user;			/* who was at work, where it has none of its own */
	int			context;
	int			nest;			/* level of settings, where it has none of its own */
	int			unguarded;		/* calls inside of it while no guard is in force */
	struct Call *outer;
} Call;

static const Guard *guard = NULL;
static Call *calls = NULL;

static needs_fmgr_hook_type next_needs_fmgr_hook = NULL;
static fmgr_hook_type next_fmgr_hook = NULL;
static object_access_hook_type next_object_access_hook = NULL;

/* Whose function it is. */
typedef enum FunctionKind
{
	FUNCTION_IN_C,				/* made by a superuser, and harmless */
	FUNCTION_OF_CALLER,
	FUNCTION_OF_OWNER			/* or of anybody else */
} FunctionKind;

/*
 * A function in C that does nothing but compute, or serves the planner or reads a
 * literal.  Any other may write a file or read a table, and the owner chooses its
 * arguments: the CHECK of his domain may call lo_export().
 */
static bool
is_harmless(Form_pg_proc form)
{
	Oid			first = form->pronargs > 0 ? form->proargtypes.values[0] : InvalidOid;

	return form->provolatile == PROVOLATILE_IMMUTABLE || first == INTERNALOID ||
		first == CSTRINGOID;
}

/* "call" gets what it has of its own; may be NULL. */
static FunctionKind
kind_of(Oid function, Call *call)
{
	HeapTuple	tuple;
	Form_pg_proc form;
	FunctionKind kind = FUNCTION_OF_OWNER;

	if (list_member_oid(guard->trusted, function))
		return FUNCTION_OF_CALLER;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prorettype == EVENT_TRIGGEROID)
		kind = FUNCTION_OF_CALLER;
	else if ((form->prolang == INTERNALlanguageId || form->prolang == ClanguageId) &&
			 is_harmless(form))
		kind = FUNCTION_IN_C;
	if (call != NULL)
	{
		call->has_user = form->prosecdef;
		call->has_settings = !heap_attisnull(tuple, Anum_pg_proc_proconfig, NULL);
	}
	ReleaseSysCache(tuple);
	return kind;
}

static bool
needs_hook(Oid function)
{
	if (next_needs_fmgr_hook != NULL && next_needs_fmgr_hook(function))
		return true;
	return guard != NULL && kind_of(function, NULL) != FUNCTION_IN_C;
}

/*
 * A function that runs with the rights of its definer has them by now, and keeps
 * them.  The function manager takes them back, and the settings of a SET clause,
 * before it calls the hook at the end; settings that the function has made besides
 * are kept then.  The one that says which functions the caller means is put back.
 */
static void
become_owner(Call *call)
{
	GetUserIdAndSecContext(&call->user, &call->context);
	SetUserIdAndSecContext(call->user == guard->caller ? guard->owner : call->user,
						   call->context | SECURITY_RESTRICTED_OPERATION);
	if (!call->has_settings)
		call->nest = NewGUCNestLevel();
}

static void
cease_to_be_owner(const Call *call)
{
	if (!call->has_settings)
		AtEOXact_GUC(false, call->nest);
	else if (strcmp(namespace_search_path, guard->search_path) != 0)
		(void) set_config_option("search_path", guard->search_path, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
	if (!call->has_user)
		SetUserIdAndSecContext(call->user, call->context);
}

/* Does the owner choose what is called here?  Not inside of his functions, nor the caller's. */
static bool
is_at_work_for_owner(void)
{
	if (guard == NULL)
		return false;
	for (const Call *call = calls; call != NULL && call->guard == guard; call = call->outer)
	{
		if (call->of_owner)
			return false;
	}
	return true;
}

/*
 * The executor has asked whether the caller may call it.  Below a function of the
 * owner it has asked for whoever was at work there.
 */
static void
check_owner_may_call(Oid function)
{
	if (is_at_work_for_owner() && !evpub_may_execute(function, guard->owner))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(function));
}

static void
begin_call(Oid function)
{
	Call	   *call;
	Call		own = {0};
	FunctionKind kind;

	if (guard == NULL)
	{
		if (calls != NULL)
			calls->unguarded++;
		return;
	}
	kind = kind_of(function, &own);
	own.of_owner = kind == FUNCTION_OF_OWNER;
	if (own.of_owner)
		check_owner_may_call(function);
	own.guard = guard;
	own.outer = calls;
	call = MemoryContextAlloc(TopMemoryContext, sizeof(Call));
	if (own.of_owner)
		become_owner(&own);
	else if (kind == FUNCTION_OF_CALLER)
		guard = NULL;			/* what it calls is its own affair */
	*call = own;
	calls = call;
}

/* After an error the end of the (sub)transaction restores rights and settings. */
static void
end_call(bool failed)
{
	Call	   *call = calls;

	if (call == NULL)
		return;
	if (call->unguarded > 0)
	{
		call->unguarded--;
		return;
	}
	calls = call->outer;
	guard = call->guard;
	if (call->of_owner && !failed)
		cease_to_be_owner(call);
	pfree(call);
}

static void
function_hook(FmgrHookEventType event, FmgrInfo *function, Datum *private)
{
	if (event == FHET_START)
		begin_call(function->fn_oid);
	if (next_fmgr_hook != NULL)
		next_fmgr_hook(event, function, private);
	if (event != FHET_START)
		end_call(event == FHET_ABORT);
}

void
evpub_guarded(Oid owner, List *trusted, void (*work) (void *arg), void *arg)
{
	const Guard *outer = guard;
	Call	   *outer_calls = calls;
	Guard		own = {owner, GetUserId(), trusted, NULL};
	int			nest;

	if (owner == GetUserId())
	{
		work(arg);
		return;
	}
	own.search_path = pstrdup(namespace_search_path);
	nest = NewGUCNestLevel();
	guard = &own;
	PG_TRY();
	{
		work(arg);
	}
	PG_FINALLY();
	{
		guard = outer;
		/* a hook that is called after ours, and throws, leaves a call without its end */
		calls = outer_calls;
	}
	PG_END_TRY();
	AtEOXact_GUC(false, nest);
	pfree(own.search_path);
}

/* ---- built-in functions ---- */

/* Some settings are shown to superusers only, such as primary_conninfo with a password. */
static bool
shows_setting(Oid function)
{
	return function == F_CURRENT_SETTING_TEXT || function == F_CURRENT_SETTING_TEXT_BOOL;
}

/*
 * The function manager asks no hook for functions that are built in, so they cannot
 * be called with other rights.  The executor announces them when it makes ready to
 * call them, and those that may read tables or files, write, or stop a session are
 * refused.  They are volatile, or not safe in parallel workers; so are a few others
 * that do no harm.  What a setting is, depends on who asks for it, too.
 */
static void
check_built_in(Oid function)
{
	HeapTuple	tuple;
	Form_pg_proc form;

	if (list_member_oid(guard->trusted, function))
		return;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prolang == INTERNALlanguageId && !is_harmless(form) &&
		(form->provolatile == PROVOLATILE_VOLATILE ||
		 form->proparallel != PROPARALLEL_SAFE || shows_setting(function)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function %s is not called with your rights for the owner of the table",
						NameStr(form->proname)),
				 errdetail("An expression that belongs to the table, such as a CHECK of a domain, calls it."),
				 errhint("Let the table's owner do this.")));
	ReleaseSysCache(tuple);
}

static void
access_object(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg)
{
	if (next_object_access_hook != NULL)
		next_object_access_hook(access, classid, objid, subid, arg);
	if (access == OAT_FUNCTION_EXECUTE && is_at_work_for_owner())
		check_built_in(objid);
}

/* ---- what a query names ---- */

static bool
add_function(Oid function, void *arg)
{
	List	  **functions = arg;

	*functions = list_append_unique_oid(*functions, function);
	return false;
}

static bool
add_functions(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	(void) check_functions_in_node(node, add_function, arg);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, add_functions, arg, 0);
	return expression_tree_walker(node, add_functions, arg);
}

List *
evpub_functions_of(List *queries, List *functions)
{
	(void) add_functions((Node *) queries, &functions);
	return functions;
}

void
evpub_guard_init(void)
{
	next_needs_fmgr_hook = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	next_fmgr_hook = fmgr_hook;
	fmgr_hook = function_hook;
	next_object_access_hook = object_access_hook;
	object_access_hook = access_object;
}
