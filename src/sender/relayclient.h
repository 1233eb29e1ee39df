/*
 * relayclient.h
 *		The worker's side of the socket pair: starts, feeds and ends the relay.
 */
#ifndef EVPUB_RELAYCLIENT_H
#define EVPUB_RELAYCLIENT_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "storage/latch.h"

#include "clock.h"
#include "frame.h"

typedef struct EvpubRelay
{
	pid_t		pid;			/* 0: no relay, and none that still ends */
	pgsocket	socket;			/* PGINVALID_SOCKET: none, or it is being ended */
	bool		leaving;		/* it was asked to leave; it still reports */
	bool		unasked;		/* it has ended, or ends, and nobody has asked it to */
	EvpubMsec	leave_until;	/* then it is ended */
	EvpubMsec	looked_at;		/* when its socket was last read empty */
	EvpubMsec	silent;			/* ms without a word while we listened */
	StringInfoData out;
	int			sent;			/* bytes of out that are written */
	StringInfoData in;
	MemoryContext context;
	uint64		put;			/* bytes of records that were ever queued */
	bool		reads_back;		/* it was started to read back, see ORIGIN */

	/* topics for whose count the relay waits, see EVPUB_FRAME_TOPIC */
	int			awaited;
	uint64		awaited_since;	/* "put" when the first of them was announced */
} EvpubRelay;

typedef struct EvpubFrame
{
	EvpubFrameType type;
	const char *data;			/* valid until the next call */
	uint32		length;
} EvpubFrame;

typedef enum EvpubRelayInput
{
	EVPUB_RELAY_NOTHING,		/* no whole frame yet */
	EVPUB_RELAY_FRAME,
	EVPUB_RELAY_CLOSED,			/* the relay is gone */
	EVPUB_RELAY_GARBLED			/* it speaks another protocol */
} EvpubRelayInput;

extern void evpub_relay_init(EvpubRelay *relay);

/*
 * Start the relay program.  False, with *error and *hint, if it cannot be
 * started.  No relay may be left from before (evpub_relay_gone).
 */
extern bool evpub_relay_start(EvpubRelay *relay, char **error, char **hint);

/* End it at once; what it had not acknowledged is sent again later. */
extern void evpub_relay_stop(EvpubRelay *relay);

/*
 * Ask it to leave quietly: it sends nothing new, reports what is acknowledged
 * within a moment, and closes its end.  What was queued for it is dropped.
 */
extern void evpub_relay_leave(EvpubRelay *relay);

/*
 * Is the process gone?  Until then no new one may be started: two relays at a
 * time could reorder.  *status gets the exit status where one is known.
 */
extern bool evpub_relay_gone(EvpubRelay *relay, int *status);

/* Queue a frame. */
extern void evpub_relay_put(EvpubRelay *relay, EvpubFrameType type,
							const void *data, uint32 length);

/* May records be put ahead of the counts that the relay waits for? */
extern bool evpub_relay_may_put(const EvpubRelay *relay);

/* Write what the socket takes.  True if nothing is left to write. */
extern bool evpub_relay_flush(EvpubRelay *relay);

/* Read what is there. */
extern EvpubRelayInput evpub_relay_receive(EvpubRelay *relay, EvpubFrame *frame);

#endif							/* EVPUB_RELAYCLIENT_H */
