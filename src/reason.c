/*
 * reason.c
 *		A reason, with a hint that says what to do about it.
 */
#include "postgres.h"

#include "names.h"
#include "reason.h"

/* What comes from elsewhere may hold line feeds, which part reason and hint. */
static char *
one_line(const char *text)
{
	char	   *result = pstrdup(text);

	for (char *c = result; *c; c++)
	{
		if (*c == '\n' || *c == '\r')
			*c = ' ';
	}
	return result;
}

char *
evpub_reason_split(const char *text, char **hint)
{
	const char *end = strchr(text, '\n');

	*hint = end && end[1] ? one_line(end + 1) : NULL;
	return end ? pnstrdup(text, end - text) : pstrdup(text);
}

char *
evpub_reason_only(const char *text)
{
	char	   *hint;

	return text ? evpub_reason_split(text, &hint) : NULL;
}

/* Is it about a file of evpub's own?  The words around the name may be translated. */
static bool
names_own_file(const char *message)
{
	for (const char *at = message; (at = strstr(at, EVPUB_NAME "/")) != NULL; at++)
	{
		if (at > message && at[-1] != '/')
			return true;
	}
	return false;
}

/* PostgreSQL gives none where the machine lacks something; NULL elsewhere. */
static const char *
resource_hint(int sqlerrcode, const char *message)
{
	switch (sqlerrcode)
	{
		case ERRCODE_OUT_OF_MEMORY:
			return "evpub tries again by itself. The publisher needs more memory, or a smaller evpub.decode_memory.";
		case ERRCODE_INSUFFICIENT_RESOURCES:
			return "evpub tries again by itself. The limit of open files (ulimit -n, fs.file-max) may be too low.";
		case ERRCODE_INSUFFICIENT_PRIVILEGE:
			if (names_own_file(message))
				return "evpub tries again by itself. The user that runs the server must be able to write in directory \"evpub\" of the data directory, and to read its files.";
			return "evpub tries again by itself. The user that runs the server must be able to read that file.";
		case ERRCODE_IO_ERROR:
			return "evpub tries again by itself. Look at the disk and at the system's log.";
		case ERRCODE_DISK_FULL:
			return "evpub tries again by itself when there is space on the disk.";
		default:
			return NULL;
	}
}

char *
evpub_reason_of_error(const ErrorData *error)
{
	const char *hint = error->hint ? error->hint :
		resource_hint(error->sqlerrcode, error->message);

	if (!hint)
		return one_line(error->message);
	return psprintf("%s\n%s", one_line(error->message), one_line(hint));
}
