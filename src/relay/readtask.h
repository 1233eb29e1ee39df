/*
 * readtask.h
 *		Partitions to be read back: from the event loop to the reader's thread, and
 *		back when they are read.
 */
#ifndef EVPUB_RELAY_READTASK_H
#define EVPUB_RELAY_READTASK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "found.h"

typedef enum ReaderOutcome
{
	READER_DONE,				/* read up to its end */
	READER_BELOW				/* the partition ends before "from" */
} ReaderOutcome;

typedef enum ReaderStep
{
	READER_ASK,					/* its end is to be asked for, at "due" */
	READER_HOLD,				/* there is nothing to read; may its topic be read? */
	READER_READ					/* its records come */
} ReaderStep;

/* One partition to be read.  It is the thread's until readtask_take() returns it. */
typedef struct ReaderTask
{
	struct ReaderTask *next;	/* for whoever has it */

	/* the question */
	uint32_t	number;			/* of the topic */
	const char *topic;			/* its name, which stays valid */
	int32_t		partition;
	int64_t		from;			/* the first offset that is wanted */
	bool		end_only;		/* no records, just the end */
	bool		again;			/* it was read before, up to "from" */
	char		after[EVPUB_FRAME_ID_LENGTH];	/* with "again": events up to this one are
												 * known to be there */
	int64_t		asked_at;		/* the event loop's */
	uint32_t	asked_index;	/* the event loop's */

	/* how it goes, which the event loop may look at meanwhile */
	_Atomic rd_kafka_resp_err_t error;	/* why it has to wait, or none */
	_Atomic int32_t silent;		/* the broker that it waits for, or -1 */
	_Atomic int64_t at;			/* the next offset to be read */
	_Atomic int64_t end;		/* the offset behind the last record; -1: not known */

	/* the answer */
	ReaderOutcome outcome;
	Found		found;

	/* the thread's */
	ReaderStep	step;
	int32_t		leader;
	const struct rd_kafka_metadata_partition *metadata; /* while ends are asked for */
	int			backoff;		/* ms */
	int64_t		due;
	int64_t		below_since;	/* 0: its end is not below "from" */
	int64_t		progress_at;
	uint32_t	index;
} ReaderTask;

/* Starts the thread, which runs this. */
extern void readtask_start(void *(*run) (void *));

/* ---- for the event loop ---- */

/* Readable when an answer is there; -1: the thread was not started. */
extern int	readtask_fd(void);

/* Adds tasks, linked by "next". */
extern void readtask_ask(ReaderTask *tasks);

/* Those that are done since the last call, linked by "next", or NULL. */
extern ReaderTask *readtask_take(void);

/* ---- for the thread ---- */

/*
 * The tasks that were added since the last call, linked by "next".  Waits for them up
 * to this time of relay_now(), and returns NULL then; RELAY_NEVER: for ever.
 */
extern ReaderTask *readtask_await(int64_t until);

/* The task is done, and is not the thread's any more. */
extern void readtask_answer(ReaderTask *task);

#endif							/* EVPUB_RELAY_READTASK_H */
