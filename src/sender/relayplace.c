/*
 * relayplace.c
 *		Finds the file of the program evpub-relay.
 *
 * Usually the relay lies beside the server's programs.  Where the server's
 * directories cannot be written to, as in the images of CloudNativePG, an
 * extension is a directory of its own with lib, share and bin in it, and
 * dynamic_library_path names its lib.  So a relay is looked for in directory bin
 * beside each directory that may have the library, too.
 *
 * The program runs as the server's user.  So each place that is looked at must be
 * one that only a superuser can choose, who may have the server run any program
 * anyway: where the server is installed, where the running library was loaded from
 * when the server started, and dynamic_library_path.  Of the last, only the value of
 * the whole server counts: the worker is in no database, so no setting of a
 * role or database reaches it.  A path that is not absolute depends on the
 * current directory, which is the data directory, and is never taken.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "port.h"

#include "sender/relayplace.h"
#include "settings.h"

#define RELAY_PROGRAM_NAME "evpub-relay"

/* In dynamic_library_path, the directory of the server's own libraries. */
#define LIBDIR "$libdir"

/*
 * Is there a file?  One that cannot be executed counts: an error that names it says
 * more than a program that was found elsewhere, which may be of another version.
 */
static bool
exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

/* The program in directory bin beside a directory of libraries.  False: none. */
static bool
beside_libraries(const char *libraries, char *path)
{
	char		directory[MAXPGPATH];
	int			length;

	strlcpy(directory, libraries, MAXPGPATH);
	canonicalize_path(directory);
	if (!is_absolute_path(directory))
		return false;
	get_parent_directory(directory);
	length = snprintf(path, MAXPGPATH, "%s/bin/%s",
					  strcmp(directory, "/") == 0 ? "" : directory,
					  RELAY_PROGRAM_NAME);
	return length < MAXPGPATH && exists(path);
}

/* Beside the directory from which this library was loaded. */
static bool
beside_this_library(char *path)
{
	Dl_info		info;
	char		directory[MAXPGPATH];

	if (dladdr((void *) evpub_relay_place, &info) == 0 || info.dli_fname == NULL)
		return false;
	strlcpy(directory, info.dli_fname, MAXPGPATH);
	get_parent_directory(directory);
	return beside_libraries(directory, path);
}

/* Beside a directory of dynamic_library_path, in their order. */
static bool
beside_library_path(char *path)
{
	const char *at = Dynamic_library_path;

	while (at != NULL && *at != '\0')
	{
		const char *end = strchrnul(at, ':');
		bool		ours = strncmp(at, LIBDIR, strlen(LIBDIR)) == 0;
		char		directory[MAXPGPATH];

		if (ours)
			at += strlen(LIBDIR);
		if (snprintf(directory, MAXPGPATH, "%s%.*s", ours ? pkglib_path : "",
					 (int) (end - at), at) < MAXPGPATH &&
			beside_libraries(directory, path))
			return true;
		at = *end != '\0' ? end + 1 : NULL;
	}
	return false;
}

void
evpub_relay_place(char *path)
{
	char		beside_server[MAXPGPATH];

	if (evpub_relay_program[0])
	{
		strlcpy(path, evpub_relay_program, MAXPGPATH);
		return;
	}
	strlcpy(beside_server, my_exec_path, MAXPGPATH);
	get_parent_directory(beside_server);
	join_path_components(beside_server, beside_server, RELAY_PROGRAM_NAME);
	if (exists(beside_server) ||
		!(beside_this_library(path) || beside_libraries(pkglib_path, path) ||
		  beside_library_path(path)))
		strlcpy(path, beside_server, MAXPGPATH);
}
