/*
 * filtertext.c
 *		The text of a filter, and the expression that it is.
 *
 * A filter is a condition on {row}, which stands for the new row, the old one, or
 * the alias of a query.  It goes through the parser as one expression node, so
 * that nothing else can hide in the text.
 */
#include "postgres.h"

#include "catalog/heap.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"

#include "admin/filtertext.h"

/* A filter is parsed between these. */
#define FILTER_BEGIN "/* evpub.capture_table */ SELECT ("
/* a comment at its end must not swallow what follows */
#define FILTER_END "\n)"

static void
refuse_filter(const char *filter)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("filter \"%s\" is not one expression on {row}", filter),
			 errhint("Write a condition on {row}, such as '{row}.deleted_at IS NULL'.")));
}

char *
evpub_filtertext_query(const char *text)
{
	return psprintf(FILTER_BEGIN "%s" FILTER_END, text);
}

char *
evpub_filtertext_replace(const char *filter, const char *row)
{
	StringInfoData text;

	initStringInfo(&text);
	while (*filter)
	{
		if (strncmp(filter, "{row}", 5) == 0)
		{
			appendStringInfoString(&text, row);
			filter += 5;
		}
		else
			appendStringInfoChar(&text, *filter++);
	}
	return text.data;
}

/* Of an error: its position in the filter, not in what the caller sent. */
static void
correct_position(void *filter)
{
	int			position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	internalerrposition(Max(position - (int) strlen(FILTER_BEGIN), 1));
	internalerrquery(filter);
}

void
evpub_filtertext_push_context(ErrorContextCallback *callback, char *filter)
{
	callback->callback = correct_position;
	callback->arg = filter;
	callback->previous = error_context_stack;
	error_context_stack = callback;
}

/* Has the statement nothing but one expression? */
static Node *
only_expression(Node *node)
{
	SelectStmt *select = (SelectStmt *) node;
	ResTarget  *target;

	if (!IsA(node, SelectStmt) || list_length(select->targetList) != 1 ||
		select->distinctClause || select->intoClause || select->fromClause ||
		select->whereClause || select->groupClause || select->havingClause ||
		select->windowClause || select->valuesLists || select->sortClause ||
		select->limitOffset || select->limitCount || select->lockingClause ||
		select->withClause || select->op != SETOP_NONE)
		return NULL;
	target = linitial(select->targetList);
	if (target->name != NULL || target->indirection != NIL ||
		IsA(target->val, SetToDefault))
		return NULL;
	return target->val;
}

Node *
evpub_filtertext_parse(const char *filter, const char *row)
{
	char	   *text = evpub_filtertext_replace(filter, row);
	ErrorContextCallback callback;
	List	   *statements;
	Node	   *expression = NULL;

	evpub_filtertext_push_context(&callback, text);
	statements = raw_parser(evpub_filtertext_query(text), RAW_PARSE_DEFAULT);
	error_context_stack = callback.previous;
	if (list_length(statements) == 1)
		expression = only_expression(linitial_node(RawStmt, statements)->stmt);
	if (expression == NULL)
		refuse_filter(filter);
	return expression;
}

static bool
check_reference(Node *node, void *filter)
{
	ColumnRef  *reference = (ColumnRef *) node;

	if (node == NULL)
		return false;
	if (!IsA(node, ColumnRef))
		return raw_expression_tree_walker(node, check_reference, filter);
	if (IsA(llast(reference->fields), String) &&
		SystemAttributeByName(strVal(llast(reference->fields))) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("filter \"%s\" must not look at system column \"%s\"",
						(char *) filter, strVal(llast(reference->fields))),
				 errdetail("Rows that are looked up later have other ones."),
				 errhint("Write the filter on columns of the table.")));
	return false;
}

void
evpub_filtertext_check(const char *filter)
{
	if (strstr(filter, "{row}") == NULL)
		refuse_filter(filter);
	(void) check_reference(evpub_filtertext_parse(filter, "NEW"), (void *) filter);
}
