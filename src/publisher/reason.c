/*
 * reason.c
 *		A reason, with a hint that says what to do about it.
 */
#include "postgres.h"

#include "publisher/reason.h"

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

char *
evpub_reason_of_error(const ErrorData *error)
{
	if (!error->hint)
		return one_line(error->message);
	return psprintf("%s\n%s", one_line(error->message), one_line(error->hint));
}
