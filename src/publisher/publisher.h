/*
 * publisher.h
 *		What loading the library calls in the publisher room.
 */
#ifndef EVPUB_PUBLISHER_H
#define EVPUB_PUBLISHER_H

/*
 * Register the label provider and the object-access hook; when preloaded,
 * also shared memory and the background worker.
 */
extern void evpub_publisher_init(void);

#endif							/* EVPUB_PUBLISHER_H */
