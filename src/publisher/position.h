/*
 * position.h
 *		The publisher's state file: who this publisher is, and how far it got.
 */
#ifndef EVPUB_POSITION_H
#define EVPUB_POSITION_H

#include "postgres.h"

#include "access/xlogdefs.h"

#define EVPUB_STATE_DIRECTORY "evpub"
#define EVPUB_STATE_FILE EVPUB_STATE_DIRECTORY "/state"

/*
 * What the server is to the publisher; the file says so before anything is
 * done about it, so that a crash in between is finished at the next start.
 */
typedef enum EvpubRole
{
	EVPUB_ROLE_CREATING = 'c',	/* the slot is about to be made */
	EVPUB_ROLE_ACTIVE = 'a',
	EVPUB_ROLE_FOLLOWING = 'f', /* a standby that may take over */
	EVPUB_ROLE_GAP = 'g',
	EVPUB_ROLE_FENCED = 'x',
	EVPUB_ROLE_RETIRED = 'r'	/* the slot is about to be dropped */
} EvpubRole;

/* Since when events bear which publisher id; the last one is in force. */
typedef struct EvpubLineage
{
	uint64		publisher_id;
	TimeLineID	timeline;
	XLogRecPtr	from_lsn;
} EvpubLineage;

/* A topic that was published to. */
typedef struct EvpubTopic
{
	char	   *name;
	int32		partitions;		/* pinned; 0: not known yet */
	int64	   *offsets;		/* last acknowledged, by partition; -1: none */

	/* not in the file: for the relay that runs */
	uint32		number;
	bool		announced;
	int32		grown;			/* partitions that the cluster has, if more */
} EvpubTopic;

/* A gap in what was published, that a person accepted. */
typedef struct EvpubGap
{
	XLogRecPtr	from_lsn;
	XLogRecPtr	to_lsn;
} EvpubGap;

typedef struct EvpubPosition
{
	uint64		system_identifier;
	TimeLineID	timeline;
	EvpubRole	role;
	bool		paused;
	XLogRecPtr	restart_lsn;	/* read from here */
	XLogRecPtr	confirmed_lsn;	/* commits up to here are in Kafka */
	uint32		next_event;		/* of the first transaction after it */
	uint64		sequence;		/* of the last position message */
	int			nlineage;
	EvpubLineage *lineage;
	int			ntopics;
	int			topic_slots;	/* allocated, not in the file */
	EvpubTopic *topics;
	int			ngaps;
	EvpubGap   *gaps;
} EvpubPosition;

typedef enum EvpubPositionFound
{
	EVPUB_POSITION_ABSENT,
	EVPUB_POSITION_FOUND,
	EVPUB_POSITION_DAMAGED		/* unreadable, cut, wrong checksum or version */
} EvpubPositionFound;

/*
 * Read the state file into memory of the current context.  *problem says what
 * is wrong with a damaged one.
 */
extern EvpubPositionFound evpub_position_read(EvpubPosition *position, char **problem);

/* Replace the state file, durably; it is the old or the new one after a crash. */
extern void evpub_position_write(const EvpubPosition *position);

/* Remove it, durably. */
extern void evpub_position_remove(void);

/* The publisher id in force, or 0. */
extern uint64 evpub_position_publisher(const EvpubPosition *position);

/* The publisher id that events of a commit record starting at lsn bear. */
extern uint64 evpub_position_publisher_at(const EvpubPosition *position,
										  XLogRecPtr lsn);

extern void evpub_position_add_lineage(EvpubPosition *position, uint64 publisher_id,
									   TimeLineID timeline, XLogRecPtr from_lsn);

/* A number that no publisher had before, never 0. */
extern uint64 evpub_position_new_publisher(void);

#endif							/* EVPUB_POSITION_H */
