/*
 * busy.h
 *		How busy this machine's processors are.
 */
#ifndef EVPUB_BUSY_H
#define EVPUB_BUSY_H

/* What stands for "as busy as counts". */
#define EVPUB_BUSY_MOST 16

/*
 * From 1, free, to EVPUB_BUSY_MOST, since the last call; "rate": transactions a second,
 * see the head of busy.c.  1 where the kernel does not say.
 */
extern int evpub_busy_measure(uint64 rate);

#endif							/* EVPUB_BUSY_H */
