/*
 * checkedfile.h
 *		A small file that is there as a whole, or not at all.
 */
#ifndef EVPUB_CHECKEDFILE_H
#define EVPUB_CHECKEDFILE_H

#include "postgres.h"

#include "lib/stringinfo.h"

typedef enum EvpubCheckedfile
{
	EVPUB_CHECKEDFILE_ABSENT,
	EVPUB_CHECKEDFILE_FOUND,
	EVPUB_CHECKEDFILE_DAMAGED,	/* cut, wrong checksum, or of another version */
	EVPUB_CHECKEDFILE_UNREADABLE	/* no right to read it, an error of the disk: may pass;
									 * errno says what */
} EvpubCheckedfile;

/*
 * Read the file into data, in memory of the current context, with data->cursor at the
 * contents.  *problem says what is wrong unless it was found.  magic has 8 characters,
 * and names the kind of file and the version of its contents.  One with more contents
 * than "most" bytes is damaged, and is not read.
 */
extern EvpubCheckedfile evpub_checkedfile_read(const char *path, const char *magic,
											   Size most, StringInfo data,
											   char **problem);

/* data, to which the caller appends the contents before evpub_checkedfile_write(). */
extern void evpub_checkedfile_begin(StringInfo data, const char *magic);

/*
 * Replace the file, durably; it is the old or the new one after a crash.  Any failure is
 * an ERROR, and leaves the old one.
 */
extern void evpub_checkedfile_write(const char *path, StringInfo data);

/*
 * The same without a flush: only a crash of the operating system may leave a part of the
 * new file, which is damaged then.
 */
extern void evpub_checkedfile_write_unflushed(const char *path, StringInfo data);

/* How many bytes are to be read of an open file of this size. */
typedef uint64 (*EvpubCheckedfileBound) (int fd, uint64 size, const void *arg);

/*
 * As above, flushed, without magic and checksum: read whatever bytes there are, as many
 * as "bound" says, and replace them.
 */
extern EvpubCheckedfile evpub_checkedfile_load(const char *path,
											   EvpubCheckedfileBound bound,
											   const void *arg, StringInfo data,
											   char **problem);
extern void evpub_checkedfile_replace(const char *path, const char *data, Size length);

#endif							/* EVPUB_CHECKEDFILE_H */
