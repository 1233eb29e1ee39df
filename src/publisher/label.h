/*
 * label.h
 *		The labels of registered databases: who has one, and new text for them.
 */
#ifndef EVPUB_LABEL_H
#define EVPUB_LABEL_H

#include "postgres.h"

/*
 * Registered databases by the newest snapshot; *publisher_id gets the id that
 * one of the labels names (0: none, or a label that names none).  Runs a
 * transaction of its own.
 */
extern int	evpub_label_count(uint64 *publisher_id);

/* Have the labels of all registered databases name this publisher. */
extern void evpub_label_rename(uint64 publisher_id);

#endif							/* EVPUB_LABEL_H */
