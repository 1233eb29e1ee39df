/*
 * triggers.c
 *		Making the triggers of a captured table.
 *
 * They are made as parse trees, never as text: what a caller gives as a filter
 * goes through the parser as one expression, and can be nothing else.
 *
 * An UPDATE that moves a row to another partition fires triggers of DELETE and
 * INSERT only.  So partitioned tables have both, whatever operations are asked for;
 * the trigger function publishes what counts (move.c).
 *
 * A filter cannot be one condition, since the WHEN of an INSERT may not name
 * OLD, and that of a DELETE not NEW.  So there is a trigger for each operation,
 * and three for updates: of rows that stay inside, that enter, and that leave.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/heap.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "tcop/dest.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "admin/filtertext.h"
#include "admin/triggers.h"
#include "capture/compile.h"
#include "compat.h"

/*
 * Triggers fire in the order of their names, and an underscore sorts before
 * lower-case letters: what users' own triggers write comes after the event of
 * the row that fired them.
 */
#define TRIGGER_NAME "_evpub_capture"

typedef struct Target
{
	Oid			relid;
	char	   *schema;
	char	   *table;
	const EvpubOptions *options;
	const char *query;			/* where what is parsed stands */
	bool		on_replica;
	bool		is_partitioned;
} Target;

static void
run(const Target *target, Node *statement)
{
	PlannedStmt *planned = makeNode(PlannedStmt);

	planned->commandType = CMD_UTILITY;
	planned->utilityStmt = statement;
	planned->stmt_location = -1;
	ProcessUtility(planned, target->query, false,
				   PROCESS_UTILITY_SUBCOMMAND, NULL, NULL, None_Receiver, NULL);
	CommandCounterIncrement();
}

static void
create_trigger(const Target *target, const char *name, int16 timing, int16 events,
			   bool row, const EvpubOptions *options, Node *when)
{
	CreateTrigStmt *statement = makeNode(CreateTrigStmt);

	statement->trigname = pstrdup(name);
	statement->relation = makeRangeVar(target->schema, target->table, -1);
	statement->funcname = list_make2(makeString("evpub"), makeString("capture"));
	statement->args = evpub_options_arguments(options);
	statement->row = row;
	statement->timing = timing;
	statement->events = events;
	statement->whenClause = when;
	run(target, (Node *) statement);

	if (target->on_replica)
	{
		AlterTableStmt *alter = makeNode(AlterTableStmt);
		AlterTableCmd *command = makeNode(AlterTableCmd);

		command->subtype = AT_EnableAlwaysTrig;
		command->name = pstrdup(name);
		/* with its partitions, whose parts of the trigger fire by their own state */
		alter->relation = makeRangeVar(target->schema, target->table, -1);
		alter->cmds = list_make1(command);
		alter->objtype = OBJECT_TABLE;
		run(target, (Node *) alter);
	}
}

/* ---- triggers of a filter ---- */

static Node *
is_true(Node *condition, bool wanted)
{
	BooleanTest *test = makeNode(BooleanTest);

	test->arg = (Expr *) condition;
	test->booltesttype = wanted ? IS_TRUE : IS_NOT_TRUE;
	test->location = -1;
	return (Node *) test;
}

/* A condition on an update: was the row inside, and is it? */
static Node *
crossing(const char *filter, bool was, bool is)
{
	return (Node *) makeBoolExpr(AND_EXPR,
								 list_make2(is_true(evpub_filtertext_parse(filter, "OLD"), was),
											is_true(evpub_filtertext_parse(filter, "NEW"), is)),
								 -1);
}

/* Are there events of rows that change? */
static bool
captures_rows(const EvpubOptions *options)
{
	return evpub_options_operation(options, "insert") ||
		evpub_options_operation(options, "update") ||
		evpub_options_operation(options, "delete");
}

/*
 * A row may move into the filter, or out of it.  Where both inserts and updates are
 * published, the triggers of the filter are enough: a row that enters is created,
 * and one that leaves is deleted.
 */
static bool
needs_all_moves(const EvpubOptions *options)
{
	return !evpub_options_operation(options, "insert") ||
		!evpub_options_operation(options, "update");
}

static void
create_filtered(Target *target)
{
	const char *filter = target->options->value[EVPUB_OPTION_FILTER];
	EvpubOptions options = *target->options;
	ErrorContextCallback callback;
	bool		moves = target->is_partitioned && captures_rows(&options);
	char	   *text;

	evpub_filtertext_check(filter);
	/* positions in the text are the same with OLD as with NEW */
	text = evpub_filtertext_replace(filter, "NEW");
	target->query = evpub_filtertext_query(text);
	evpub_filtertext_push_context(&callback, text);
	if (moves || evpub_options_operation(&options, "insert"))
		create_trigger(target, TRIGGER_NAME "_insert", TRIGGER_TYPE_AFTER,
					   TRIGGER_TYPE_INSERT, true, &options,
					   is_true(evpub_filtertext_parse(filter, "NEW"), true));
	if (moves || evpub_options_operation(&options, "delete"))
		create_trigger(target, TRIGGER_NAME "_delete", TRIGGER_TYPE_AFTER,
					   TRIGGER_TYPE_DELETE, true, &options,
					   is_true(evpub_filtertext_parse(filter, "OLD"), true));
	if (evpub_options_operation(&options, "update"))
	{
		create_trigger(target, TRIGGER_NAME "_update", TRIGGER_TYPE_AFTER,
					   TRIGGER_TYPE_UPDATE, true, &options, crossing(filter, true, true));
		options.value[EVPUB_OPTION_AS] = "created";
		create_trigger(target, TRIGGER_NAME "_enter", TRIGGER_TYPE_AFTER,
					   TRIGGER_TYPE_UPDATE, true, &options, crossing(filter, false, true));
		options.value[EVPUB_OPTION_AS] = "deleted";
		create_trigger(target, TRIGGER_NAME "_leave", TRIGGER_TYPE_AFTER,
					   TRIGGER_TYPE_UPDATE, true, &options, crossing(filter, true, false));
	}
	if (moves && needs_all_moves(target->options))
	{
		/* by its name after those of the filter, which know more */
		options.value[EVPUB_OPTION_AS] = "moved";
		create_trigger(target, TRIGGER_NAME "_move", TRIGGER_TYPE_AFTER,
					   TRIGGER_TYPE_INSERT | TRIGGER_TYPE_DELETE, true, &options, NULL);
	}
	error_context_stack = callback.previous;
}

static Node *
column_of(const char *row, Form_pg_attribute attribute)
{
	ColumnRef  *column = makeNode(ColumnRef);

	column->fields = list_make2(makeString(pstrdup(row)),
								makeString(pstrdup(NameStr(attribute->attname))));
	column->location = -1;
	return (Node *) column;
}

static Node *
row_of(List *columns)
{
	RowExpr    *row = makeNode(RowExpr);

	row->args = columns;
	row->row_format = COERCE_EXPLICIT_CALL;
	row->location = -1;
	return (Node *) row;
}

/*
 * Are equal values of this column the same bytes?  B-tree operator classes say so,
 * since deduplication must know it: not so for numeric (1.0 = 1.00), citext,
 * text in a nondeterministic collation.  Built-in types only: pg_dump's script
 * finds an "=" of others not on its empty search path.
 *
 * Some minor versions claim it for char(n), where trailing blanks do not count,
 * and for interval, where a day has 24 hours; and the condition outlives them.
 */
static bool
equal_is_same(Form_pg_attribute attribute)
{
	Oid			base = getBaseType(attribute->atttypid);
	TypeCacheEntry *type = lookup_type_cache(base, TYPECACHE_EQ_OPR | TYPECACHE_BTREE_OPFAMILY);
	Oid			procedure;

	if (base == BPCHAROID || base == INTERVALOID)
		return false;
	if (!OidIsValid(type->eq_opr) || type->eq_opr >= FirstGenbkiObjectId ||
		!OidIsValid(type->btree_opf))
		return false;
	procedure = get_opfamily_proc(type->btree_opf, type->btree_opintype,
								  type->btree_opintype, BTEQUALIMAGE_PROC);
	return OidIsValid(procedure) &&
		DatumGetBool(OidFunctionCall1Coll(procedure, attribute->attcollation,
										  ObjectIdGetDatum(type->btree_opintype)));
}

/*
 * A condition on an update: one of the counted columns has other bytes.  The
 * trigger looks again, but is not even queued for all other updates, which
 * makes them nearly as cheap as without it.  Where "=" is enough, it is used, since
 * making two ROWs costs ten times as much.  ROWs are compared by a function: the
 * parser takes an operator between them for one on each column, also when it reads
 * pg_dump's script.
 */
static Node *
counted_changes(const Target *target)
{
	Relation	rel = table_open(target->relid, NoLock);
	EvpubCapture *capture = evpub_compile_options(target->options, rel, target->relid);
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *changes = NIL;
	List	   *old = NIL;
	List	   *new = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!capture->counts[i] || attribute->attisdropped)
			continue;
		if (equal_is_same(attribute))
			changes = lappend(changes,
							  makeA_Expr(AEXPR_DISTINCT,
										 list_make2(makeString("pg_catalog"), makeString("=")),
										 column_of("old", attribute),
										 column_of("new", attribute), -1));
		else
		{
			old = lappend(old, column_of("old", attribute));
			new = lappend(new, column_of("new", attribute));
		}
	}
	if (old != NIL)
		changes = lappend(changes,
						  makeFuncCall(SystemFuncName("record_image_ne"),
									   list_make2(row_of(old), row_of(new)),
									   COERCE_EXPLICIT_CALL, -1));
	/* CREATE TRIGGER refuses a table that somebody has open */
	table_close(rel, NoLock);
	return list_length(changes) == 1 ? linitial(changes) :
		(Node *) makeBoolExpr(OR_EXPR, changes, -1);
}

static void
create_plain(const Target *target)
{
	const EvpubOptions *options = target->options;
	int16		events = 0;

	if (target->is_partitioned && captures_rows(options))
		events |= TRIGGER_TYPE_INSERT | TRIGGER_TYPE_DELETE;
	if (evpub_options_operation(options, "insert"))
		events |= TRIGGER_TYPE_INSERT;
	if (evpub_options_operation(options, "update"))
	{
		if (options->value[EVPUB_OPTION_UPDATE_COLUMNS] == NULL)
			events |= TRIGGER_TYPE_UPDATE;
		else
			create_trigger(target, EVPUB_UPDATE_TRIGGER, TRIGGER_TYPE_AFTER,
						   TRIGGER_TYPE_UPDATE, true, options, counted_changes(target));
	}
	if (evpub_options_operation(options, "delete"))
		events |= TRIGGER_TYPE_DELETE;
	if (events != 0)
		create_trigger(target, TRIGGER_NAME, TRIGGER_TYPE_AFTER, events, true,
					   options, NULL);
}

void
evpub_triggers_create(Oid relid, const EvpubOptions *options)
{
	Target		target;

	target.relid = relid;
	target.schema = get_namespace_name(get_rel_namespace(relid));
	target.table = get_rel_name(relid);
	target.options = options;
	target.query = "evpub.capture_table";
	target.on_replica = evpub_options_chosen(options, EVPUB_OPTION_ON_REPLICA, "true");
	target.is_partitioned = get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE;
	if (options->value[EVPUB_OPTION_FILTER] != NULL)
		create_filtered(&target);
	else
		create_plain(&target);
	if (evpub_options_operation(options, "truncate") &&
		!evpub_options_chosen(options, EVPUB_OPTION_ON_TRUNCATE, "ignore"))
		create_trigger(&target, TRIGGER_NAME "_truncate", TRIGGER_TYPE_BEFORE,
					   TRIGGER_TYPE_TRUNCATE, false, options, NULL);
}
