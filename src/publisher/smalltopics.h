/*
 * smalltopics.h
 *		Topics that do not take every event that evpub.max_event_bytes allows.
 */
#ifndef EVPUB_SMALLTOPICS_H
#define EVPUB_SMALLTOPICS_H

#include "postgres.h"

#include "position/position.h"

/* A topic's size, the topics, or the setting may have changed. */
extern void evpub_smalltopics_changed(void);

/*
 * Name them for evpub.check(), if anything has changed; "" if there are none.
 * text: of "length" bytes, from the last call.
 */
extern void evpub_smalltopics_report(const EvpubPosition *position, char *text, Size length);

#endif							/* EVPUB_SMALLTOPICS_H */
