/*
 * tails.h
 *		What a predecessor of the relay got into Kafka, and what follows from it.
 */
#ifndef EVPUB_TAILS_H
#define EVPUB_TAILS_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "frame.h"
#include "position/position.h"
#include "sender/flight.h"

/* The newest event that a partition has, and that is still to be met. */
typedef struct EvpubTail
{
	uint32		topic;			/* its number */
	int32		partition;
	EvpubId		id;
	int64		end;			/* the partition was read up to here */
	bool		exact;			/* it has also what is dropped by its exact id */
	bool		again;			/* it was read again */
	uint64		passed_seq;		/* sent_seq, when all transactions up to the tail's
								 * were sent; 0: they were not yet */
} EvpubTail;

typedef struct EvpubTails
{
	MemoryContext context;
	EvpubFlight *flight;		/* each tail holds it */
	int			count;
	int			slots;
	EvpubTail  *unmet;
	int			cut_count;
	int			cut_slots;
	XLogRecPtr *cuts;			/* where transactions commit that gaps have cut */
} EvpubTails;

/* What a partition was found to hold, and what is known besides. */
typedef struct EvpubFound
{
	const EvpubPosition *position;
	const EvpubTopic *topic;
	EvpubFrameFound frame;
	const char *ids;			/* "count" EvpubFrameFoundId */
	XLogRecPtr	flushed;		/* WAL of this server ends here */
	XLogRecPtr	confirmed_lsn;	/* nothing up to here is sent again */
	bool		dead_letters;	/* the topic is that of dead letters */
} EvpubFound;

typedef struct EvpubJudgement
{
	bool		malformed;		/* the frame makes no sense */
	char	   *fenced;			/* why this server may not publish; NULL: it may */
	EvpubId		tail;			/* publisher 0: there is none */
	bool		acknowledged;	/* it was acknowledged to us, and so need not be met */
	uint64		replaced;		/* a publisher that take_over() has replaced; 0: none
								 * that was not known */
	bool		exact;			/* the answer has ids that are dropped exactly */
	StringInfoData answer;		/* the TAIL frame */
} EvpubJudgement;

/* In the current context, which has to outlive them. */
extern void evpub_tails_init(EvpubTails *tails, EvpubFlight *flight);

/* The relay is gone, and with it what it was told; the flight is reset, too. */
extern void evpub_tails_reset(EvpubTails *tails);

/* Judge what was found in a partition.  The results are in the current context. */
extern void evpub_tails_judge(const EvpubFound *found, EvpubJudgement *judgement);

/* The relay drops up to this one: the position stays where it is until it is met. */
extern void evpub_tails_add(EvpubTails *tails, const EvpubTail *tail);

/* The one of this partition that was not met yet; NULL: there is none. */
extern EvpubTail *evpub_tails_find(const EvpubTails *tails, uint32 topic, int32 partition);

/* It was met, or need not be: it holds nothing any more. */
extern void evpub_tails_remove(EvpubTails *tails, EvpubTail *tail);

/*
 * A tail that was passed without being met; NULL: there is none.  All transactions
 * that commit up to passed_lsn have been handed to the relay.
 */
extern EvpubTail *evpub_tails_passed(EvpubTails *tails, XLogRecPtr passed_lsn);

/*
 * The transaction that commits at lsn is not published, since a gap has cut it: a part
 * of it may have been published before.
 */
extern void evpub_tails_cut(EvpubTails *tails, XLogRecPtr lsn);

/* Is there a reason why a tail of our own is not met? */
extern bool evpub_tails_explained(const EvpubTails *tails, const EvpubTail *tail,
								  const EvpubPosition *position);

#endif							/* EVPUB_TAILS_H */
