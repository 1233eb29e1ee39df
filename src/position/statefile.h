/*
 * statefile.h
 *		The file in which a position outlives the server.
 */
#ifndef EVPUB_STATEFILE_H
#define EVPUB_STATEFILE_H

#include "postgres.h"

#include "position/position.h"

#define EVPUB_STATE_DIRECTORY "evpub"
#define EVPUB_STATE_FILE EVPUB_STATE_DIRECTORY "/state"

/* A damaged state file, set aside when a person has decided how to go on. */
#define EVPUB_STATE_DAMAGED EVPUB_STATE_DIRECTORY "/state.damaged"

/* Is there when the server was started to recover from an archive. */
#define EVPUB_RECOVERED_FILE EVPUB_STATE_DIRECTORY "/recovered"

typedef enum EvpubStatefileFound
{
	EVPUB_STATEFILE_ABSENT,
	EVPUB_STATEFILE_FOUND,
	EVPUB_STATEFILE_DAMAGED		/* unreadable, cut, wrong checksum or version */
} EvpubStatefileFound;

/*
 * Read the state file into memory of the current context.  *problem says what
 * is wrong with a damaged one; of one that was found it says whether a half of it is
 * damaged, else it is NULL.  *position is all zero unless one was found.
 */
extern EvpubStatefileFound evpub_statefile_read(EvpubPosition *position, char **problem);

/* Replace the state file, durably; it is the old or the new one after a crash. */
extern void evpub_statefile_write(const EvpubPosition *position);

/*
 * The same, with one flush instead of five where nothing is decided that the file does
 * not have already.  Invalid if the file was replaced; else the file may turn out to say
 * the state before this one, and the slot must keep WAL from the returned position on.
 */
extern XLogRecPtr evpub_statefile_advance(const EvpubPosition *position);

/* Remove it, durably. */
extern void evpub_statefile_remove(void);

/*
 * Name this server as the one that the file belongs to: system identifier,
 * the given timeline, and the inode of the file's directory.
 */
extern void evpub_statefile_settle(EvpubPosition *position, TimeLineID timeline);

/* Make the file's directory, durably, unless there is one; and its inode. */
extern void evpub_statefile_make_directory(void);
extern uint64 evpub_statefile_inode(void);

/* Has the directory been copied since? */
extern bool evpub_statefile_moved(const EvpubPosition *position);

/* Set a damaged one aside, durably. */
extern void evpub_statefile_set_aside(void);

#endif							/* EVPUB_STATEFILE_H */
