/*
 * tail.h
 *		Which records of a partition are in Kafka already, and are dropped.
 */
#ifndef EVPUB_RELAY_TAIL_H
#define EVPUB_RELAY_TAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "frame.h"

/* What a TAIL frame says of one partition. */
typedef struct Tail Tail;

typedef enum TailVerdict
{
	TAIL_SEND,					/* it is not in Kafka */
	TAIL_DROP,					/* it is */
	TAIL_MEETS,					/* it is, and it is the tail itself */
	TAIL_PASSES					/* it is behind a tail that was not met */
} TailVerdict;

/*
 * The ids of a TAIL frame, "count" of them at "ids"; NULL: there are none, so
 * everything is sent.  Ends the relay when they make no sense.
 */
extern Tail *tail_new(const char *ids, uint32_t count);

/*
 * What is to become of the next record of the partition, by its id.  *tail may be
 * NULL, and becomes NULL when it has nothing more to say: everything is sent from
 * then on.  After TAIL_PASSES the record waits for another tail; the verdict is the
 * same until then.
 */
extern TailVerdict tail_judge(Tail **tail, const char *id);

/*
 * Has nothing above the tail been sent yet?  Only announcements of gaps were, if
 * anything.  NULL is allowed.
 */
extern bool tail_is_open(const Tail *tail);

/* NULL is allowed. */
extern void tail_free(Tail *tail);

#endif							/* EVPUB_RELAY_TAIL_H */
