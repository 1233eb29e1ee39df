/*
 * row.c
 *		A row as events need it, and the event that it makes.
 */
#include "postgres.h"

#include "utils/rel.h"

#include "capture/buffer.h"
#include "capture/compile.h"
#include "capture/headers.h"
#include "capture/intern.h"
#include "capture/row.h"
#include "settings.h"

/* Placeholders that differ between the events of one row. */
#define OP_PLACEHOLDERS \
	(EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_OP) | EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_EVENT) | \
	 EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_TYPE))

/* Append the key as a JSON object, and as text if that is asked for. */
static void
render_key(EvpubCapture *capture, TupleTableSlot *slot, StringInfo json,
		   StringInfo text)
{
	char		small[EVPUB_SMALL_TEXT];

	for (int i = 0; i < capture->key_columns; i++)
	{
		EvpubColumn *column = &capture->key_column[i];
		EvpubSlice	value;

		/* key columns are NOT NULL, or the settings do not compile */
		if (unlikely(slot->tts_isnull[column->number - 1]))
			elog(ERROR, "key column is null");
		appendStringInfoCharMacro(json, i == 0 ? '{' : ',');
		appendBinaryStringInfo(json, column->json_name.data,
							   column->json_name.len);
		appendStringInfoCharMacro(json, ':');
		value = evpub_column_both(json, column, slot->tts_values[column->number - 1],
								  small);
		if (text != NULL)
		{
			if (i > 0)
				appendStringInfoCharMacro(text, ',');
			evpub_pk_text(text, value);
		}
	}
	appendStringInfoCharMacro(json, '}');
}

/*
 * The usual row is a tenant without escapes and a key of integers.  It needs no memory,
 * nor can anything go wrong with it, so it takes a short way.  False if it is another.
 */
static bool
render_small(EvpubRow *row, EvpubCapture *capture, TupleTableSlot *slot)
{
	char	   *p = row->small_json;

	if (capture->small_key_room == 0 ||
		capture->small_key_room + row->tenant.len + 2 > sizeof(row->small_json) ||
		!evpub_is_plain(row->tenant))
		return false;
	*p++ = '"';
	memcpy(p, row->tenant.data, row->tenant.len);
	p += row->tenant.len;
	*p++ = '"';
	row->tenant_json = (EvpubSlice) {row->small_json, p - row->small_json};
	row->pk_json.data = p;
	for (int i = 0; i < capture->key_columns; i++)
	{
		EvpubColumn *column = &capture->key_column[i];

		if (unlikely(slot->tts_isnull[column->number - 1]))
			elog(ERROR, "key column is null");
		*p++ = i == 0 ? '{' : ',';
		memcpy(p, column->json_name.data, column->json_name.len);
		p += column->json_name.len;
		*p++ = ':';
		p += evpub_column_text(column, slot->tts_values[column->number - 1], p).len;
	}
	*p++ = '}';
	row->pk_json.len = p - row->pk_json.data;
	row->data_json = (EvpubSlice) {"", 0};
	return true;
}

static void
render_data(EvpubCapture *capture, TupleTableSlot *slot, StringInfo json)
{
	appendStringInfoChar(json, '{');
	for (int i = 0; i < capture->data_columns; i++)
	{
		EvpubColumn *column = &capture->data_column[i];
		int			index = column->number - 1;

		if (i > 0)
			appendStringInfoChar(json, ',');
		appendBinaryStringInfo(json, column->json_name.data, column->json_name.len);
		appendStringInfoChar(json, ':');
		evpub_column_data(json, column, slot->tts_values[index],
						  slot->tts_isnull[index]);
		if (unlikely(json->len > EVPUB_MAX_EVENT_BYTES))
			evpub_check_bytes(json->len);
	}
	appendStringInfoChar(json, '}');
}

/* The tenant from its column, or what stands in for it. */
static void
find_tenant(EvpubRow *row, EvpubCapture *capture, TupleTableSlot *slot)
{
	int			index = capture->tenant_column.number - 1;

	row->has_tenant = true;
	if (capture->has_tenant_column && !slot->tts_isnull[index])
		row->tenant = evpub_column_text(&capture->tenant_column,
										slot->tts_values[index], row->small);
	else if (capture->has_tenant)
		row->tenant = capture->tenant;
	else
	{
		row->has_tenant = false;
		row->tenant = (EvpubSlice) {"", 0};
	}
}

void
evpub_row_tenant(EvpubRow *row, EvpubCapture *capture, TupleTableSlot *slot)
{
	slot_getsomeattrs(slot, capture->last_column);
	find_tenant(row, capture, slot);
}

void
evpub_row_render_unchecked(EvpubRow *row, EvpubCapture *capture, TupleTableSlot *slot)
{
	const EvpubSlice nothing = {"", 0};
	StringInfoData json;
	uint32		pk_at;
	uint32		data_at;

	slot_getsomeattrs(slot, capture->last_column);
	row->tid = slot->tts_tid;
	find_tenant(row, capture, slot);
	row->changed_json = nothing;
	row->old_pk_json = nothing;
	if (likely(render_small(row, capture, slot)))
		return;

	initStringInfo(&json);
	evpub_json_string(&json, row->tenant);
	pk_at = json.len;
	if (capture->placeholders & EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_PK))
	{
		StringInfoData text;

		initStringInfo(&text);
		render_key(capture, slot, &json, &text);
		row->pk_text = (EvpubSlice) {text.data, text.len};
	}
	else
		render_key(capture, slot, &json, NULL);
	data_at = json.len;
	if (capture->data_columns > 0)
		render_data(capture, slot, &json);

	row->tenant_json = (EvpubSlice) {json.data, pk_at};
	row->pk_json = (EvpubSlice) {json.data + pk_at, data_at - pk_at};
	row->data_json = (EvpubSlice) {json.data + data_at, json.len - data_at};
}

void
evpub_row_render(EvpubRow *row, EvpubCapture *capture, Relation rel,
				 TupleTableSlot *slot)
{
	int			column = capture->tenant_column.number - 1;

	evpub_row_render_unchecked(row, capture, slot);
	if (likely(row->has_tenant))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("tenant of a row in captured table \"%s\" is null",
					RelationGetRelationName(rel)),
			 errdetail("Column \"%s\" is null, and every event names its tenant.",
					   NameStr(TupleDescAttr(RelationGetDescr(rel), column)->attname)),
			 errhint("Set the column, or capture the table with a tenant that stands in for NULL (option tenant).")));
}

/* ---- events ---- */

/* The route of an event; "values" gets the text of {type}. */
static const EvpubRoute *
find_route(EvpubCapture *capture, EvpubOp op, EvpubPlaceholderValues *values,
		   StringInfo type_text)
{
	const EvpubRoute *route;
	EvpubRoute	wanted = {0};
	StringInfoData topic;
	StringInfoData type;

	initStringInfo(&topic);
	initStringInfo(&type);
	evpub_compiled_route(capture, values, type_text, &topic, &type);
	wanted.envelope = capture->envelope;
	wanted.topic = (EvpubSlice) {topic.data, topic.len};
	wanted.type = (EvpubSlice) {type.data, type.len};
	wanted.source = capture->source;
	route = evpub_intern_route(&wanted);
	if (capture->route_is_constant)
	{
		capture->routes[op].route = route;
		capture->routes[op].epoch = evpub_intern_epoch();
	}
	return route;
}

static void
put_member(StringInfo tail, const char *name, EvpubSlice json)
{
	if (json.len == 0)
		return;
	appendStringInfo(tail, ",\"%s\":", name);
	appendBinaryStringInfo(tail, json.data, json.len);
}

/*
 * Value and what belongs to its envelope; *changed_len is how much of the tail
 * names columns that changed.
 */
static void
fill_value(EvpubCapture *capture, EvpubOp op, const EvpubRow *row,
		   EvpubEvent *event, uint32 *changed_len)
{
	StringInfoData text;

	event->has_value = !(capture->tombstone && op == EVPUB_OP_DELETE);
	event->tenant = row->tenant_json;
	if (capture->envelope == EVPUB_ENVELOPE_CLOUDEVENTS_BINARY)
		event->tenant = row->tenant;
	if (!event->has_value)
		return;

	event->body = row->pk_json;
	switch (capture->envelope)
	{
		case EVPUB_ENVELOPE_PLAIN:
			break;
		case EVPUB_ENVELOPE_NONE:
			if (row->data_json.len > 0)
				event->body = row->data_json;
			return;
		case EVPUB_ENVELOPE_CLOUDEVENTS:
			initStringInfo(&text);
			evpub_json_string(&text, row->pk_text);
			event->subject = (EvpubSlice) {text.data, text.len};
			break;
		case EVPUB_ENVELOPE_CLOUDEVENTS_BINARY:
			event->subject = row->pk_text;
			break;
	}
	if (row->changed_json.len + row->data_json.len + row->old_pk_json.len == 0)
		return;
	initStringInfo(&text);
	put_member(&text, "changed", row->changed_json);
	*changed_len = text.len;
	put_member(&text, "data", row->data_json);
	put_member(&text, "old_pk", row->old_pk_json);
	event->tail = (EvpubSlice) {text.data, text.len};
}

static void
fill_headers(EvpubCapture *capture, const EvpubPlaceholderValues *values,
			 EvpubEvent *event)
{
	StringInfoData headers;
	StringInfoData value;

	if (likely(capture->headers == 0 && evpub_extra_headers[0] == '\0'))
		return;
	initStringInfo(&headers);
	initStringInfo(&value);
	for (int i = 0; i < capture->headers; i++)
	{
		EvpubHeaderTemplate *header = &capture->header[i];

		resetStringInfo(&value);
		evpub_template_render(&value, &header->value, values);
		evpub_headers_add(&headers, header->name.data, header->name.len,
						  value.data, value.len);
	}
	evpub_headers_add_extra(&headers);
	event->headers = (EvpubSlice) {headers.data, headers.len};
}

/* The route of an operation: the one at hand, or found for this row. */
static const EvpubRoute *
route_of(EvpubCapture *capture, EvpubOp op, EvpubPlaceholderValues *values)
{
	StringInfoData type_text;

	if (likely(capture->routes[op].epoch == evpub_intern_epoch() &&
			   !(capture->placeholders_but_topic & EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_TYPE))))
		return capture->routes[op].route;
	initStringInfo(&type_text);
	return find_route(capture, op, values, &type_text);
}

/* How an event may collapse with others of its row. */
static void
fill_change(EvpubCapture *capture, EvpubChangeKind kind, const EvpubRow *row,
			const EvpubPlaceholderValues *values, EvpubChange *change)
{
	change->capture = capture->identity;
	change->as_update = NULL;
	change->merged = NULL;
	change->changed_len = 0;
	change->tid = row->tid;
	change->kind = kind;
	change->unique = capture->key_is_unique;

	/* key and headers must be the same for it to become an update */
	if ((kind == EVPUB_CHANGE_INSERT || kind == EVPUB_CHANGE_CREATE) &&
		capture->makes[EVPUB_OP_UPDATE] && !(capture->placeholders_but_topic & OP_PLACEHOLDERS))
	{
		EvpubPlaceholderValues as_update = *values;

		as_update.text[EVPUB_PLACEHOLDER_OP] = evpub_op_names[EVPUB_OP_UPDATE];
		as_update.text[EVPUB_PLACEHOLDER_EVENT] = evpub_event_names[EVPUB_OP_UPDATE];
		change->as_update = route_of(capture, EVPUB_OP_UPDATE, &as_update);
	}
}

static EvpubOp
op_of(EvpubChangeKind kind)
{
	switch (kind)
	{
		case EVPUB_CHANGE_INSERT:
		case EVPUB_CHANGE_CREATE:
			return EVPUB_OP_CREATE;
		case EVPUB_CHANGE_UPDATE:
		case EVPUB_CHANGE_REPLACE:
			return EVPUB_OP_UPDATE;
		case EVPUB_CHANGE_DELETE:
			return EVPUB_OP_DELETE;
		case EVPUB_CHANGE_TRUNCATE:
			return EVPUB_OP_TRUNCATE;
		case EVPUB_CHANGE_RESYNC:
			return EVPUB_OP_RESYNC;
		case EVPUB_CHANGE_NONE:
			break;
	}
	elog(ERROR, "unrecognized kind of change %d", (int) kind);
	return EVPUB_OP_UPDATE;		/* keep compiler quiet */
}

void
evpub_row_event(EvpubCapture *capture, EvpubChangeKind kind, const EvpubRow *row)
{
	EvpubEvent	event = {.has_key = true};
	EvpubOp		op = op_of(kind);
	EvpubPlaceholderValues values;
	EvpubChange change;
	StringInfoData key;

	values.text[EVPUB_PLACEHOLDER_TENANT] = row->tenant;
	values.text[EVPUB_PLACEHOLDER_PK] = row->pk_text;
	values.text[EVPUB_PLACEHOLDER_OP] = evpub_op_names[op];
	values.text[EVPUB_PLACEHOLDER_EVENT] = evpub_event_names[op];

	/* from here on no user code runs, so that the routes stay good */
	if (capture->collapse)
		fill_change(capture, kind, row, &values, &change);
	event.route = route_of(capture, op, &values);

	if (capture->key.count == 1 &&
		capture->key.segments[0].placeholder == EVPUB_PLACEHOLDER_TENANT)
		event.key = row->tenant;
	else
	{
		initStringInfo(&key);
		evpub_template_render(&key, &capture->key, &values);
		event.key = (EvpubSlice) {key.data, key.len};
	}
	fill_value(capture, op, row, &event, &change.changed_len);
	fill_headers(capture, &values, &event);
	evpub_buffer_append(&event, (EvpubOrigin) {capture->root, op},
						capture->collapse ? &change : NULL,
						event.body.data == row->pk_json.data ?
						(EvpubSlice) {"", 0} : row->pk_json);
}
