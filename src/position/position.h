/*
 * position.h
 *		Who this publisher is, and how far it got: what the state file and the
 *		position messages hold, as structures.
 */
#ifndef EVPUB_POSITION_H
#define EVPUB_POSITION_H

#include "postgres.h"

#include "access/transam.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "event/event.h"
#include "figures.h"
#include "lost.h"
#include "position/eventid.h"

/*
 * What the server is to the publisher; the file says so before anything is
 * done about it, so that a crash in between is finished at the next start.
 */
typedef enum EvpubRole
{
	EVPUB_ROLE_NONE = 0,		/* there is no file, or it is lost; never in one */
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

/* What is known of a partition of a topic that was published to. */
typedef struct EvpubLast
{
	int64		offset;			/* all up to here is acknowledged, was read back, or
								 * was there when the topic was pinned; -1: none */
	EvpubId		id;				/* of the newest acknowledged record; publisher 0:
								 * none */

	/*
	 * A publisher of our root that is found here, and is not in our lineage, is
	 * one that take_over() has replaced.  Until a record of this server is
	 * acknowledged.
	 */
	bool		replaces;
} EvpubLast;

/* A topic that was published to. */
typedef struct EvpubTopic
{
	uint32		number;			/* its own for ever; rises from topic to topic */
	char	   *name;
	int32		partitions;		/* pinned; 0: not known yet; -1: not known any
								 * more, the topic was deleted and made again */
	EvpubLast  *last;			/* by partition */

	/*
	 * Numbers of its partitions for evpub.gap events: each partition that was
	 * ever pinned has its own, which it keeps when the topic shrinks or is made
	 * again, whatever other topics come.
	 */
	int32		nnumbers;
	uint32	   *numbers;

	uint32		letters;		/* dead letters in a row: so many events of it, and
								 * no record that it took in between */

	/*
	 * The partitions that it has got meanwhile, 0: no more.  They count for
	 * what commits after grown_from, the end of the position message that
	 * brought this number; invalid: that is not logged yet.
	 */
	int32		grown;
	XLogRecPtr	grown_from;

	/*
	 * Growth is adopted when all before its line is in Kafka.  The position may
	 * follow later (tails.h), and whoever begins at an older position has to send
	 * what is before the line by the old count.  So until the position is here,
	 * file and messages have that count, and the new one as growth from the line
	 * on.  0: nothing like that.
	 */
	int32		before;			/* the old count */
	XLogRecPtr	before_line;
	XLogRecPtr	before_until;	/* all before the line is confirmed then */

	/* not in the file */
	bool		durable;		/* the file that has this count is on disk, and
								 * the position message with it in WAL */

	bool		grown_durable;	/* the same for grown_from */
	bool		changed;		/* since the last position message */

	int64		size;			/* max.message.bytes, as last reported; 0: not known */

	/* not in the file: for the relay that runs */
	bool		relay_knows;	/* it has had a TOPIC frame */
	bool		awaited;		/* the relay waits for a count that is durable */
	bool		remade;			/* found to be another topic of the same name */
	EvpubFigurePlace figures;	/* of the topic, for evpub.stat_topics */
	bool		reread;			/* it is new to us, but a predecessor may have written
								 * to it: it is read from its beginning */
} EvpubTopic;

/*
 * A gap that is open (role "gap"): what is not published, and why.  Events of
 * transactions that committed in (from_lsn, to_lsn] are given up when a person
 * accepts it; reading then begins at restart_lsn.
 */
typedef struct EvpubOpenGap
{
	XLogRecPtr	from_lsn;		/* confirmed */
	XLogRecPtr	to_lsn;
	XLogRecPtr	restart_lsn;
	bool		given_up;		/* by a limit: does not end by itself, even if
								 * the WAL is still there */
	char	   *reason;			/* NULL: there is no open gap */
	EvpubLost	lost;			/* what is given up by who accepts it */
	int			ncut;			/* transactions that were prepared then */
	TransactionId *cut;
} EvpubOpenGap;

/* A gap that a person accepted, or made by discard(). */
typedef struct EvpubGap
{
	XLogRecPtr	from_lsn;
	XLogRecPtr	to_lsn;
	uint64		horizon;		/* full xid that was next then: an incomplete
								 * transaction below it was cut by this gap */
	TimestampTz accepted_at;
	bool		announced;		/* Kafka has all its evpub.gap events */
	char	   *reason;
	EvpubLost	lost;
	int			ncut;			/* transactions that are known to be cut */
	TransactionId *cut;
	uint32		repeat;			/* its number among those that end where it
								 * does, from 0 in the order of acceptance */
	uint32		next_number;	/* partitions with lower numbers have theirs */
} EvpubGap;

/* Numbers of evpub.gap events begin here, beyond those of any transaction. */
#define EVPUB_GAP_NUMBERS 0xF0000000U

/* Where the LSN stands in the id of an event; behind it is the number. */
#define EVPUB_ID_LSN_AT 26

/*
 * An event that Kafka refuses.  A person gave it up: an evpub.skipped event of the
 * same id and key is published instead of it.  Or it is a dead letter: a record of
 * the same id and key goes to the dead-letter topic instead.
 */
typedef struct EvpubSkip
{
	char		id[EVPUB_ID_LENGTH + 1];
	char	   *reason;			/* of the refusal */
	bool		silent;			/* evpub.skipped is refused, too: nothing is published */
	bool		letter;			/* it is a dead letter; the rest is about that alone */
	char	   *topic;			/* that refused the event; else NULL */
	int32		partition;
	int32		code;			/* Kafka's, of the refusal */

	/* not in the file */
	bool		counted;		/* the dead letter is in Kafka, and was counted */
	bool		passed;			/* the position is behind it */
} EvpubSkip;

/* Publishers that were replaced, and are remembered. */
#define EVPUB_REPLACED_KEPT 100

/* Accepted gaps that are remembered once they are announced. */
#define EVPUB_GAPS_KEPT 20

/* Transactions that a gap names at most. */
#define EVPUB_CUT_NAMED 100

/* How events were delivered: the values of evpub.delivery. */
#define EVPUB_DELIVERY_AT_LEAST_ONCE 'a'
#define EVPUB_DELIVERY_DEDUPLICATED 'd'

typedef struct EvpubPosition
{
	uint64		system_identifier;
	TimeLineID	timeline;
	EvpubRole	role;
	bool		paused;
	char		paused_by[NAMEDATALEN]; /* role; "" nobody */
	TimestampTz paused_at;
	uint64		directory_inode;	/* of EVPUB_STATE_DIRECTORY, see
									 * evpub_statefile_settle() */
	XLogRecPtr	restart_lsn;	/* read from here */
	XLogRecPtr	confirmed_lsn;	/* commits up to here are in Kafka */
	uint32		next_event;		/* of the first transaction after it, or of the
								 * gap events that stand for it */
	uint64		sequence;		/* of the last position message */
	char		delivery;		/* EVPUB_DELIVERY_... of the last relay */
	int			nlineage;
	EvpubLineage *lineage;
	int			nreplaced;		/* publishers of our root that are not in the
								 * lineage, and that take_over() has replaced */
	uint64	   *replaced;
	int			ntopics;
	int			topic_slots;	/* allocated, not in the file */
	uint32		next_topic;		/* number for the next new topic */
	uint32		next_number;	/* for the next new partition */
	EvpubTopic *topics;
	char	   *fenced_reason;	/* role "fenced": why, if another publisher's
								 * records were found; else NULL */
	EvpubOpenGap gap;			/* role "gap" */
	int			ngaps;			/* accepted, oldest first */
	EvpubGap   *gaps;
	int			nskips;			/* not behind the confirmed position */
	EvpubSkip  *skips;
} EvpubPosition;

/* Does file or message say the old count of a topic whose growth was adopted? */
static inline bool
evpub_position_says_before(const EvpubPosition *position, const EvpubTopic *topic)
{
	return topic->before > 0 && position->confirmed_lsn < topic->before_until;
}

/*
 * Of the first transaction that is not confirmed, events with lower numbers are in
 * Kafka.  That is none when next_event belongs to gap events that stand for it.
 */
static inline uint32
evpub_position_first_event(uint32 next_event)
{
	return next_event >= EVPUB_GAP_NUMBERS ? 0 : next_event;
}

/*
 * Remember a gap that was accepted.  reason and cut are copied, as all of a
 * position, into TopMemoryContext.
 */
extern void evpub_position_add_gap(EvpubPosition *position, const EvpubGap *gap);

/*
 * The accepted gap that ends at to_lsn and has this number among those that do,
 * or NULL.  Both are needed: several may end at the same LSN, and one that was
 * accepted later may end before one that was accepted earlier.
 */
extern EvpubGap *evpub_position_find_gap(const EvpubPosition *position,
										 XLogRecPtr to_lsn, uint32 repeat);

/* Set or clear (reason NULL) the open gap; reason and cut are copied. */
extern void evpub_position_set_open_gap(EvpubPosition *position,
										const EvpubOpenGap *gap);

/* The publisher id in force, or 0. */
extern uint64 evpub_position_publisher(const EvpubPosition *position);

/* The publisher id that events of a commit record starting at lsn bear. */
extern uint64 evpub_position_publisher_at(const EvpubPosition *position,
										  XLogRecPtr lsn);

/*
 * Up to where do commits bear the publisher id of this entry of the lineage, at the
 * most?  The end of their record is not above it.  A later entry may begin before
 * one that stands in front of it, when take_over() has gone back in history.
 */
extern XLogRecPtr evpub_position_left(const EvpubPosition *position, int entry);

extern void evpub_position_add_lineage(EvpubPosition *position, uint64 publisher_id,
									   TimeLineID timeline, XLogRecPtr from_lsn);

/* Has take_over() said that this server replaces that publisher? */
extern bool evpub_position_replaces(const EvpubPosition *position, uint64 publisher_id);
extern void evpub_position_add_replaced(EvpubPosition *position, uint64 publisher_id);

/*
 * An id that no publisher had before: 8 hexadecimal digits of root, which stay
 * for the whole lineage, and 8 of entry, which are random.  Neither is 0.
 */
extern uint64 evpub_position_new_publisher(const EvpubPosition *position);

#endif							/* EVPUB_POSITION_H */
