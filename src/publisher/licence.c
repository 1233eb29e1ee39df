/*
 * licence.c
 *		May this server publish?
 *
 * A copy of a server must not publish what the original publishes.  A base
 * backup copies the state file but not the slot; a file-system snapshot copies
 * both but comes up on another timeline when it is restored, or beside the
 * original; pg_upgrade and a restored dump bring only the label.  So a server
 * publishes only if slot and file belong together and the file names this
 * system and this timeline.  All else stands still and says why.
 *
 * Every change of slot and file is announced in the file first; a crash in
 * between is finished here.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "replication/slot.h"

#include "evpub.h"
#include "publisher/licence.h"
#include "publisher/registry.h"
#include "publisher/slot.h"
#include "publisher/walreader.h"

/* The slot is about to be made, or was when the server crashed. */
static void
finish_creating(EvpubPosition *position)
{
	/* no label can have been committed yet, so no event is older than now */
	if (evpub_slot_find() == EVPUB_SLOT_ABSENT)
		position->restart_lsn = evpub_slot_make();
	else
	{
		evpub_slot_hold();
		position->restart_lsn = GetXLogInsertRecPtr();
	}

	/* else a crash could leave the file pointing beyond the end of WAL */
	XLogFlush(evpub_walreader_before_header(position->restart_lsn));
	position->confirmed_lsn = position->restart_lsn;
	if (position->nlineage > 0)
		position->lineage[0].from_lsn = position->restart_lsn;
	position->role = position->nlineage > 0 ? EVPUB_ROLE_ACTIVE : EVPUB_ROLE_FENCED;
	evpub_position_write(position);
}

static void
finish_retired(EvpubPosition *position)
{
	evpub_slot_drop();
	evpub_position_remove();
	memset(position, 0, sizeof(*position));
}

/* A state file that says "active". */
static EvpubVerdict
examine_active(EvpubPosition *position, EvpubSlotFound slot, char **reason)
{
	TimeLineID	timeline;

	(void) evpub_walreader_end(&timeline);
	if (position->system_identifier != GetSystemIdentifier())
		*reason = psprintf("the state file belongs to system " UINT64_FORMAT ", this is " UINT64_FORMAT,
						   position->system_identifier, GetSystemIdentifier());
	else if (position->timeline != timeline)
		*reason = psprintf("the state file was written on timeline %u, this server is on %u: it was restored or promoted",
						   position->timeline, timeline);
	else if (slot == EVPUB_SLOT_ABSENT)
		*reason = pstrdup("there is a state file, but no replication slot \"evpub\": this server is a copy, or the slot was dropped");
	else if (slot == EVPUB_SLOT_INVALIDATED)
	{
		/* whether there is a gap is decided by WAL: make it again and read */
		evpub_slot_reset(position->restart_lsn);
		return EVPUB_PUBLISH;
	}
	else
		return EVPUB_PUBLISH;
	return EVPUB_STAND_FENCED;
}

static EvpubVerdict
examine_without_file(EvpubPosition *position, EvpubSlotFound slot,
					 EvpubPositionFound found, char *problem, char **reason)
{
	uint64		publisher_id;
	bool		registered = evpub_registry_count(&publisher_id) > 0;

	if (found == EVPUB_POSITION_DAMAGED)
	{
		*reason = problem;
		return EVPUB_STAND_GAP;
	}
	if (!registered)
	{
		*reason = pstrdup(EVPUB_NOBODY_REGISTERED);
		return EVPUB_NOTHING;
	}
	if (slot != EVPUB_SLOT_ABSENT)
	{
		*reason = pstrdup("there is a replication slot \"evpub\", but no state file: what was published is not known");
		return EVPUB_STAND_GAP;
	}

	/* keep WAL from now on, so that a person who takes over finds it */
	return evpub_licence_create(position, publisher_id, reason);
}

EvpubVerdict
evpub_licence_examine(EvpubPosition *position, char **reason)
{
	EvpubVerdict verdict = EVPUB_STAND_FENCED;
	EvpubPositionFound found;
	EvpubSlotFound slot;
	char	   *problem;

	*reason = NULL;
	found = evpub_position_read(position, &problem);
	if (found == EVPUB_POSITION_FOUND && position->role == EVPUB_ROLE_RETIRED)
	{
		finish_retired(position);
		found = EVPUB_POSITION_ABSENT;
	}
	if (found == EVPUB_POSITION_FOUND && position->role == EVPUB_ROLE_CREATING)
		finish_creating(position);

	slot = evpub_slot_find();
	if (slot == EVPUB_SLOT_FOREIGN)
	{
		*reason = pstrdup("a logical replication slot has the name \"evpub\"");
		return EVPUB_STAND_GAP;
	}
	if (found != EVPUB_POSITION_FOUND)
		verdict = examine_without_file(position, slot, found, problem, reason);
	else if (position->role == EVPUB_ROLE_ACTIVE)
		verdict = examine_active(position, slot, reason);
	else if (position->role == EVPUB_ROLE_GAP)
	{
		*reason = pstrdup("the state file records a gap");
		verdict = EVPUB_STAND_GAP;
	}
	else
		*reason = pstrdup("the state file says that this server may be a copy of a publisher");

	/* a slot that is not ours (nobody is registered) is left alone */
	if (verdict != EVPUB_NOTHING && evpub_slot_find() != EVPUB_SLOT_ABSENT)
		evpub_slot_hold();
	return verdict;
}

EvpubVerdict
evpub_licence_create(EvpubPosition *position, uint64 foreign_id, char **reason)
{
	TimeLineID	timeline;

	if (evpub_slot_find() != EVPUB_SLOT_ABSENT)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("a replication slot \"evpub\" exists already"),
				 errhint("Drop it if nothing uses it: SELECT pg_drop_replication_slot('evpub').")));
	if (!evpub_slot_available())
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("all replication slots are in use"),
				 errhint("Free one or increase max_replication_slots (%d).",
						 max_replication_slots)));

	(void) evpub_walreader_end(&timeline);
	memset(position, 0, sizeof(*position));
	position->system_identifier = GetSystemIdentifier();
	position->timeline = timeline;
	position->role = EVPUB_ROLE_CREATING;
	if (foreign_id == 0)
		evpub_position_add_lineage(position, evpub_position_new_publisher(),
								   timeline, InvalidXLogRecPtr);
	evpub_position_write(position);
	PG_TRY();
	{
		finish_creating(position);
	}
	PG_CATCH();
	{
		/*
		 * No publisher then: the asker is told, and may ask again.  Slot
		 * first, file second, so that a crash in between still finds the
		 * intent.  The error may have left locks on slots.
		 */
		LWLockReleaseAll();
		if (MyReplicationSlot)
			evpub_slot_drop();
		evpub_position_remove();
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (foreign_id == 0)
		return EVPUB_PUBLISH;
	*reason = psprintf("the database's label names publisher %016llx, which this server never was: it was restored or upgraded",
					   (unsigned long long) foreign_id);
	return EVPUB_STAND_FENCED;
}

void
evpub_licence_retire(EvpubPosition *position)
{
	position->role = EVPUB_ROLE_RETIRED;
	evpub_position_write(position);
	finish_retired(position);
}
