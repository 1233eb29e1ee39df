/*
 * gate.h
 *		Is a transaction visible to every new snapshot yet?
 */
#ifndef EVPUB_GATE_H
#define EVPUB_GATE_H

#include "postgres.h"

#include "access/transam.h"

typedef struct EvpubGate
{
	TransactionId xmax;			/* first xid the snapshot knew nothing of */
	TransactionId next;			/* next xid to be given out, read after it */
	FullTransactionId oldest;	/* all transactions below it have ended */
	TransactionId *running;
	int			nrunning;
	int			slots;
	MemoryContext context;
} EvpubGate;

extern void evpub_gate_init(EvpubGate *gate);

/* Take a new snapshot.  Runs a transaction of its own. */
extern void evpub_gate_refresh(EvpubGate *gate);

/*
 * Had xid, a top-level transaction whose end is in WAL or that was seen to
 * run before the last refresh, left the proc array by then?
 */
extern bool evpub_gate_passed(const EvpubGate *gate, TransactionId xid);

#endif							/* EVPUB_GATE_H */
