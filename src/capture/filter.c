/*
 * filter.c
 *		Is a row inside the filter of its captured table?
 *
 * The executor decides that for the rows that a statement changes: the filter is
 * in the WHEN conditions of the triggers.  But an event may be one of another row
 * than the one that its statement changed (twin.c).  For that row the filter has
 * not been evaluated yet, so it is done here.
 *
 * What is evaluated is the condition that the trigger has, never the text of the
 * option.  The names in the condition were resolved when the table was captured,
 * and it follows renamed columns, also to a partition, whose columns may stand in
 * another order.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteManip.h"

#include "capture/filter.h"
#include "compat.h"

/*
 * The part of a condition that is the filter on one row.  The condition of an
 * update has two, on OLD and on NEW, in this order (crossing() in triggers.c).  A
 * row that is published must meet that on NEW, or that on OLD where the row has
 * left.  A trigger made by hand may have any condition: then the whole of it is
 * evaluated, with one row as both OLD and NEW.
 */
static Node *
filter_on_row(const EvpubCapture *capture, const Trigger *trigger, Node *condition)
{
	BoolExpr   *both = (BoolExpr *) condition;

	if (!TRIGGER_FOR_UPDATE(trigger->tgtype) || !IsA(condition, BoolExpr) ||
		both->boolop != AND_EXPR || list_length(both->args) != 2)
		return condition;
	return capture->leaves ? linitial(both->args) : lsecond(both->args);
}

void
evpub_filter_check_columns(const char *table, Node *condition)
{
	Bitmapset  *columns = NULL;
	int			first;

	pull_varattnos(condition, PRS2_OLD_VARNO, &columns);
	pull_varattnos(condition, PRS2_NEW_VARNO, &columns);
	first = bms_next_member(columns, -1);
	if (first >= 0 && first + FirstLowInvalidHeapAttributeNumber < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the capture of table \"%s\" cannot have a condition on system columns",
						table),
				 errdetail("Rows that are looked up later have other ones."),
				 errhint("Write the condition on columns of the table.")));
}

void
evpub_filter_compile(EvpubCapture *capture, const Trigger *trigger, Relation rel)
{
	Node	   *condition;

	if (!capture->has_filter || capture->moves || TRIGGER_FOR_TRUNCATE(trigger->tgtype))
		return;
	if (trigger->tgqual == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\" of table \"%s\" has a filter but no condition",
						trigger->tgname, RelationGetRelationName(rel)),
				 errdetail("Without WHEN it would publish rows outside the filter, too."),
				 errhint("Use evpub.capture_table(), which makes the triggers of a filter.")));
	condition = stringToNode(trigger->tgqual);
	evpub_filter_check_columns(RelationGetRelationName(rel), condition);
	condition = filter_on_row(capture, trigger, condition);
	condition = evpub_expand_generated(condition, rel, PRS2_OLD_VARNO);
	condition = evpub_expand_generated(condition, rel, PRS2_NEW_VARNO);
	ChangeVarNodes(condition, PRS2_OLD_VARNO, OUTER_VAR, 0);
	ChangeVarNodes(condition, PRS2_NEW_VARNO, OUTER_VAR, 0);
	capture->filter = (Expr *) condition;
}

bool
evpub_filter_meets(const EvpubCapture *capture, TupleTableSlot *slot)
{
	EState	   *estate;
	ExprContext *econtext;
	ExprState  *state;
	Datum		met;
	bool		is_null;

	if (capture->filter == NULL)
		return true;
	estate = CreateExecutorState();
	econtext = GetPerTupleExprContext(estate);
	state = ExecPrepareExpr(capture->filter, estate);
	econtext->ecxt_outertuple = slot;
	met = ExecEvalExprSwitchContext(state, econtext, &is_null);
	FreeExecutorState(estate);
	return !is_null && DatumGetBool(met);
}
