/*
 * compile.c
 *		Compiling the options of a captured table for one relation.
 *
 * All that can be wrong with options is found here, by capture_table() at once
 * and by a trigger that was made by hand at its first row.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "capture/compile.h"
#include "capture/headers.h"
#include "capture/key.h"
#include "settings.h"

#define TEXT_SLICE(s) {s, sizeof(s) - 1}

const EvpubSlice evpub_op_names[EVPUB_OPS] = {
	[EVPUB_OP_CREATE] = TEXT_SLICE("create"),
	[EVPUB_OP_UPDATE] = TEXT_SLICE("update"),
	[EVPUB_OP_DELETE] = TEXT_SLICE("delete"),
	[EVPUB_OP_TRUNCATE] = TEXT_SLICE("truncate"),
	[EVPUB_OP_RESYNC] = TEXT_SLICE("resync"),
};
const EvpubSlice evpub_event_names[EVPUB_OPS] = {
	[EVPUB_OP_CREATE] = TEXT_SLICE("created"),
	[EVPUB_OP_UPDATE] = TEXT_SLICE("updated"),
	[EVPUB_OP_DELETE] = TEXT_SLICE("deleted"),
	[EVPUB_OP_TRUNCATE] = TEXT_SLICE("truncated"),
	[EVPUB_OP_RESYNC] = TEXT_SLICE("resynced"),
};

/* Placeholders that are the same for all rows of a trigger and operation. */
#define ROW_PLACEHOLDERS (EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_TENANT) | \
					EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_PK))

static EvpubSlice
keep_text(const char *text)
{
	char	   *copy = pstrdup(text);

	return evpub_utf8(copy, strlen(copy));
}

const char *
evpub_compiled_default_topic(void)
{
	return evpub_default_topic != NULL ? evpub_default_topic : "";
}

/*
 * Events of one row are put together only if they come from triggers with the
 * same options: others go elsewhere, or say other things.
 */
static void
compile_collapse(EvpubCapture *capture, const EvpubOptions *options)
{
	StringInfoData arguments;
	EvpubOptions same = *options;
	ListCell   *cell;

	capture->collapse = evpub_options_chosen(options, EVPUB_OPTION_COLLAPSE, "true");
	initStringInfo(&arguments);
	same.value[EVPUB_OPTION_AS] = NULL; /* the triggers of a filter belong together */
	foreach(cell, evpub_options_arguments(&same))
		appendStringInfo(&arguments, "%s,", strVal(lfirst(cell)));
	capture->identity = hash_bytes_extended((unsigned char *) arguments.data,
											arguments.len, capture->root);
}

/* What goes into "data". */
static void
compile_data(EvpubCapture *capture, const EvpubOptions *options, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *names = evpub_options_list(options, EVPUB_OPTION_DATA_COLUMNS);
	ListCell   *cell;

	if (evpub_options_chosen(options, EVPUB_OPTION_PAYLOAD, "row"))
		capture->payload = EVPUB_PAYLOAD_ROW;
	else if (evpub_options_chosen(options, EVPUB_OPTION_PAYLOAD, "changed_columns"))
		capture->payload = EVPUB_PAYLOAD_CHANGED_COLUMNS;

	if (capture->payload == EVPUB_PAYLOAD_ROW &&
		options->value[EVPUB_OPTION_DATA_COLUMNS] != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payload \"row\" has all columns; data_columns is for the other payloads"),
				 errhint("Leave one of them out.")));
	capture->data_column = palloc0(Max(desc->natts, list_length(names)) * sizeof(EvpubColumn));
	foreach(cell, names)
		evpub_column_init(&capture->data_column[capture->data_columns++], desc,
						  evpub_find_column(rel, lfirst(cell), "data_columns"));
	for (int i = 0; capture->payload == EVPUB_PAYLOAD_ROW && i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			evpub_column_init(&capture->data_column[capture->data_columns++], desc,
							  evpub_find_column(rel, NameStr(TupleDescAttr(desc, i)->attname),
												"payload \"row\""));
	}
}

/*
 * The columns whose changes make an update count.  Those that say where an event
 * goes always count: else consumers would keep a row under its old key for ever.
 */
static void
compile_counts(EvpubCapture *capture, const EvpubOptions *options, Relation rel)
{
	bool		named_count = options->value[EVPUB_OPTION_UPDATE_COLUMNS] != NULL;
	List	   *names;
	ListCell   *cell;

	if (!named_count && options->value[EVPUB_OPTION_IGNORE_COLUMNS] == NULL)
		return;
	capture->counts = palloc(RelationGetDescr(rel)->natts * sizeof(bool));
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
		capture->counts[i] = !named_count;
	names = evpub_options_list(options, named_count ? EVPUB_OPTION_UPDATE_COLUMNS :
							   EVPUB_OPTION_IGNORE_COLUMNS);
	foreach(cell, names)
		capture->counts[evpub_find_column(rel, lfirst(cell), named_count ? "update_columns" :
									"ignore_columns") - 1] = named_count;
	for (int i = 0; i < capture->key_columns; i++)
		capture->counts[capture->key_column[i].number - 1] = true;
	if (capture->has_tenant_column)
		capture->counts[capture->tenant_column.number - 1] = true;
}

static void
compile_headers(EvpubCapture *capture, const EvpubOptions *options,
				const EvpubPlaceholderValues *names, uint32 known)
{
	const char *source = options->value[EVPUB_OPTION_HEADERS];
	EvpubHeader *headers;

	if (source == NULL)
		return;
	capture->headers = evpub_headers_parse(DirectFunctionCall1(jsonb_in, CStringGetDatum(source)),
										   &headers);
	capture->header = palloc(Max(capture->headers, 1) * sizeof(EvpubHeaderTemplate));
	for (int i = 0; i < capture->headers; i++)
	{
		capture->header[i].name = headers[i].name;
		evpub_template_compile(&capture->header[i].value, headers[i].value,
							   EVPUB_TEMPLATE_KEY, "headers", names, known);
		capture->placeholders |= capture->header[i].value.placeholders;
		capture->placeholders_but_topic |= capture->header[i].value.placeholders;
	}
}

/* A name as it stands in a URI. */
static EvpubSlice
uri_text(EvpubSlice name)
{
	StringInfoData text;

	initStringInfo(&text);
	for (uint32 i = 0; i < name.len; i++)
	{
		unsigned char c = name.data[i];

		if (c < 0x80 && (isalnum(c) || strchr("-._~", c) != NULL))
			appendStringInfoChar(&text, c);
		else
			appendStringInfo(&text, "%%%02X", c);
	}
	return (EvpubSlice) {text.data, text.len};
}

static void
refuse_empty_type(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("type of a CloudEvent must not be empty"),
			 errhint("Give a type such as '{table}.{event}'.")));
}

static void
compile_envelope(EvpubCapture *capture, const EvpubOptions *options,
				 const EvpubPlaceholderValues *names)
{
	capture->envelope = EVPUB_ENVELOPE_PLAIN;
	if (evpub_options_chosen(options, EVPUB_OPTION_ENVELOPE, "none"))
		capture->envelope = EVPUB_ENVELOPE_NONE;
	else if (evpub_options_chosen(options, EVPUB_OPTION_ENVELOPE, "cloudevents"))
		capture->envelope = EVPUB_ENVELOPE_CLOUDEVENTS;
	else if (evpub_options_chosen(options, EVPUB_OPTION_ENVELOPE, "cloudevents_binary"))
		capture->envelope = EVPUB_ENVELOPE_CLOUDEVENTS_BINARY;
	if (capture->envelope == EVPUB_ENVELOPE_CLOUDEVENTS ||
		capture->envelope == EVPUB_ENVELOPE_CLOUDEVENTS_BINARY)
	{
		EvpubSlice	database = names->text[EVPUB_PLACEHOLDER_DATABASE];

		if (capture->type.count == 0)
			refuse_empty_type();
		if (database.data == NULL)
		{
			database.data = get_database_name(MyDatabaseId);
			database.len = strlen(database.data);
		}
		capture->source = uri_text(database);
		capture->placeholders |= EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_PK);
	}

	capture->tombstone = evpub_options_chosen(options, EVPUB_OPTION_ON_DELETE, "tombstone");
	if (capture->tombstone &&
		(~capture->key.named & (EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_TABLE) |
								EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_PK))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a tombstone needs a key of its row"),
				 errdetail("Compaction would remove the events of all rows that share the key \"%s\".",
						   options->value[EVPUB_OPTION_KEY]),
				 errhint("Use a key with {table} and {pk}, such as '{tenant}/{table}/{pk}'.")));
}

static void
compile_operations(EvpubCapture *capture, const EvpubOptions *options)
{
	capture->has_filter = options->value[EVPUB_OPTION_FILTER] != NULL;
	capture->enters = evpub_options_chosen(options, EVPUB_OPTION_AS, "created");
	capture->leaves = evpub_options_chosen(options, EVPUB_OPTION_AS, "deleted");
	capture->moves = evpub_options_chosen(options, EVPUB_OPTION_AS, "moved");
	capture->on_insert = evpub_options_operation(options, "insert");
	capture->on_update = evpub_options_operation(options, "update");
	capture->on_delete = evpub_options_operation(options, "delete");
}

/* The names that templates of this relation may hold. */
static void
fill_names(EvpubPlaceholderValues *values, Oid root)
{
	char	   *schema = get_namespace_name(get_rel_namespace(root));
	char	   *table = get_rel_name(root);

	if (schema == NULL || table == NULL)
		elog(ERROR, "cache lookup failed for relation %u", root);
	values->text[EVPUB_PLACEHOLDER_DATABASE] = evpub_database_name();
	values->text[EVPUB_PLACEHOLDER_SCHEMA] = keep_text(schema);
	values->text[EVPUB_PLACEHOLDER_TABLE] = keep_text(table);
}

/* Is the topic the name of a column?  Somebody has given the tenant there. */
static bool
given_as_topic(const EvpubOptions *options, Relation rel)
{
	const char *topic = options->value[EVPUB_OPTION_TOPIC];

	return topic != NULL && evpub_has_column(RelationGetDescr(rel), topic);
}

static void
compile_tenant(EvpubCapture *capture, const EvpubOptions *options,
			   Relation rel, const EvpubPlaceholderValues *names, uint32 known)
{
	const char *column = options->value[EVPUB_OPTION_TENANT_COLUMN];
	const char *tenant = options->value[EVPUB_OPTION_TENANT];
	EvpubTemplate template;
	StringInfoData text;

	if (column == NULL && tenant == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no tenant is given for table \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("Every event names the tenant that it belongs to."),
				 given_as_topic(options, rel) ?
				 errhint("The second argument is topic. Did you mean tenant_column => %s?",
						 quote_literal_cstr(options->value[EVPUB_OPTION_TOPIC])) :
				 errhint("Give tenant_column, or tenant as a constant or a template such as '{schema}'.")));
	if (column != NULL)
	{
		evpub_column_init(&capture->tenant_column, RelationGetDescr(rel),
						  evpub_find_column(rel, column, "tenant_column"));
		capture->has_tenant_column = true;
	}
	if (tenant != NULL)
	{
		evpub_template_compile(&template, tenant, EVPUB_TEMPLATE_TENANT,
							   "tenant", names, known);
		initStringInfo(&text);
		evpub_template_render(&text, &template, NULL);
		capture->tenant.data = text.data;
		capture->tenant.len = text.len;
		capture->has_tenant = true;
	}
}

void
evpub_compiled_route(const EvpubCapture *capture, EvpubPlaceholderValues *values,
				   StringInfo type_text, StringInfo topic, StringInfo type)
{
	EvpubSlice	text;

	evpub_template_render(type_text, &capture->type, values);
	text.data = type_text->data;
	text.len = type_text->len;
	if (text.len == 0 && (capture->envelope == EVPUB_ENVELOPE_CLOUDEVENTS ||
						  capture->envelope == EVPUB_ENVELOPE_CLOUDEVENTS_BINARY))
		refuse_empty_type();
	values->text[EVPUB_PLACEHOLDER_TYPE] = text;
	if (capture->envelope == EVPUB_ENVELOPE_CLOUDEVENTS_BINARY)
		appendBinaryStringInfo(type, text.data, text.len);
	else if (capture->envelope != EVPUB_ENVELOPE_NONE)
		evpub_json_string(type, text);

	evpub_template_render(topic, &capture->topic, values);
	text.data = topic->data;
	text.len = topic->len;
	evpub_topic_check(text, capture->root, capture->topic_source);
}

/*
 * Refuse a topic that is the same for all rows, and illegal.  That of a resync is
 * checked when one is called.
 */
static void
check_constant_topics(const EvpubCapture *capture)
{
	for (int op = 0; op < EVPUB_OPS; op++)
	{
		EvpubPlaceholderValues values;
		StringInfoData type_text;
		StringInfoData topic;
		StringInfoData type;

		if (!capture->makes[op])
			continue;
		initStringInfo(&type_text);
		initStringInfo(&topic);
		initStringInfo(&type);
		values.text[EVPUB_PLACEHOLDER_OP] = evpub_op_names[op];
		values.text[EVPUB_PLACEHOLDER_EVENT] = evpub_event_names[op];
		evpub_compiled_route(capture, &values, &type_text, &topic, &type);
	}
}

static void
compile_templates(EvpubCapture *capture, const EvpubOptions *options,
				  const EvpubPlaceholderValues *names, uint32 known)
{
	const char *topic = options->value[EVPUB_OPTION_TOPIC];
	uint32		topic_placeholders;

	evpub_template_compile(&capture->key, options->value[EVPUB_OPTION_KEY],
						   EVPUB_TEMPLATE_KEY, "key", names, known);
	evpub_template_compile(&capture->type, options->value[EVPUB_OPTION_TYPE],
						   EVPUB_TEMPLATE_TYPE, "type", names, known);
	if (topic != NULL)
		evpub_template_compile(&capture->topic, topic, EVPUB_TEMPLATE_TOPIC,
							   "topic", names, known);
	else
		evpub_template_compile(&capture->topic, evpub_compiled_default_topic(),
							   EVPUB_TEMPLATE_TOPIC, "evpub.default_topic",
							   names, known);
	capture->topic_source = pstrdup(topic != NULL ? topic : evpub_compiled_default_topic());
	capture->placeholders = capture->topic.placeholders | capture->key.placeholders |
		capture->type.placeholders;

	capture->placeholders_but_topic = capture->key.placeholders;
	topic_placeholders = capture->topic.placeholders;
	if (topic_placeholders & EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_TYPE))
		topic_placeholders |= capture->type.placeholders;
	capture->route_is_constant =
		((topic_placeholders | capture->type.placeholders) & ROW_PLACEHOLDERS) == 0;
}

/* Tables whose rows come and go with their events. */
static void
check_relation(Relation rel)
{
	const char *name = RelationGetRelationName(rel);

	/* as a partition, or by a trigger made by hand */
	if (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot capture foreign table \"%s\"", name),
				 errdetail("Its rows are elsewhere, and are changed there without a trigger of this database."),
				 errhint("Capture the table that it stands for.")));
	switch (rel->rd_rel->relpersistence)
	{
		case RELPERSISTENCE_TEMP:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("cannot capture temporary table \"%s\"", name),
					 errdetail("Nobody but this session could read the rows that its events name."),
					 errhint("Use evpub.publish() to publish an event by hand.")));
			break;
		case RELPERSISTENCE_UNLOGGED:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("cannot capture unlogged table \"%s\"", name),
					 errdetail("After a crash the table is empty, but its events would be published."),
					 errhint("Use ALTER TABLE ... SET LOGGED first.")));
			break;
		default:
			break;
	}
}

/*
 * With {pk} in the key an event for all rows of a tenant would stand in another
 * partition than theirs, and could overtake them.
 */
static void
compile_on_truncate(EvpubCapture *capture, const EvpubOptions *options)
{
	bool		by_row = (capture->key.placeholders & EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_PK)) != 0;

	if (!evpub_options_operation(options, "truncate") ||
		evpub_options_chosen(options, EVPUB_OPTION_ON_TRUNCATE, "ignore"))
		capture->on_truncate = EVPUB_TRUNCATE_IGNORE;
	else if (evpub_options_chosen(options, EVPUB_OPTION_ON_TRUNCATE, "error"))
		capture->on_truncate = EVPUB_TRUNCATE_ERROR;
	else if (options->value[EVPUB_OPTION_ON_TRUNCATE] == NULL)
		capture->on_truncate = by_row ? EVPUB_TRUNCATE_ERROR : EVPUB_TRUNCATE_PER_TENANT;
	else if (by_row)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("on_truncate \"per_tenant\" needs a key without {pk}"),
				 errdetail("The event could overtake those of the rows, which have other keys."),
				 errhint("Use \"error\" or \"ignore\", or a key such as '{tenant}'.")));
	else
		capture->on_truncate = EVPUB_TRUNCATE_PER_TENANT;
}

/* Which operations there may be events of. */
static void
compile_makes(EvpubCapture *capture)
{
	bool		truncate = capture->on_truncate == EVPUB_TRUNCATE_PER_TENANT;

	/* with another key, an update is deleted and created */
	capture->makes[EVPUB_OP_CREATE] = capture->on_insert || capture->on_update;
	/* deleted and created again */
	capture->makes[EVPUB_OP_UPDATE] = capture->on_update ||
		(capture->on_insert && capture->on_delete);
	/* a partition's TRUNCATE, too */
	capture->makes[EVPUB_OP_DELETE] = capture->on_delete || capture->on_update || truncate;
	capture->makes[EVPUB_OP_TRUNCATE] = truncate;
}

/* What rendering reads of a row, and how much room its key takes. */
static void
compile_reading(EvpubCapture *capture)
{
	Size		room = 2;		/* brace and end */
	bool		integers = true;

	if (capture->has_tenant_column)
		capture->last_column = capture->tenant_column.number;
	for (int i = 0; i < capture->key_columns; i++)
	{
		EvpubColumn *column = &capture->key_column[i];

		capture->last_column = Max(capture->last_column, column->number);
		integers &= evpub_column_is_integer(column);
		room += column->json_name.len + 2 + EVPUB_SMALL_TEXT;
	}
	for (int i = 0; i < capture->data_columns; i++)
		capture->last_column = Max(capture->last_column,
								   capture->data_column[i].number);

	if (integers && capture->data_columns == 0 && room <= EVPUB_SMALL_KEY &&
		!(capture->placeholders & EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_PK)))
		capture->small_key_room = room;
}

EvpubCapture *
evpub_compile_options(const EvpubOptions *options, Relation rel, Oid root)
{
	EvpubCapture *capture = palloc0(sizeof(EvpubCapture));
	EvpubPlaceholderValues names;
	uint32		known = EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_DATABASE) |
		EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_SCHEMA) | EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_TABLE);

	capture->context = CurrentMemoryContext;
	capture->relation = RelationGetRelid(rel);
	capture->root = root;
	capture->default_topic_generation = evpub_default_topic_generation;

	check_relation(rel);
	evpub_options_check(options);
	fill_names(&names, root);
	compile_tenant(capture, options, rel, &names, known);
	evpub_key_compile(capture, options, rel);
	compile_templates(capture, options, &names, known);
	compile_headers(capture, options, &names, known);
	compile_envelope(capture, options, &names);
	compile_data(capture, options, rel);
	compile_counts(capture, options, rel);
	compile_operations(capture, options);
	compile_on_truncate(capture, options);
	compile_makes(capture);
	if (capture->route_is_constant)
		check_constant_topics(capture);
	compile_collapse(capture, options);

	compile_reading(capture);
	return capture;
}
