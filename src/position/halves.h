/*
 * halves.h
 *		A small file that is written often: two halves, each a whole state.
 */
#ifndef EVPUB_HALVES_H
#define EVPUB_HALVES_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "position/checkedfile.h"

/* What this process knows of the file that it has written; all zero: nothing. */
typedef struct EvpubHalves
{
	bool		known;
	uint64		inode;
	uint32		size;			/* of a half, in bytes */
	uint64		number;			/* of the newest state */
	int			newest;			/* the half that has it */
} EvpubHalves;

/*
 * Read the newest whole state into data, in memory of the current context, from
 * data->cursor to data->len.  If it is found, *problem is NULL, or says that only one
 * half is whole; else it says what is wrong.  magic has 8 characters, of which the last
 * is the version of the contents.
 */
extern EvpubCheckedfile evpub_halves_read(const char *path, const char *magic,
										  StringInfo data, char **problem);

/* data, to which the caller appends the state before it is written. */
extern void evpub_halves_begin(StringInfo data);

/*
 * Replace the file by one that has this state in both halves, durably; it is the old or
 * the new file after a crash.  Any failure is an ERROR, and leaves the old one.
 */
extern void evpub_halves_replace(EvpubHalves *halves, const char *path,
								 const char *magic, StringInfo data);

/*
 * Write this state over the older half, durably; the file says it, or what it said
 * before, after a crash.  False, and nothing was done, if the file is not the one that
 * this process has written, or if the state does not fit.  After an ERROR the file says
 * one of the two, and is replaced by the next write.
 */
extern bool evpub_halves_advance(EvpubHalves *halves, const char *path,
								 const char *magic, StringInfo data);

#endif							/* EVPUB_HALVES_H */
