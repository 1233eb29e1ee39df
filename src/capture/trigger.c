/*
 * trigger.c
 *		evpub.capture(): the trigger that makes an event of a row's change.
 *
 * Runs once for each row that is written, so it does as little as it can: the
 * settings are compiled (route.c), the row is rendered from the slot that the
 * executor has anyway, and the event goes into the transaction's buffer.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "capture/buffer.h"
#include "capture/capture.h"
#include "capture/route.h"
#include "evpub.h"

PG_FUNCTION_INFO_V1(evpub_capture);

static object_access_hook_type next_object_access_hook = NULL;

/* What an event needs to know of a row. */
typedef struct RowImage
{
	bool		has_tenant;
	EvpubSlice	tenant;			/* as text */
	EvpubSlice	tenant_json;
	EvpubSlice	pk_json;		/* object of the primary key's columns */
	EvpubSlice	pk_text;		/* value of {pk}; only if it is asked for */
	char		small[EVPUB_SMALL_TEXT];	/* tenant may lie here */
} RowImage;

/* Append the primary key as a JSON object, and as text if that is asked for. */
static void
render_key(EvpubCapture *capture, TupleTableSlot *slot, StringInfo json,
		   StringInfo text)
{
	char		small[EVPUB_SMALL_TEXT];

	for (int i = 0; i < capture->key_columns; i++)
	{
		EvpubColumn *column = &capture->key_column[i];
		EvpubSlice	value;

		if (unlikely(slot->tts_isnull[column->number - 1]))
			elog(ERROR, "primary key column is null");
		value = evpub_column_text(column, slot->tts_values[column->number - 1],
								  small);
		appendStringInfoCharMacro(json, i == 0 ? '{' : ',');
		appendBinaryStringInfo(json, column->json_name.data,
							   column->json_name.len);
		appendStringInfoCharMacro(json, ':');
		evpub_column_json(json, column, value);
		if (text != NULL)
		{
			if (i > 0)
				appendStringInfoCharMacro(text, ',');
			evpub_pk_text(text, value);
		}
	}
	appendStringInfoCharMacro(json, '}');
}

/* Render a row into memory of CurrentMemoryContext. */
static void
render_row(RowImage *image, EvpubCapture *capture, TupleTableSlot *slot)
{
	StringInfoData json;
	uint32		tenant_len;

	slot_getsomeattrs(slot, capture->last_column);

	image->has_tenant = true;
	if (capture->has_tenant_column &&
		!slot->tts_isnull[capture->tenant_column.number - 1])
		image->tenant =
			evpub_column_text(&capture->tenant_column,
							  slot->tts_values[capture->tenant_column.number - 1],
							  image->small);
	else if (capture->has_tenant)
		image->tenant = capture->tenant;
	else
	{
		image->has_tenant = false;
		image->tenant = (EvpubSlice) {"", 0};
	}

	initStringInfo(&json);
	evpub_json_string(&json, image->tenant);
	tenant_len = json.len;
	if (capture->places & EVPUB_PLACE_BIT(EVPUB_PLACE_PK))
	{
		StringInfoData text;

		initStringInfo(&text);
		render_key(capture, slot, &json, &text);
		image->pk_text = (EvpubSlice) {text.data, text.len};
	}
	else
		render_key(capture, slot, &json, NULL);
	image->tenant_json = (EvpubSlice) {json.data, tenant_len};
	image->pk_json = (EvpubSlice) {json.data + tenant_len,
		json.len - tenant_len};
}

/* The route of an event; "values" gets the text of {type}. */
static const EvpubRoute *
find_route(EvpubCapture *capture, EvpubOp op, EvpubPlaceValues *values,
		   StringInfo type_text)
{
	const EvpubRoute *route;
	StringInfoData topic;
	StringInfoData type;

	initStringInfo(&topic);
	initStringInfo(&type);
	evpub_route_render(capture, values, type_text, &topic, &type);
	route = evpub_buffer_route(EVPUB_ENVELOPE_PLAIN,
							   (EvpubSlice) {topic.data, topic.len},
							   (EvpubSlice) {type.data, type.len});
	if (capture->route_is_constant)
	{
		capture->routes[op].route = route;
		capture->routes[op].epoch = evpub_buffer_epoch();
	}
	return route;
}

static void
add_event(EvpubCapture *capture, EvpubOp op, const RowImage *image)
{
	EvpubEvent	event = {.has_key = true,.has_value = true};
	EvpubPlaceValues values;
	StringInfoData type_text;
	StringInfoData key;

	values.place[EVPUB_PLACE_TENANT] = image->tenant;
	values.place[EVPUB_PLACE_PK] = image->pk_text;
	values.place[EVPUB_PLACE_OP] = evpub_op_names[op];
	values.place[EVPUB_PLACE_EVENT] = evpub_event_names[op];

	/* from here on no user code runs, so that the route stays good */
	if (capture->routes[op].epoch == evpub_buffer_epoch() &&
		!(capture->key.places & EVPUB_PLACE_BIT(EVPUB_PLACE_TYPE)))
		event.route = capture->routes[op].route;
	else
	{
		initStringInfo(&type_text);
		event.route = find_route(capture, op, &values, &type_text);
	}

	if (capture->key.count == 1 &&
		capture->key.segments[0].place == EVPUB_PLACE_TENANT)
		event.key = image->tenant;
	else
	{
		initStringInfo(&key);
		evpub_template_render(&key, &capture->key, &values);
		event.key = (EvpubSlice) {key.data, key.len};
	}
	event.tenant = image->tenant_json;
	event.body = image->pk_json;
	evpub_buffer_append(&event);
}

static void
refuse_null_tenant(const EvpubCapture *capture, Relation rel,
				   const RowImage *image)
{
	int			column = capture->tenant_column.number - 1;

	if (image->has_tenant)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("tenant of a row in captured table \"%s\" is null",
					RelationGetRelationName(rel)),
			 errdetail("Column \"%s\" is null, and every event names its tenant.",
					   NameStr(TupleDescAttr(RelationGetDescr(rel), column)->attname)),
			 errhint("Set the column, or capture the table with a tenant that stands in for NULL (option tenant).")));
}

/* Are two versions of a row equal in every column? */
static bool
same_row(const EvpubCapture *capture, const TriggerData *trigdata)
{
	HeapTuple	old = trigdata->tg_trigtuple;
	HeapTuple	new = trigdata->tg_newtuple;
	TupleDesc	desc;

	if (old->t_len == new->t_len &&
		old->t_data->t_hoff == new->t_data->t_hoff &&
		HeapTupleHeaderGetNatts(old->t_data) ==
		HeapTupleHeaderGetNatts(new->t_data) &&
		HeapTupleHasNulls(old) == HeapTupleHasNulls(new) &&
		memcmp(old->t_data->t_bits, new->t_data->t_bits,
			   old->t_len - offsetof(HeapTupleHeaderData, t_bits)) == 0)
		return true;

	/*
	 * Other bytes mean other values, but for a row that was written when the
	 * table had other columns.
	 */
	if (HeapTupleHeaderGetNatts(old->t_data) ==
		HeapTupleHeaderGetNatts(new->t_data) && !capture->has_dropped_columns)
		return false;

	desc = RelationGetDescr(trigdata->tg_relation);
	slot_getallattrs(trigdata->tg_trigslot);
	slot_getallattrs(trigdata->tg_newslot);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		bool		old_null = trigdata->tg_trigslot->tts_isnull[i];
		bool		new_null = trigdata->tg_newslot->tts_isnull[i];

		if (attribute->attisdropped)
			continue;
		if (old_null != new_null ||
			(!old_null &&
			 !datumIsEqual(trigdata->tg_trigslot->tts_values[i],
						   trigdata->tg_newslot->tts_values[i],
						   attribute->attbyval, attribute->attlen)))
			return false;
	}
	return true;
}

/* Does a column have the same bytes in both slots (already deformed)? */
static bool
same_column(const EvpubColumn *column, TupleDesc desc,
			const TupleTableSlot *a, const TupleTableSlot *b)
{
	int			i = column->number - 1;
	Form_pg_attribute attribute = TupleDescAttr(desc, i);

	if (a->tts_isnull[i] || b->tts_isnull[i])
		return a->tts_isnull[i] && b->tts_isnull[i];
	return datumIsEqual(a->tts_values[i], b->tts_values[i],
						attribute->attbyval, attribute->attlen);
}

static bool
same_identity(const EvpubCapture *capture, TupleDesc desc,
			  TupleTableSlot *old, TupleTableSlot *new)
{
	slot_getsomeattrs(old, capture->last_column);
	slot_getsomeattrs(new, capture->last_column);

	if (capture->has_tenant_column &&
		!same_column(&capture->tenant_column, desc, old, new))
		return false;
	for (int i = 0; i < capture->key_columns; i++)
	{
		if (!same_column(&capture->key_column[i], desc, old, new))
			return false;
	}
	return true;
}

static bool
same_slice(EvpubSlice a, EvpubSlice b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/*
 * An update that moves the row to another key or tenant is told under both:
 * those who follow the old one must learn that the row is gone there.
 */
static void
capture_update(EvpubCapture *capture, const TriggerData *trigdata)
{
	RowImage	new;
	RowImage	old;

	if (same_row(capture, trigdata))
		return;

	if (!same_identity(capture, RelationGetDescr(trigdata->tg_relation),
					   trigdata->tg_trigslot, trigdata->tg_newslot))
	{
		render_row(&old, capture, trigdata->tg_trigslot);
		render_row(&new, capture, trigdata->tg_newslot);
		refuse_null_tenant(capture, trigdata->tg_relation, &new);
		if (!old.has_tenant || !same_slice(old.tenant, new.tenant) ||
			!same_slice(old.pk_json, new.pk_json))
		{
			/* a row without a tenant cannot have been told of */
			if (old.has_tenant)
				add_event(capture, EVPUB_OP_DELETE, &old);
			add_event(capture, EVPUB_OP_CREATE, &new);
			return;
		}
	}
	else
	{
		render_row(&new, capture, trigdata->tg_newslot);
		refuse_null_tenant(capture, trigdata->tg_relation, &new);
	}
	add_event(capture, EVPUB_OP_UPDATE, &new);
}

static void
refuse_truncate(const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot truncate captured table \"%s\"", table),
			 errdetail("This version of evpub cannot tell which rows TRUNCATE takes away."),
			 errhint("Use DELETE, or evpub.release_table() first.")));
}

/*
 * Is the relation a partition that is captured by the function "capture"?
 * Looks into the catalog, because the relation may not be locked yet.
 */
static bool
is_captured_partition(Oid relid, Oid capture)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	bool		found = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, TriggerRelidNameIndexId, true, NULL, 1,
							  &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		found = trigger->tgfoid == capture && OidIsValid(trigger->tgparentid) &&
			trigger->tgenabled != TRIGGER_DISABLED;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/*
 * A statement trigger stands only on the table that was captured, so TRUNCATE
 * of a single partition would take rows away without an event.  The object
 * access hook is called for each table that is truncated.
 */
static void
check_truncate(Oid relid)
{
	Oid			schema = get_namespace_oid("evpub", true);
	Oid			capture;

	/* in a database without the extension there is no such function */
	if (!OidIsValid(schema))
		return;

	/* not by LookupFuncName(): whoever truncates needs no right on the schema */
	capture = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
							  CStringGetDatum("capture"),
							  PointerGetDatum(buildoidvector(NULL, 0)),
							  ObjectIdGetDatum(schema));
	if (OidIsValid(capture) && is_captured_partition(relid, capture) &&
		evpub_database_registered())
		refuse_truncate(get_rel_name(relid));
}

static void
access_object(ObjectAccessType access, Oid classid, Oid objid, int subid,
			  void *arg)
{
	if (next_object_access_hook != NULL)
		next_object_access_hook(access, classid, objid, subid, arg);
	if (access == OAT_TRUNCATE && classid == RelationRelationId)
		check_truncate(objid);
}

static void
check_protocol(FunctionCallInfo fcinfo)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evpub.capture() must be called as a trigger"),
				 errhint("Use evpub.capture_table() to capture a table.")));
	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		return;
	if (!TRIGGER_FIRED_AFTER(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evpub.capture() must be called after the change"),
				 errhint("Create the trigger as AFTER ... FOR EACH ROW.")));
	if (!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evpub.capture() must be called for each row"),
				 errhint("Create the trigger as AFTER ... FOR EACH ROW.")));
	if (trigdata->tg_trigger->tgdeferrable)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evpub.capture() must not be called by a deferrable trigger"),
				 errdetail("Deferred, its events would not be in the order of the statements."),
				 errhint("Create the trigger without DEFERRABLE.")));
}

Datum
evpub_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	EvpubCapture *capture;
	RowImage	image;
	EvpubOp		op;

	check_protocol(fcinfo);
	if (!evpub_buffer_in_use() && !evpub_database_registered())
		PG_RETURN_POINTER(NULL);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		refuse_truncate(RelationGetRelationName(trigdata->tg_relation));

	capture = evpub_route_get(trigdata->tg_trigger, trigdata->tg_relation);
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		capture_update(capture, trigdata);
	else
	{
		op = TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) ?
			EVPUB_OP_CREATE : EVPUB_OP_DELETE;
		render_row(&image, capture, trigdata->tg_trigslot);
		refuse_null_tenant(capture, trigdata->tg_relation, &image);
		add_event(capture, op, &image);
	}
	PG_RETURN_POINTER(NULL);
}

void
evpub_capture_init(void)
{
	evpub_buffer_init();
	evpub_route_init();
	next_object_access_hook = object_access_hook;
	object_access_hook = access_object;
}
