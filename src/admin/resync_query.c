/*
 * resync_query.c
 *		The queries of evpub.resync().
 *
 * They run with the caller's rights and search_path, because the filter does;
 * functions of the table's owner that planning them calls run with his (guard.c).
 * All else in them is qualified.  Operators are those of the default B-tree
 * operator class of a column's type, as in ORDER BY: the one that search_path
 * finds might order otherwise (that of text instead of citext's), and pages
 * would leave out rows.
 *
 * Why rows are locked: a row is read, its event is made, and the event's place
 * among others is that of our commit.  Somebody who deletes the row in between
 * could commit before us, and "resynced" would come after "deleted": consumers
 * would keep the row for ever.  With the lock he waits for our commit, and his
 * event comes later; and if he was first, we wait for his commit and find no
 * row.  FOR KEY SHARE holds back those who delete the row or change its key,
 * which is enough where nothing but the key is published.  Where an event has
 * values, or where a column outside of the key decides whether and to whom a row
 * is published (filter, tenant), any update may make what we have read wrong:
 * FOR SHARE.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "catalog/pg_operator.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "admin/filtertext.h"
#include "admin/guard.h"
#include "admin/resync.h"
#include "admin/tablename.h"
#include "admin/triggers.h"

#define ROW EVPUB_RESYNC_ROW

static Form_pg_attribute
column_of(const EvpubResyncTable *table, AttrNumber number)
{
	return TupleDescAttr(RelationGetDescr(table->rel), number - 1);
}

static void
append_column(StringInfo text, const EvpubResyncTable *table, AttrNumber number)
{
	appendStringInfo(text, ROW ".%s",
					 quote_identifier(NameStr(column_of(table, number)->attname)));
}

/*
 * A column as an operand.  A domain is cast to its base type: otherwise an
 * operator would be taken that somebody has made for the domain in the schema
 * where the operator of the base type is.
 */
static void
append_operand(StringInfo text, const EvpubResyncTable *table, AttrNumber number)
{
	Oid			type = column_of(table, number)->atttypid;

	append_column(text, table, number);
	if (getBaseType(type) != type)
		appendStringInfo(text, "::%s",
						 format_type_extended(getBaseType(type), -1,
											  FORMAT_TYPE_TYPEMOD_GIVEN |
											  FORMAT_TYPE_FORCE_QUALIFY));
}

/* A column of the key, by its place there. */
static void
append_key_column(StringInfo text, const EvpubResyncTable *table, int i)
{
	append_column(text, table, table->capture->key_column[i].number);
}

static void
append_key_operand(StringInfo text, const EvpubResyncTable *table, int i)
{
	append_operand(text, table, table->capture->key_column[i].number);
}

static void
append_key(StringInfo text, const EvpubResyncTable *table)
{
	for (int i = 0; i < table->capture->key_columns; i++)
	{
		appendStringInfoString(text, i > 0 ? ", " : "");
		append_key_column(text, table, i);
	}
}

/* ---- operators ---- */

static char *
operator_name(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

static char *
operator_of(const EvpubResyncTable *table, AttrNumber number, int strategy)
{
	Form_pg_attribute attribute = column_of(table, number);
	TypeCacheEntry *type = lookup_type_cache(attribute->atttypid,
											 TYPECACHE_BTREE_OPFAMILY);
	Oid			operator = InvalidOid;

	if (OidIsValid(type->btree_opf))
		operator = get_opfamily_member(type->btree_opf, type->btree_opintype,
									   type->btree_opintype, strategy);
	if (!OidIsValid(operator))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("values of type %s have no order",
						format_type_be(attribute->atttypid)),
				 errdetail("Column \"%s\" of table \"%s\" has this type, and rows are read in the order of their keys.",
						   NameStr(attribute->attname),
						   RelationGetRelationName(table->rel)),
				 errhint("Capture the table with other key_columns.")));
	return operator_name(operator);
}

static char *
key_operator(const EvpubResyncTable *table, int i, int strategy)
{
	return operator_of(table, table->capture->key_column[i].number, strategy);
}

void
evpub_resync_check_key(const EvpubResyncTable *table)
{
	for (int i = 0; i < table->capture->key_columns; i++)
		(void) key_operator(table, i, BTGreaterStrategyNumber);
}

/* ---- parameters ---- */

static void
begin_query(EvpubResyncQuery *query, const EvpubResyncTable *table)
{
	int			most = 1 + 2 * table->capture->key_columns;

	initStringInfo(&query->text);
	query->nargs = 0;
	query->types = palloc(most * sizeof(Oid));
	query->values = palloc(most * sizeof(Datum));
}

/* Returns the number by which the query names it. */
static int
add_parameter(EvpubResyncQuery *query, const EvpubResyncTable *table,
			  AttrNumber number, Datum value)
{
	query->types[query->nargs] = getBaseType(column_of(table, number)->atttypid);
	query->values[query->nargs] = value;
	return ++query->nargs;
}

/* ---- conditions ---- */

/*
 * The key, compared with one whose parameters begin at "first": a comparison
 * of rows, which an index can serve.
 */
static void
append_row_comparison(StringInfo text, const EvpubResyncTable *table,
					  int strategy, int first)
{
	appendStringInfoString(text, " AND ROW(");
	for (int i = 0; i < table->capture->key_columns; i++)
	{
		appendStringInfoString(text, i > 0 ? ", " : "");
		append_key_operand(text, table, i);
	}
	appendStringInfo(text, ") %s ROW(", key_operator(table, 0, strategy));
	for (int i = 0; i < table->capture->key_columns; i++)
		appendStringInfo(text, "%s$%d", i > 0 ? ", " : "", first + i);
	appendStringInfoChar(text, ')');
}

/*
 * The same where the operators have no name in common.  An index serves only
 * the comparison of the first column.
 */
static void
append_columns_comparison(StringInfo text, const EvpubResyncTable *table,
						  int strategy, int first)
{
	bool		greater = (strategy == BTGreaterStrategyNumber);
	int			last = table->capture->key_columns - 1;

	appendStringInfoString(text, " AND ");
	append_key_operand(text, table, 0);
	appendStringInfo(text, " %s $%d AND (",
					 key_operator(table, 0, greater ? BTGreaterEqualStrategyNumber :
								  BTLessEqualStrategyNumber), first);
	for (int i = 0; i < last; i++)
	{
		append_key_operand(text, table, i);
		appendStringInfo(text, " %s $%d OR (",
						 key_operator(table, i, greater ? BTGreaterStrategyNumber :
									  BTLessStrategyNumber), first + i);
		append_key_operand(text, table, i);
		appendStringInfo(text, " %s $%d AND (",
						 key_operator(table, i, BTEqualStrategyNumber), first + i);
	}
	append_key_operand(text, table, last);
	appendStringInfo(text, " %s $%d", key_operator(table, last, strategy), first + last);
	for (int i = 0; i < last; i++)
		appendStringInfoString(text, "))");
	appendStringInfoChar(text, ')');
}

/* Append "the key is after / not after this one". */
static void
append_bound(EvpubResyncQuery *query, const EvpubResyncTable *table, int strategy,
			 EvpubResyncKey key)
{
	EvpubCapture *capture = table->capture;
	int			first = query->nargs + 1;
	bool		same = true;

	if (key == NULL)
		return;
	for (int i = 0; i < capture->key_columns; i++)
	{
		add_parameter(query, table, capture->key_column[i].number, key[i]);
		if (strcmp(key_operator(table, i, strategy), key_operator(table, 0, strategy)) != 0)
			same = false;
	}
	if (same)
		append_row_comparison(&query->text, table, strategy, first);
	else
		append_columns_comparison(&query->text, table, strategy, first);
}

/* Append FROM and the conditions that were asked for. */
static void
append_source(EvpubResyncQuery *query, const EvpubResyncTable *table)
{
	Relation	rel = table->rel;
	AttrNumber	tenant = table->capture->tenant_column.number;

	/* tables that inherit from this one have captures of their own */
	appendStringInfo(&query->text, " FROM %s%s AS " ROW " WHERE true",
					 rel->rd_rel->relkind == RELKIND_RELATION ? "ONLY " : "",
					 evpub_qualified_name(RelationGetRelid(rel)));
	if (table->tenant_by_value)
	{
		appendStringInfoString(&query->text, " AND ");
		append_operand(&query->text, table, tenant);
		appendStringInfo(&query->text, " %s $%d",
						 operator_of(table, tenant, BTEqualStrategyNumber),
						 add_parameter(query, table, tenant, table->tenant_value));
	}

	/* it was parsed between such parentheses, as one expression */
	if (table->resync->filter != NULL)
		appendStringInfo(&query->text, " AND ((%s\n))",
						 evpub_filtertext_replace(table->resync->filter, ROW));
}

/* Key columns by their places in the result, the greatest key first. */
static void
append_places_descending(StringInfo text, const EvpubResyncTable *table)
{
	for (int i = 0; i < table->capture->key_columns; i++)
		appendStringInfo(text, "%s %d DESC", i > 0 ? "," : "", i + 1);
}

/* ---- the queries ---- */

void
evpub_resync_query_tenants(EvpubResyncQuery *query, const EvpubResyncTable *table)
{
	begin_query(query, table);
	appendStringInfoString(&query->text, "SELECT ");
	append_column(&query->text, table, table->capture->tenant_column.number);
	append_source(query, table);
}

void
evpub_resync_query_last(EvpubResyncQuery *query, const EvpubResyncTable *table)
{
	begin_query(query, table);
	appendStringInfoString(&query->text, "SELECT ");
	append_key(&query->text, table);
	append_source(query, table);
	appendStringInfoString(&query->text, " ORDER BY");
	append_places_descending(&query->text, table);
	appendStringInfoString(&query->text, " LIMIT 1");
}

void
evpub_resync_query_end(EvpubResyncQuery *query, const EvpubResyncTable *table,
					   EvpubResyncKey after, EvpubResyncKey last, int size)
{
	begin_query(query, table);
	appendStringInfoString(&query->text, "SELECT * FROM (SELECT ");
	append_key(&query->text, table);
	append_source(query, table);
	append_bound(query, table, BTGreaterStrategyNumber, after);
	append_bound(query, table, BTLessEqualStrategyNumber, last);
	appendStringInfoString(&query->text, " ORDER BY ");
	append_key(&query->text, table);
	appendStringInfo(&query->text, " LIMIT %d) AS page ORDER BY", size);
	append_places_descending(&query->text, table);
	appendStringInfoString(&query->text, " LIMIT 1");
}

/* Does a change of the column need the row's strongest lock? */
static bool
is_locked_with_key(Bitmapset *key, AttrNumber number)
{
	return bms_is_member(number - FirstLowInvalidHeapAttributeNumber, key);
}

/* Can nothing but a change of the key make a row's event wrong? */
static bool
key_is_all(const EvpubResyncTable *table)
{
	EvpubCapture *capture = table->capture;
	Bitmapset  *key = RelationGetIndexAttrBitmap(table->rel, INDEX_ATTR_BITMAP_KEY);

	if (table->condition != NULL || capture->data_columns > 0)
		return false;
	if (capture->has_tenant_column &&
		!is_locked_with_key(key, capture->tenant_column.number))
		return false;
	for (int i = 0; i < capture->key_columns; i++)
	{
		if (!is_locked_with_key(key, capture->key_column[i].number))
			return false;
	}
	return true;
}

/* The columns from which an event is made. */
static AttrNumber *
needed_columns(const EvpubResyncTable *table)
{
	EvpubCapture *capture = table->capture;
	int			natts = RelationGetDescr(table->rel)->natts;
	bool	   *needed = palloc0((natts + 1) * sizeof(bool));
	AttrNumber *columns = palloc0((natts + 1) * sizeof(AttrNumber));
	int			count = 0;

	if (capture->has_tenant_column)
		needed[capture->tenant_column.number] = true;
	for (int i = 0; i < capture->key_columns; i++)
		needed[capture->key_column[i].number] = true;
	for (int i = 0; i < capture->data_columns; i++)
		needed[capture->data_column[i].number] = true;
	for (AttrNumber number = 1; number <= natts; number++)
	{
		/* the condition may look at any */
		if (!column_of(table, number)->attisdropped &&
			(needed[number] || table->condition != NULL))
			columns[count++] = number;
	}
	return columns;
}

void
evpub_resync_query_rows(EvpubResyncQuery *query, const EvpubResyncTable *table,
						EvpubResyncKey after, EvpubResyncKey end, bool wait,
						AttrNumber **columns)
{
	begin_query(query, table);
	*columns = needed_columns(table);
	appendStringInfoString(&query->text, "SELECT ");
	for (int i = 0; (*columns)[i] != 0; i++)
	{
		appendStringInfoString(&query->text, i > 0 ? ", " : "");
		append_column(&query->text, table, (*columns)[i]);
	}
	append_source(query, table);
	append_bound(query, table, BTGreaterStrategyNumber, after);
	append_bound(query, table, BTLessEqualStrategyNumber, end);
	appendStringInfoString(&query->text, " ORDER BY ");
	append_key(&query->text, table);
	appendStringInfo(&query->text, " FOR %s OF " ROW "%s",
					 key_is_all(table) ? "KEY SHARE" : "SHARE", wait ? "" : " NOWAIT");
}

/* ---- running them ---- */

typedef struct OpenQuery
{
	const EvpubResyncQuery *query;
	SPIPlanPtr	plan;
	EvpubResyncCursor *cursor;
} OpenQuery;

typedef struct FetchRows
{
	Portal		portal;
	int			count;
} FetchRows;

static void
analyze(void *arg)
{
	OpenQuery  *open = arg;

	open->plan = SPI_prepare_cursor(open->query->text.data, open->query->nargs,
									open->query->types, CURSOR_OPT_NO_SCROLL);
	if (open->plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", open->query->text.data,
			 SPI_result_code_string(SPI_result));
}

/* Plans it, too: a plan that is not saved is made for its parameters. */
static void
start(void *arg)
{
	OpenQuery  *open = arg;

	open->cursor->portal = SPI_cursor_open(NULL, open->plan, open->query->values,
										   NULL, false);
}

static void
fetch(void *arg)
{
	FetchRows  *fetch = arg;

	SPI_cursor_fetch(fetch->portal, true, fetch->count);
}

void
evpub_resync_open_query(EvpubResyncCursor *cursor, const EvpubResyncTable *table,
						const EvpubResyncQuery *query)
{
	OpenQuery	open = {query, NULL, cursor};
	ListCell   *cell;

	cursor->owner = table->rel->rd_rel->relowner;
	cursor->functions = NIL;
	evpub_guarded(cursor->owner, NIL, analyze, &open);
	foreach(cell, SPI_plan_get_plan_sources(open.plan))
		cursor->functions = evpub_functions_of(((CachedPlanSource *) lfirst(cell))->query_list,
											   cursor->functions);
	evpub_guarded(cursor->owner, cursor->functions, start, &open);
	/* the portal has a copy of what it needs */
	SPI_freeplan(open.plan);
}

SPITupleTable *
evpub_resync_fetch(const EvpubResyncCursor *cursor, int count)
{
	FetchRows	rows = {cursor->portal, count};

	evpub_guarded(cursor->owner, cursor->functions, fetch, &rows);
	return SPI_tuptable;
}

void
evpub_resync_close_query(const EvpubResyncCursor *cursor)
{
	SPI_cursor_close(cursor->portal);
	list_free(cursor->functions);
}
