/*
 * nogettext.c
 *		Preloaded with the address sanitizer into a server that was not built with it.
 *
 * On Debian 12 the sanitizer leaves the lock of the catalogs of messages in a state
 * in which nobody can write: the server would wait for ever before it has begun.
 * Messages in English need no catalog.
 */
#include <libintl.h>

#undef bindtextdomain
#undef textdomain
#undef bind_textdomain_codeset

char *
bindtextdomain(const char *domain, const char *directory)
{
	(void) domain;
	return (char *) directory;
}

char *
bind_textdomain_codeset(const char *domain, const char *codeset)
{
	(void) domain;
	return (char *) codeset;
}

char *
textdomain(const char *domain)
{
	return (char *) domain;
}
