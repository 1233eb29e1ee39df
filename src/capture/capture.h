/*
 * capture.h
 *		What loading the library calls in the capture room.
 */
#ifndef EVPUB_CAPTURE_H
#define EVPUB_CAPTURE_H

/* Register transaction and invalidation callbacks. */
extern void evpub_capture_init(void);

#endif							/* EVPUB_CAPTURE_H */
