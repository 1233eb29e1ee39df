/*
 * rules.c
 *		What the rules of evpub.capture_schemas() need besides SQL.
 *
 * A rule is applied by an event trigger, in the statement of whoever makes a
 * table, and with the rights of the extension's owner.  So nothing may run here
 * that belongs to the owner of the table.  A condition of a trigger is parsed
 * and not evaluated; but parsing converts literals, '{staff}' to the type of the
 * column that it is compared with, and if that is an array of a domain, the
 * domain's checks run.  Hence check_rule_filter().
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "tcop/deparse_utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "admin/filtertext.h"
#include "admin/result.h"
#include "admin/tables.h"
#include "admin/triggers.h"
#include "capture/headers.h"
#include "capture/optionjson.h"
#include "capture/template.h"
#include "compat.h"
#include "names.h"

PG_FUNCTION_INFO_V1(evpub_rules);
PG_FUNCTION_INFO_V1(evpub_made_tables);
PG_FUNCTION_INFO_V1(evpub_capture_schemas);
PG_FUNCTION_INFO_V1(evpub_needs_match);
PG_FUNCTION_INFO_V1(evpub_capture_table_by_rule);

/* A row of evpub.schema_rules as it is, no column of which may be null. */
static void
put_rule(EvpubResult *row, const TupleTableSlot *slot)
{
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(slot->tts_tupleDescriptor, i);

		if (!column->attisdropped)
			evpub_result_set(row, NameStr(column->attname), column->atttypid,
							 slot->tts_values[i]);
	}
	evpub_result_put(row);
}

/*
 * evpub_internal.rules(): the rules that are committed now, and our own.  A
 * transaction whose snapshot is older would not see one that another session has
 * made since, and its tables would never be captured.
 */
Datum
evpub_rules(PG_FUNCTION_ARGS)
{
	EvpubResult *row = evpub_result_rows(fcinfo);
	Oid			schema = get_namespace_oid(EVPUB_NAME, false);
	Relation	rel;
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;

	rel = table_open(get_relname_relid("schema_rules", schema), AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(rel, snapshot, 0, NULL);
	slot = table_slot_create(rel, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		slot_getallattrs(slot);
		put_rule(row, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return (Datum) 0;
}

/* ---- which tables a command may have made to match ---- */

/* A relation, or the table of an index. */
static List *
add_table(List *tables, Oid relid)
{
	char		kind = get_rel_relkind(relid);

	if (kind == RELKIND_INDEX || kind == RELKIND_PARTITIONED_INDEX)
		relid = IndexGetRelation(relid, true);
	return OidIsValid(relid) ? lappend_oid(tables, relid) : tables;
}

static bool
renames_relation(const RenameStmt *rename)
{
	switch (rename->renameType)
	{
		case OBJECT_TABLE:
		case OBJECT_INDEX:		/* ALTER INDEX and so on take a table, too */
		case OBJECT_VIEW:
		case OBJECT_MATVIEW:
		case OBJECT_SEQUENCE:
		case OBJECT_FOREIGN_TABLE:
			return true;
		default:
			return false;
	}
}

static List *
made_by_simple(const CollectedCommand *command)
{
	ObjectAddress address = command->d.simple.address;

	if (address.classId != RelationRelationId)
		return NIL;
	switch (nodeTag(command->parsetree))
	{
		case T_CreateStmt:
		case T_CreateTableAsStmt:
		case T_IndexStmt:
		case T_AlterObjectSchemaStmt:
			return add_table(NIL, address.objectId);
		case T_RenameStmt:
			if (renames_relation((RenameStmt *) command->parsetree))
				return add_table(NIL, address.objectId);
			return NIL;
		default:
			return NIL;
	}
}

static List *
made_by_alter(const CollectedCommand *command)
{
	List	   *tables = NIL;
	ListCell   *cell;

	foreach(cell, command->d.alterTable.subcmds)
	{
		CollectedATSubcmd *part = lfirst(cell);
		RangeVar   *detached;

		switch (castNode(AlterTableCmd, part->parsetree)->subtype)
		{
			case AT_AddIndex:
			case AT_AddIndexConstraint:
			case AT_AddConstraint:
			case AT_SetNotNull:
			case AT_SetLogged:
			case AT_AttachPartition:	/* also of indexes */
				tables = add_table(tables, command->d.alterTable.objectId);
				break;
			case AT_DetachPartition:
			case AT_DetachPartitionFinalize:
				/* the command is collected without what it detached */
				detached = ((PartitionCmd *) ((AlterTableCmd *) part->parsetree)->def)->name;
				tables = add_table(tables, RangeVarGetRelid(detached, NoLock, true));
				break;
			default:
				break;
		}
	}
	return tables;
}

/*
 * evpub_internal.made_tables(command): tables that this command of an event trigger
 * has made, or given what a rule looks at: a name, a schema, a key.  Others are left
 * alone, so that a table that was released stays so when its columns are altered.
 */
Datum
evpub_made_tables(PG_FUNCTION_ARGS)
{
	CollectedCommand *command = (CollectedCommand *) PG_GETARG_POINTER(0);
	List	   *tables = NIL;
	Datum	   *elements;
	int			count = 0;
	ListCell   *cell;

	if (command->type == SCT_Simple)
		tables = made_by_simple(command);
	else if (command->type == SCT_AlterTable)
		tables = made_by_alter(command);
	elements = palloc(Max(list_length(tables), 1) * sizeof(Datum));
	foreach(cell, tables)
		elements[count++] = ObjectIdGetDatum(lfirst_oid(cell));
	PG_RETURN_POINTER(construct_array(elements, count, OIDOID, sizeof(Oid), true,
									  TYPALIGN_INT));
}

/* ---- options without a table ---- */

static void
check_template(const char *source, EvpubTemplateUse use, const char *option)
{
	char	   *detail;

	if (source != NULL && !evpub_template_check(source, use, &detail))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid template for %s: \"%s\"", option, source),
				 errdetail_internal("%s", detail),
				 errhint("Correct the template.")));
}

/*
 * What can be wrong with options whatever the table.  It is found when a rule is
 * made, and not by the customer who makes the first table.  {match} may be any text.
 */
static void
check_options(EvpubOptions options)
{
	EvpubHeader *headers;
	int			count = 0;

	(void) evpub_options_replace(&options, "{match}", "x");
	evpub_options_check(&options);
	check_template(options.value[EVPUB_OPTION_TOPIC], EVPUB_TEMPLATE_TOPIC, "topic");
	check_template(options.value[EVPUB_OPTION_TENANT], EVPUB_TEMPLATE_TENANT, "tenant");
	check_template(options.value[EVPUB_OPTION_KEY], EVPUB_TEMPLATE_KEY, "key");
	check_template(options.value[EVPUB_OPTION_TYPE], EVPUB_TEMPLATE_TYPE, "type");
	if (options.value[EVPUB_OPTION_HEADERS] != NULL)
		count = evpub_headers_parse(DirectFunctionCall1(jsonb_in,
														CStringGetDatum(options.value[EVPUB_OPTION_HEADERS])),
									&headers);
	for (int i = 0; i < count; i++)
		check_template(headers[i].value, EVPUB_TEMPLATE_KEY, "headers");
	if (options.value[EVPUB_OPTION_TENANT] == NULL &&
		options.value[EVPUB_OPTION_TENANT_COLUMN] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no tenant is given"),
				 errdetail("Every event names the tenant that it belongs to."),
				 errhint("Give tenant_column, or tenant as a constant or a template such as '{match}'.")));
	if (options.value[EVPUB_OPTION_FILTER] != NULL)
		evpub_filtertext_check(options.value[EVPUB_OPTION_FILTER]);
}

/*
 * evpub.capture_schemas(pattern, tables, the options in their order): what the
 * options need is done here, and the rest by evpub_internal.capture_schemas().
 */
Datum
evpub_capture_schemas(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {TEXTOID, NAMEARRAYOID, JSONBOID};
	EvpubOptions options;
	Oid			function;

	for (int i = 0; i < 2; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("pattern and tables must not be null"),
					 errhint("Give a regular expression on the name of the schema, and the names of tables.")));
	}
	evpub_options_of_arguments(&options, fcinfo, 2);
	check_options(options);
	function = LookupFuncName(list_make2(makeString(EVPUB_INTERNAL_SCHEMA),
										 makeString("capture_schemas")),
							  lengthof(types), types, false);
	return OidFunctionCall3(function, PG_GETARG_DATUM(0), PG_GETARG_DATUM(1),
							JsonbPGetDatum(evpub_optionjson_values(&options)));
}

/* ---- whose code parsing a filter runs ---- */

/*
 * Does converting text to this type run nothing but input functions, which only
 * superusers make?  A domain's checks run when it is a part of another type; those
 * of a domain by itself wait until the expression is evaluated.
 */
static bool
input_is_safe(Oid type)
{
	Oid			part;

	type = getBaseType(type);
	switch (get_typtype(type))
	{
		case TYPTYPE_BASE:
			part = get_element_type(type);
			break;
		case TYPTYPE_RANGE:
			part = get_range_subtype(type);
			break;
		case TYPTYPE_MULTIRANGE:
			part = get_range_subtype(get_multirange_range(type));
			break;
		case TYPTYPE_ENUM:
			return true;
		default:
			return false;		/* a composite may be given other columns */
	}
	return !OidIsValid(part) ||
		(get_typtype(part) != TYPTYPE_DOMAIN && input_is_safe(part));
}

static void
check_column(Relation rel, Form_pg_attribute attribute)
{
	if (input_is_safe(attribute->atttypid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("column \"%s\" of table \"%s\" cannot stand in the filter of a rule",
					NameStr(attribute->attname), RelationGetRelationName(rel)),
			 errdetail("Reading a literal of type %s may run functions of the table's owner, and a rule has the rights of the extension's owner.",
					   format_type_be(attribute->atttypid)),
			 errhint("Capture the table with evpub.capture_table(), or make the column of another type.")));
}

static bool
check_references(Node *node, void *arg)
{
	Relation	rel = arg;
	TupleDesc	desc = RelationGetDescr(rel);
	ColumnRef  *reference = (ColumnRef *) node;
	const char *column = NULL;

	if (node == NULL)
		return false;
	if (!IsA(node, ColumnRef))
		return raw_expression_tree_walker(node, check_references, arg);

	/* "new" alone and "new.*" are all columns; so may be what else it is */
	if (list_length(reference->fields) > 1 && IsA(lsecond(reference->fields), String))
		column = strVal(lsecond(reference->fields));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped &&
			(column == NULL || strcmp(NameStr(attribute->attname), column) == 0))
			check_column(rel, attribute);
	}
	return false;
}

/* ERROR if the filter must not be parsed here. */
static void
check_rule_filter(Oid relid, const char *filter)
{
	/* locked as by CREATE TRIGGER, so that no column gets another type */
	Relation	rel = table_open(relid, ShareRowExclusiveLock);

	check_references(evpub_filtertext_parse(filter, "new"), rel);
	table_close(rel, NoLock);
}

/* evpub_internal.needs_match(options): does {match} stand in a template? */
Datum
evpub_needs_match(PG_FUNCTION_ARGS)
{
	EvpubOptions options;

	evpub_optionjson_read(&options, PG_GETARG_JSONB_P(0));
	PG_RETURN_BOOL(evpub_options_replace(&options, "{match}", NULL));
}

/*
 * evpub_internal.capture_table(rel, options, match): capture a table as a rule says,
 * with "match" for {match}, if it is not NULL.
 */
Datum
evpub_capture_table_by_rule(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	EvpubOptions options;

	evpub_optionjson_read(&options, PG_GETARG_JSONB_P(1));
	if (!PG_ARGISNULL(2))
	{
		/* braces in a template are written twice */
		StringInfoData match;

		initStringInfo(&match);
		for (char *p = text_to_cstring(PG_GETARG_TEXT_PP(2)); *p != '\0'; p++)
		{
			if (*p == '{' || *p == '}')
				appendStringInfoChar(&match, *p);
			appendStringInfoChar(&match, *p);
		}
		(void) evpub_options_replace(&options, "{match}", match.data);
	}
	if (options.value[EVPUB_OPTION_FILTER] != NULL)
		check_rule_filter(relid, options.value[EVPUB_OPTION_FILTER]);
	evpub_capture_relation(relid, &options);
	PG_RETURN_VOID();
}
