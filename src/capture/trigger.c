/*
 * trigger.c
 *		evpub.capture(): the trigger that makes an event of a row's change.
 *
 * Runs once for each row that is written, so it does as little as it can: the
 * settings are compiled (compile.c), the row is rendered from the slot that the
 * executor has anyway, and the event goes into the transaction's buffer.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "capture/buffer.h"
#include "capture/capture.h"
#include "capture/captures.h"
#include "capture/compare.h"
#include "capture/key.h"
#include "capture/move.h"
#include "capture/row.h"
#include "capture/truncate.h"
#include "capture/twin.h"
#include "compat.h"
#include "registration.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(evpub_capture);

/* Are two versions of a row the same bytes?  If not, they may still be equal. */
static bool
same_bytes(const TriggerData *trigdata)
{
	HeapTuple	old = trigdata->tg_trigtuple;
	HeapTuple	new = trigdata->tg_newtuple;

	return old->t_len == new->t_len &&
		old->t_data->t_hoff == new->t_data->t_hoff &&
		HeapTupleHeaderGetNatts(old->t_data) ==
		HeapTupleHeaderGetNatts(new->t_data) &&
		HeapTupleHasNulls(old) == HeapTupleHasNulls(new) &&
		memcmp(old->t_data->t_bits, new->t_data->t_bits,
			   old->t_len - offsetof(HeapTupleHeaderData, t_bits)) == 0;
}

static bool
same_identity(const EvpubCapture *capture, TupleDesc desc,
			  TupleTableSlot *old, TupleTableSlot *new)
{
	slot_getsomeattrs(old, capture->last_column);
	slot_getsomeattrs(new, capture->last_column);

	if (capture->has_tenant_column &&
		!evpub_same_column(capture->tenant_column.number, desc, old, new))
		return false;
	for (int i = 0; i < capture->key_columns; i++)
	{
		if (!evpub_same_column(capture->key_column[i].number, desc, old, new))
			return false;
	}
	return true;
}

/* The names of the columns that changed, as a JSON array. */
static EvpubSlice
changed_columns(TupleDesc desc, TupleTableSlot *old, TupleTableSlot *new)
{
	StringInfoData json;

	slot_getallattrs(old);
	slot_getallattrs(new);
	initStringInfo(&json);
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (TupleDescAttr(desc, i)->attisdropped ||
			evpub_same_column(i + 1, desc, old, new))
			continue;
		appendStringInfoChar(&json, json.len == 0 ? '[' : ',');
		evpub_json_string(&json, evpub_utf8(name, strlen(name)));
	}
	appendStringInfoChar(&json, ']');
	return (EvpubSlice) {json.data, json.len};
}

/* Does an event come after those of later commands? */
typedef struct Late
{
	bool		old;			/* another row may be under the old row's key */
	bool		new;			/* the new row may not be what it was */
} Late;

/*
 * A trigger or function that a statement calls may run statements of its own.
 * Their triggers fire at their end, when some triggers of the outer statement still
 * wait.  If both statements changed one row, the event of the outer one comes last,
 * and holds values that are no longer those of the row.
 *
 * The row says which command made the change, and whether a later one has changed
 * it since.  A new row that is as it was written is published as it is.  That says
 * nothing of the old row's key: a later command may have put another row under it,
 * also after an UPDATE of the key whose new row nobody touched.  A command that was
 * rolled back may be remembered as the newest; then rows are looked up without need.
 */
static Late
find_late(const TriggerData *trigdata)
{
	static CommandId newest;
	static LocalTransactionId newest_in;
	LocalTransactionId transaction = evpub_local_transaction();
	HeapTupleHeader header = trigdata->tg_trigtuple->t_data;
	bool		touched = true;
	CommandId	command;

	if (trigdata->tg_relation->rd_rel->relam != HEAP_TABLE_AM_OID)
		return (Late) {false, false};	/* nothing says which command it was */
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		command = HeapTupleHeaderGetCmax(header);
	else
	{
		if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
			header = trigdata->tg_newtuple->t_data;
		touched = !(header->t_infomask & HEAP_XMAX_INVALID) &&
			!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask);
		if (HeapTupleHeaderXminFrozen(header))
			return (Late) {false, touched}; /* COPY FREEZE: its command may be
											 * overwritten */
		command = HeapTupleHeaderGetCmin(header);
	}
	if (newest_in == transaction && command < newest)
		return (Late) {true, touched};
	newest = command;
	newest_in = transaction;
	return (Late) {false, false};
}

/*
 * A row is gone under its key, or left the filter.  Where the key is not unique
 * at every moment, or the event is late, another row may have the key by now,
 * inside the filter: then that one is published.
 */
static void
capture_gone(EvpubCapture *capture, Relation rel, const EvpubRow *row,
			 TupleTableSlot *slot, Late late)
{
	TupleTableSlot *twin = NULL;
	EvpubRow	other;

	evpub_key_check_filter(capture, rel);
	if (!capture->key_is_unique || late.old)
		twin = evpub_twin_find(capture, rel, row, slot);
	if (likely(twin == NULL))
	{
		evpub_row_event(capture, EVPUB_CHANGE_DELETE, row);
		return;
	}
	/*
	 * If it is late, and inserts are published, a later command may have published
	 * the other row as created already.  As an update it says that it has replaced
	 * the row that is gone.
	 */
	if (capture->on_update || (late.old && capture->on_insert))
	{
		evpub_row_render(&other, capture, rel, twin);
		evpub_row_event(capture, EVPUB_CHANGE_REPLACE, &other);
	}
	ExecDropSingleTupleTableSlot(twin);
}

/*
 * A row that has a new version, or is new, or came into the filter.  If the event
 * is late, another row may be there by now, or none, or one outside the filter.
 * What the later command did was published already; so what is there now is
 * published again, and nothing if there is none.
 */
static void
capture_here(EvpubCapture *capture, Relation rel, EvpubChangeKind kind,
			 const EvpubRow *row, TupleTableSlot *slot, Late late)
{
	TupleTableSlot *now;
	EvpubRow	other;

	if (unlikely(late.new))
		evpub_key_check_filter(capture, rel);
	if (likely(!late.new) || !OidIsValid(capture->key_index))
	{
		evpub_row_event(capture, kind, row);
		return;
	}
	now = evpub_twin_find(capture, rel, row, slot);
	if (now == NULL)
		return;
	evpub_row_render(&other, capture, rel, now);
	other.changed_json = row->changed_json;
	other.old_pk_json = row->old_pk_json;

	/* a later delete must be published, whatever else this collapses with */
	if (kind == EVPUB_CHANGE_INSERT)
		kind = EVPUB_CHANGE_CREATE;
	evpub_row_event(capture, kind, &other);
	ExecDropSingleTupleTableSlot(now);
}

/*
 * An update that moves the row to another key or tenant is published under both:
 * consumers of the old one must learn that the row is gone there.
 */
static void
capture_update(EvpubCapture *capture, const TriggerData *trigdata, Late late)
{
	Relation	rel = trigdata->tg_relation;
	TupleDesc	desc = RelationGetDescr(rel);
	EvpubRow	new;
	EvpubRow	old;

	/* update_columns or ignore_columns may say which columns count */
	if (same_bytes(trigdata) ||
		!evpub_any_changed(desc, capture->counts, trigdata->tg_trigslot,
						   trigdata->tg_newslot))
		return;

	evpub_row_render(&new, capture, rel, trigdata->tg_newslot);
	if (!same_identity(capture, desc, trigdata->tg_trigslot, trigdata->tg_newslot))
	{
		evpub_row_render_unchecked(&old, capture, trigdata->tg_trigslot);
		if (!old.has_tenant || !evpub_slice_equals(old.tenant, new.tenant) ||
			!evpub_slice_equals(old.pk_json, new.pk_json))
		{
			/* a row without a tenant cannot have been published */
			if (old.has_tenant)
				capture_gone(capture, rel, &old, trigdata->tg_trigslot, late);
			if (!evpub_slice_equals(old.pk_json, new.pk_json))
				new.old_pk_json = old.pk_json;
			capture_here(capture, rel, EVPUB_CHANGE_CREATE, &new,
						 trigdata->tg_newslot, late);
			return;
		}
	}
	if (capture->payload == EVPUB_PAYLOAD_CHANGED_COLUMNS)
		new.changed_json = changed_columns(desc, trigdata->tg_trigslot,
										   trigdata->tg_newslot);
	capture_here(capture, rel, EVPUB_CHANGE_UPDATE, &new, trigdata->tg_newslot, late);
}

/*
 * An update has brought a row into the filter, or taken it out: the triggers
 * of a filter fire only for what their WHEN lets through.
 */
static void
capture_crossing(EvpubCapture *capture, const TriggerData *trigdata, Late late)
{
	Relation	rel = trigdata->tg_relation;
	EvpubRow	row;
	TupleTableSlot *slot = capture->enters ? trigdata->tg_newslot : trigdata->tg_trigslot;

	evpub_row_render(&row, capture, rel, slot);
	if (capture->enters)
		capture_here(capture, rel, EVPUB_CHANGE_CREATE, &row, slot, late);
	else
		capture_gone(capture, rel, &row, slot, late);
}

/* ---- rows that move to another partition ---- */

/*
 * The row of a move is gone where it was.  Whether it arrives inside the filter,
 * or at all, is not known yet.  So it is published as deleted, and that event is
 * taken back when the row arrives.
 */
static void
capture_departure(EvpubCapture *capture, const TriggerData *trigdata, EvpubMove *move,
				  Late late)
{
	uint32		event;
	EvpubRow	row;

	move->late = late.old;
	if (capture->moves)
		return;					/* the filter was not asked */
	move->inside = true;

	/* a worker of logical replication may just delete it */
	if (!capture->on_delete &&
		!(capture->on_update &&
		  HeapTupleHeaderIndicatesMovedPartitions(trigdata->tg_trigtuple->t_data)))
		return;
	evpub_row_render_unchecked(&row, capture, trigdata->tg_trigslot);
	/* a row without a tenant cannot have been published */
	if (!row.has_tenant)
		return;
	evpub_buffer_keep_next();

	/*
	 * Only now: a function that rendering has called, such as a cast to json,
	 * may have published by hand.  Its event must not be taken back for ours.
	 */
	event = evpub_buffer_next_number();
	capture_gone(capture, trigdata->tg_relation, &row, trigdata->tg_trigslot, late);
	if (evpub_buffer_next_number() == event)
		return;

	/* a function that prints a value may have fired triggers: look again */
	move = evpub_move_begin(capture, trigdata);
	move->inside = true;
	move->late = late.old;
	move->has_event = true;
	move->event = event;
}

/*
 * The row arrives inside the filter, where it was before: an update like others.
 * True if it is to be published, and then *kind and *new say how.  *is_gone: under
 * its old key or tenant it is to be published as deleted.
 */
static bool
compare_moved(EvpubCapture *capture, Relation rel, const EvpubMove *move,
			  TupleTableSlot *slot, EvpubChangeKind *kind, EvpubRow *new, bool *is_gone)
{
	TupleDesc	desc = RelationGetDescr(rel);
	TupleTableSlot *old_slot = evpub_move_old_row(move, rel);
	bool		counts = evpub_any_changed(desc, capture->counts, old_slot, slot);
	EvpubRow	old;

	*kind = EVPUB_CHANGE_UPDATE;
	evpub_row_render_unchecked(&old, capture, old_slot);
	if (!old.has_tenant || !evpub_slice_equals(old.tenant, new->tenant) ||
		!evpub_slice_equals(old.pk_json, new->pk_json))
	{
		*kind = EVPUB_CHANGE_CREATE;
		*is_gone = old.has_tenant;
		if (!evpub_slice_equals(old.pk_json, new->pk_json))
			new->old_pk_json = old.pk_json;
		if (old.has_tenant && !move->has_event)
			capture_gone(capture, rel, &old, old_slot, (Late) {move->late, false});
	}
	else if (capture->payload == EVPUB_PAYLOAD_CHANGED_COLUMNS)
		new->changed_json = changed_columns(desc, old_slot, slot);
	ExecDropSingleTupleTableSlot(old_slot);
	return counts;
}

/*
 * The row of a move arrives.  The event that it is gone is taken back, unless its
 * key has changed, or it has left the filter.  That event may be in WAL already, if
 * triggers in between have made very many events.  Then the row is published as
 * created, since consumers will have dropped it.
 */
static void
capture_arrival(EvpubCapture *capture, const TriggerData *trigdata,
				const EvpubMove *move, Late late)
{
	Relation	rel = trigdata->tg_relation;
	TupleTableSlot *slot = trigdata->tg_trigslot;
	EvpubChangeKind kind = EVPUB_CHANGE_CREATE;
	bool		publish = capture->on_update;
	bool		is_gone = false;
	bool		taken_back = true;
	EvpubRow	new;

	/* its INSERT comes after those of the filter: it is outside */
	if (capture->moves)
	{
		if (!capture->on_update && move->has_event)
			(void) evpub_buffer_take_back(move->event);
		return;
	}
	if (publish || move->has_event)
		evpub_row_render(&new, capture, rel, slot);
	if (publish && move->inside)
		publish = compare_moved(capture, rel, move, slot, &kind, &new, &is_gone);
	if (move->has_event && !is_gone)
		taken_back = evpub_buffer_take_back(move->event);
	if (!taken_back)
		kind = EVPUB_CHANGE_CREATE;
	if (publish || !taken_back)
		capture_here(capture, rel, kind, &new, slot, late);
}

/*
 * Is this a row of its own, whose command has also moved another one that did not
 * arrive?  Where updates are published, it may be taken for that one, since both
 * keys are published then.  Where they are not, a move has no event, and this row
 * needs one of its own.
 */
static bool
is_another_row(EvpubCapture *capture, const TriggerData *trigdata, const EvpubMove *move)
{
	Relation	rel = trigdata->tg_relation;
	TupleTableSlot *old_slot;
	bool		is_other;

	if (capture->on_update || !evpub_move_may_vanish(capture, move))
		return false;
	old_slot = evpub_move_old_row(move, rel);
	is_other = !same_identity(capture, RelationGetDescr(rel), old_slot, trigdata->tg_trigslot);
	ExecDropSingleTupleTableSlot(old_slot);
	return is_other;
}

static void
capture_insert(EvpubCapture *capture, const TriggerData *trigdata, Late late)
{
	EvpubMove	move;
	EvpubRow	row;

	if (evpub_move_end(capture, trigdata, &move))
	{
		bool		is_other = is_another_row(capture, trigdata, &move);

		if (!is_other)
			capture_arrival(capture, trigdata, &move, late);
		heap_freetuple(move.row);
		if (!is_other)
			return;
	}
	if (!capture->on_insert || capture->moves)
		return;
	evpub_row_render(&row, capture, trigdata->tg_relation, trigdata->tg_trigslot);
	capture_here(capture, trigdata->tg_relation, EVPUB_CHANGE_INSERT, &row,
				 trigdata->tg_trigslot, late);
}

static void
capture_delete(EvpubCapture *capture, const TriggerData *trigdata, Late late)
{
	EvpubMove  *move = evpub_move_begin(capture, trigdata);
	EvpubRow	row;

	if (move != NULL)
	{
		capture_departure(capture, trigdata, move, late);
		return;
	}
	if (!capture->on_delete || capture->moves)
		return;
	evpub_row_render(&row, capture, trigdata->tg_relation, trigdata->tg_trigslot);
	capture_gone(capture, trigdata->tg_relation, &row, trigdata->tg_trigslot, late);
}

void
evpub_capture_check_trigger(const Trigger *trigger)
{
	int16		changes = trigger->tgtype &
		(TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE);

	if (TRIGGER_FOR_TRUNCATE(trigger->tgtype) && !TRIGGER_FOR_BEFORE(trigger->tgtype))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evpub.capture() must be called before a TRUNCATE"),
				 errdetail("Afterwards there are no rows that say whose they were."),
				 errhint("Create the trigger as BEFORE TRUNCATE, without other operations.")));
	if (changes == 0)
		return;
	if (!TRIGGER_FOR_AFTER(trigger->tgtype))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evpub.capture() must be called after the change"),
				 errhint("Create the trigger as AFTER ... FOR EACH ROW.")));
	if (!TRIGGER_FOR_ROW(trigger->tgtype))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evpub.capture() must be called for each row"),
				 errhint("Create the trigger as AFTER ... FOR EACH ROW.")));
	if (trigger->tgdeferrable)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evpub.capture() must not be called by a deferrable trigger"),
				 errdetail("Deferred, its events would not be in the order of the statements."),
				 errhint("Create the trigger without DEFERRABLE.")));
}

static void
check_protocol(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evpub.capture() must be called as a trigger"),
				 errhint("Use evpub.capture_table() to capture a table.")));
	/* DDL checks it, too, but not while evpub.capture is off */
	evpub_capture_check_trigger(((TriggerData *) fcinfo->context)->tg_trigger);
}

Datum
evpub_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	EvpubCapture *capture;
	Late		late;

	check_protocol(fcinfo);
	if (!evpub_capture_enabled)
		PG_RETURN_POINTER(NULL);
	if (!evpub_buffer_in_use() && !evpub_database_registered())
		PG_RETURN_POINTER(NULL);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
	{
		evpub_truncate_capture(trigdata->tg_trigger, trigdata->tg_relation);
		PG_RETURN_POINTER(NULL);
	}

	capture = evpub_captures_get(trigdata->tg_trigger, trigdata->tg_relation);
	late = find_late(trigdata);
	if (capture->enters || capture->leaves)
		capture_crossing(capture, trigdata, late);
	else if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		if (capture->on_update)
			capture_update(capture, trigdata, late);
	}
	else if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		capture_insert(capture, trigdata, late);
	else
		capture_delete(capture, trigdata, late);
	PG_RETURN_POINTER(NULL);
}

void
evpub_capture_init(void)
{
	evpub_buffer_init();
	evpub_captures_init();
	evpub_truncate_init();
}
