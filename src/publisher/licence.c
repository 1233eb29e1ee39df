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
 *
 * All of this runs in the worker, outside of publishing; take_over() and the
 * loss of the file are decided by a person.
 */
#include "postgres.h"

#include "access/timeline.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "position/follow.h"
#include "position/pins.h"
#include "position/statefile.h"
#include "publisher/label.h"
#include "publisher/licence.h"
#include "publisher/recovery.h"
#include "publisher/registry.h"
#include "publisher/rescue.h"
#include "publisher/slot.h"
#include "reader/walfind.h"
#include "reader/walreader.h"
#include "shmem.h"

/* ---- making and dropping ---- */

static TimeLineID
current_timeline(void)
{
	TimeLineID	timeline;

	(void) evpub_walreader_end(&timeline);
	return timeline;
}

/*
 * The slot is about to be made, or was when the server crashed.  A publisher
 * that takes over has a position already; else no label can have been
 * committed yet, so no event is older than now.
 */
static void
finish_creating(EvpubPosition *position)
{
	if (evpub_slot_find() == EVPUB_SLOT_ABSENT)
		evpub_slot_make();
	if (position->restart_lsn != InvalidXLogRecPtr)
		evpub_slot_keep(position->restart_lsn);
	else
	{
		evpub_slot_hold();
		position->restart_lsn = evpub_walreader_flushed_end();
		position->confirmed_lsn = position->restart_lsn;
		if (position->nlineage > 0)
			position->lineage[0].from_lsn = position->restart_lsn;
	}
	position->role = position->nlineage > 0 ? EVPUB_ROLE_ACTIVE : EVPUB_ROLE_FENCED;
	evpub_statefile_write(position);
}

void
evpub_licence_finish_retired(EvpubPosition *position)
{
	evpub_slot_drop();
	evpub_statefile_remove();
	memset(position, 0, sizeof(*position));
}

/* ---- examining ---- */

/* Why the file is not about this server as it is now, or NULL. */
static char *
why_not_ours(const EvpubPosition *position)
{
	TimeLineID	timeline;
	XLogRecPtr	end = evpub_walreader_end(&timeline);

	if (position->system_identifier != GetSystemIdentifier())
		return psprintf("the state file belongs to system " UINT64_FORMAT ", this is " UINT64_FORMAT,
						position->system_identifier, GetSystemIdentifier());
	if (position->timeline != timeline)
		return psprintf("the state file was written on timeline %u, this server is on %u: it was restored or promoted",
						position->timeline, timeline);
	if (evpub_statefile_moved(position))
		return pstrdup("the data directory was copied from that of a publisher, or moved to another file system");
	if (evpub_walreader_before_header(Max(position->confirmed_lsn, position->restart_lsn)) > end)
		return psprintf("the state file is ahead of WAL, which ends at %X/%X: the data directory is older than it",
						LSN_FORMAT_ARGS(end));
	return NULL;
}

/*
 * Creating was cut by a crash, or copied while it went on: then the label that
 * followed names the publisher that the file was made for.
 */
static char *
why_not_created_here(const EvpubPosition *position)
{
	uint64		labelled;
	char	   *reason = why_not_ours(position);

	if (!reason && position->nlineage > 0 &&
		evpub_label_count(&labelled) > 0 &&
		labelled == evpub_position_publisher(position))
		reason = pstrdup("the state file was copied while its publisher was made");
	return reason;
}

/* A state file that says "active" or "gap". */
static EvpubVerdict
examine_own(EvpubPosition *position, EvpubSlotFound slot, char **reason)
{
	*reason = why_not_ours(position);
	if (!*reason && slot == EVPUB_SLOT_ABSENT)
		*reason = pstrdup("there is a state file, but no replication slot \"evpub\": this server is a copy, or the slot was dropped");
	if (*reason)
		return EVPUB_STAND_FENCED;

	if (position->role == EVPUB_ROLE_GAP && position->gap.given_up)
	{
		evpub_slot_keep(position->gap.restart_lsn);
		return EVPUB_STAND_GAP;
	}

	/* whether there is a gap is decided by WAL: read, with a slot that holds */
	evpub_slot_keep(position->restart_lsn);
	position->role = EVPUB_ROLE_ACTIVE;
	position->gap.reason = NULL;
	return EVPUB_PUBLISH;
}

/* Only a label that names a publisher that this server never was. */
static EvpubVerdict
examine_label_only(EvpubPosition *position, uint64 publisher_id, char **reason)
{
	/* keep WAL from now on, so that a person who takes over finds it */
	if (!EvpubShmem->recovered && evpub_slot_available())
		return evpub_licence_create(position, publisher_id, reason);

	/* but a restored server must not fill its disk unasked */
	evpub_statefile_settle(position, current_timeline());
	position->role = EVPUB_ROLE_FENCED;
	position->restart_lsn = evpub_walreader_flushed_end();
	position->confirmed_lsn = position->restart_lsn;
	evpub_statefile_write(position);
	*reason = pstrdup("this server was restored from a backup of a publisher");
	return EVPUB_STAND_FENCED;
}

char *
evpub_licence_lost_file(const char *problem)
{
	return psprintf("%s: what was published is not known, WAL is kept from %X/%X; SELECT evpub.accept_gap('%X/%X') publishes it again, under a new id",
					problem, LSN_FORMAT_ARGS(evpub_slot_position()),
					LSN_FORMAT_ARGS(evpub_slot_position()));
}

static EvpubVerdict
examine_without_file(EvpubPosition *position, EvpubSlotFound slot,
					 bool damaged, char *problem, char **reason)
{
	uint64		publisher_id;

	if (evpub_label_count(&publisher_id) == 0)
	{
		if (damaged)
		{
			evpub_statefile_set_aside();
			ereport(WARNING,
					(errmsg("evpub: %s, and nobody is registered: renamed it to \"%s\"",
							problem, EVPUB_STATE_DAMAGED)));
		}
		*reason = pstrdup(EVPUB_NOBODY_REGISTERED);
		return EVPUB_NOTHING;
	}
	if (!damaged && slot == EVPUB_SLOT_ABSENT)
		return examine_label_only(position, publisher_id, reason);

	/* keep what there is, and what comes, until a person decides */
	if (slot == EVPUB_SLOT_ABSENT && evpub_slot_available())
		evpub_slot_make();
	if (evpub_slot_find() != EVPUB_SLOT_ABSENT)
		evpub_slot_keep(GetXLogInsertRecPtr());
	*reason = evpub_licence_lost_file(damaged ? problem : "the state file is lost");
	return EVPUB_STAND_GAP;
}

/* What a crash has cut, in the file; *reason if it was not ours to finish. */
static EvpubStatefileFound
finish_intent(EvpubPosition *position, char **problem, char **reason)
{
	EvpubStatefileFound found = evpub_statefile_read(position, problem);

	if (found == EVPUB_STATEFILE_FOUND && *problem)
		ereport(LOG, (errmsg("evpub: %s", *problem)));
	if (found == EVPUB_STATEFILE_FOUND && position->role == EVPUB_ROLE_RETIRED)
	{
		evpub_licence_finish_retired(position);
		found = EVPUB_STATEFILE_ABSENT;
	}
	if (found == EVPUB_STATEFILE_FOUND && position->role == EVPUB_ROLE_CREATING)
	{
		*reason = why_not_created_here(position);
		if (!*reason)
			finish_creating(position);
		else if (position->restart_lsn == InvalidXLogRecPtr)
		{
			/* what commits from now on may be wanted by who takes over */
			position->role = EVPUB_ROLE_FENCED;
			position->restart_lsn = evpub_walreader_flushed_end();
			position->confirmed_lsn = position->restart_lsn;
			evpub_statefile_settle(position, current_timeline());
			evpub_statefile_write(position);
		}
	}
	return found;
}

/*
 * A standby was promoted, and somebody may have it take over: then it needs WAL
 * from the newest position on, which the next checkpoints would remove.  The
 * limits bound what is kept, as for each fenced server that has a slot.
 *
 * Not for what was restored: that must not fill its disk unasked.  A slot that
 * was there already, from a time when this server was a primary, is as good,
 * unless it lost its WAL to a checkpoint that began before it was made; one that
 * a limit has moved stays, as the WAL from that position on goes.
 */
static void
reserve(EvpubPosition *position, EvpubSlotFound slot)
{
	/* with hot_standby = off nobody has followed */
	if (!evpub_walfind_segment(position->restart_lsn) && evpub_follow_latest(position))
		evpub_statefile_write(position);
	if (slot == EVPUB_SLOT_ABSENT)
		evpub_slot_make();
	evpub_slot_hold();

	/* where WAL is gone already, what comes next is kept */
	if (slot != EVPUB_SLOT_FOUND || evpub_walfind_segment(position->restart_lsn))
		evpub_slot_keep(position->restart_lsn);
}

/* Fenced it is in any case; what cannot be kept, take_over() finds missing. */
static void
reserve_for_take_over(EvpubPosition *position, EvpubSlotFound slot)
{
	MemoryContext caller = CurrentMemoryContext;
	uint64		labelled;

	if (!EvpubShmem->standby || position->nlineage == 0 ||
		position->restart_lsn == InvalidXLogRecPtr ||
		position->system_identifier != GetSystemIdentifier() ||
		evpub_label_count(&labelled) == 0 ||
		(slot == EVPUB_SLOT_ABSENT && !evpub_slot_available()))
		return;
	PG_TRY();
	{
		reserve(position, slot);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		if (geterrcode() == ERRCODE_ADMIN_SHUTDOWN)
			PG_RE_THROW();
		error = evpub_rescue(caller);
		ereport(WARNING,
				(errmsg("evpub could not keep WAL for evpub.take_over(): %s", error->message)));
	}
	PG_END_TRY();
}

EvpubVerdict
evpub_licence_examine(EvpubPosition *position, char **reason)
{
	EvpubVerdict verdict = EVPUB_STAND_FENCED;
	EvpubStatefileFound found;
	EvpubSlotFound slot;
	char	   *problem;

	*reason = NULL;
	evpub_recovery_fence();
	found = finish_intent(position, &problem, reason);

	/* the file's topics may lie where others have been */
	evpub_pins_changed();
	slot = evpub_slot_find();
	if (slot == EVPUB_SLOT_FOREIGN)
	{
		*reason = pstrdup("a logical replication slot has the name \"evpub\"\n"
						  "SELECT pg_drop_replication_slot('evpub'); then SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'evpub publisher';");
		return EVPUB_STAND_GAP;
	}
	if (found != EVPUB_STATEFILE_FOUND)
		verdict = examine_without_file(position, slot,
									   found == EVPUB_STATEFILE_DAMAGED, problem, reason);
	else if (*reason == NULL &&
			 (position->role == EVPUB_ROLE_ACTIVE || position->role == EVPUB_ROLE_GAP))
	{
		verdict = examine_own(position, slot, reason);

		/*
		 * In the half that is damaged there may have been a state of the next
		 * number, and WAL has its position message: standbys would take ours of the
		 * same number for one that they know.  (A copy has to find that message, as
		 * it is newer than its file, so its number stays.)
		 */
		if (problem && verdict != EVPUB_STAND_FENCED)
			position->sequence++;
	}
	else if (*reason == NULL)
	{
		reserve_for_take_over(position, slot);
		*reason = pstrdup(position->fenced_reason ? position->fenced_reason :
						  position->nlineage > 0 ?
						  "this server was promoted or restored, or copied from a publisher" :
						  "the databases were restored or upgraded from a publisher's");
	}

	/* a slot that is not ours (nobody is registered) is left alone */
	if (verdict != EVPUB_NOTHING && evpub_slot_find() != EVPUB_SLOT_ABSENT)
		evpub_slot_hold();
	else if (MyReplicationSlot)
		ReplicationSlotRelease();
	if (verdict == EVPUB_STAND_FENCED && MyReplicationSlot)
		*reason = psprintf("%s; its replication slot keeps WAL until it is taken over\n%s If it is never to publish: DROP EXTENSION evpub CASCADE; in each database that has it, which drops the slot, too.",
						   *reason, EVPUB_FENCED_HINT_FOR(position));
	return verdict;
}

/* ---- changes ---- */

EvpubVerdict
evpub_licence_create(EvpubPosition *position, uint64 foreign_id, char **reason)
{
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

	memset(position, 0, sizeof(*position));
	evpub_statefile_settle(position, current_timeline());
	position->role = EVPUB_ROLE_CREATING;
	if (foreign_id == 0)
		evpub_position_add_lineage(position, evpub_position_new_publisher(position),
								   position->timeline, InvalidXLogRecPtr);
	evpub_statefile_write(position);
	PG_TRY();
	{
		finish_creating(position);
	}
	PG_CATCH();
	{
		/*
		 * No publisher then: the asker gets the error, and may ask again.  The
		 * slot goes first, the file second, so that a crash in between still
		 * finds the intent.  The error may have left locks on slots.
		 */
		LWLockReleaseAll();
		memset(position, 0, sizeof(*position));
		if (MyReplicationSlot)
			evpub_slot_drop();
		evpub_statefile_remove();
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (foreign_id == 0)
		return EVPUB_PUBLISH;
	*reason = psprintf("the database's label names publisher %016llx, which this server never was: it was restored or upgraded",
					   (unsigned long long) foreign_id);
	return EVPUB_STAND_FENCED;
}

/*
 * The position says nothing about this server's WAL.  What the slot has kept is
 * published, some of it perhaps again; transactions that it begins in the
 * middle of cannot be whole.  Without a slot there is nothing but what comes.
 */
static void
start_with_what_is_kept(EvpubPosition *position)
{
	EvpubGap	gap;
	XLogRecPtr	from;

	if (evpub_slot_find() == EVPUB_SLOT_FOUND)
		evpub_slot_hold();
	from = evpub_slot_position();
	if (from == InvalidXLogRecPtr)
		from = evpub_walreader_flushed_end();
	position->restart_lsn = from;
	position->confirmed_lsn = from;
	position->next_event = 0;

	memset(&gap, 0, sizeof(gap));
	gap.from_lsn = from;
	gap.to_lsn = from;
	gap.horizon = U64FromFullTransactionId(ReadNextFullTransactionId());
	gap.accepted_at = GetCurrentTimestamp();
	gap.announced = true;			/* there is nothing to announce */
	gap.reason = "the state file was not about this server's WAL";
	evpub_position_add_gap(position, &gap);
}

/*
 * From where does this server publish what its predecessor may not have?  From
 * the file's position, if that lies in the history of this server's WAL; a
 * position behind the point where our history left it means that point; and
 * without any common history, what the slot has kept.
 *
 * Returns from where on events bear the new publisher id.  Up to the point where our
 * history left that of the file they are the predecessor's, and have the ids that it
 * gave them: so what it got into Kafka is recognised there, also what it could not
 * say in WAL any more.  Where no such point is known, the new id begins with what is
 * published next.
 */
static XLogRecPtr
find_start(EvpubPosition *position)
{
	TimeLineID	timeline;
	XLogRecPtr	end = evpub_walreader_end(&timeline);
	XLogRecPtr	from = InvalidXLogRecPtr;
	List	   *history = readTimeLineHistory(timeline);

	if (position->restart_lsn == InvalidXLogRecPtr ||
		!tliInHistory(position->timeline, history) ||
		(position->timeline == timeline && position->confirmed_lsn > end))
		start_with_what_is_kept(position);
	else if (position->timeline != timeline)
	{
		TimeLineID	next;
		XLogRecPtr	left = tliSwitchPoint(position->timeline, history, &next);

		if (position->confirmed_lsn > left)
		{
			position->confirmed_lsn = left;
			position->next_event = 0;
		}
		position->restart_lsn = Min(position->restart_lsn, left);
		from = left;
	}
	else if (position->nlineage > 0)
		/* what take_over() has left to an earlier publisher id stays so */
		from = position->lineage[position->nlineage - 1].from_lsn;
	list_free_deep(history);
	return Max(from, position->confirmed_lsn);
}

/*
 * The person says that other servers that have taken over from this publisher are
 * to be replaced: what they have published is no reason to stand still.  The arrays
 * are new, since an error goes back to the old position.
 */
static void
replace_others(EvpubPosition *position)
{
	EvpubTopic *topics;

	if (position->ntopics == 0)
		return;
	topics = MemoryContextAllocZero(TopMemoryContext,
									sizeof(EvpubTopic) * position->topic_slots);
	memcpy(topics, position->topics, sizeof(EvpubTopic) * position->ntopics);
	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &topics[i];
		Size		length = sizeof(EvpubLast) * Max(topic->partitions, 1);
		EvpubLast  *last = MemoryContextAllocZero(TopMemoryContext, length);

		for (int32 p = 0; p < topic->partitions; p++)
		{
			last[p] = topic->last[p];
			last[p].replaces = true;
		}
		topic->last = last;
	}
	position->topics = topics;
	evpub_pins_changed();
}

void
evpub_licence_take_over(EvpubPosition *position)
{
	EvpubPosition before = *position;
	XLogRecPtr	from;

	/* what WAL says of it is newer than the file that was copied */
	if (position->nlineage > 0)
		(void) evpub_follow_latest(position);
	from = find_start(position);
	evpub_statefile_settle(position, current_timeline());
	evpub_position_add_lineage(position, evpub_position_new_publisher(position),
							   position->timeline, from);
	position->gap.reason = NULL;
	position->fenced_reason = NULL;
	replace_others(position);
	position->role = EVPUB_ROLE_CREATING;
	PG_TRY();
	{
		evpub_statefile_write(position);
		finish_creating(position);
	}
	PG_CATCH();
	{
		/* a crash here takes over; an error must not */
		*position = before;
		evpub_statefile_write(position);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
evpub_licence_start_anew(EvpubPosition *position, XLogRecPtr from)
{
	EvpubPosition old;
	char	   *problem;

	if (evpub_statefile_read(&old, &problem) == EVPUB_STATEFILE_DAMAGED)
		evpub_statefile_set_aside();
	memset(position, 0, sizeof(*position));
	evpub_statefile_settle(position, current_timeline());
	evpub_position_add_lineage(position, evpub_position_new_publisher(position),
							   position->timeline, from);
	position->role = EVPUB_ROLE_ACTIVE;
	position->restart_lsn = from;
	position->confirmed_lsn = from;
}
