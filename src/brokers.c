/*
 * brokers.c
 *		Is this a list of brokers' addresses?
 *
 * librdkafka takes what it can of a list and says nothing of the rest, or
 * connects to a wrong port ("host:90x92" is port 90).  So the list is looked at
 * when it is set.
 */
#include "postgres.h"

#include <ctype.h>

#include "brokers.h"

#define HOW "Write host:port, with commas between several brokers; without a port it is 9092."

/* Is everything in this text a character of a host's name, or of an IPv4? */
static bool
is_host(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if (!isalnum((unsigned char) text[i]) && strchr("._-", text[i]) == NULL)
			return false;
	}
	return len > 0;
}

/* An IPv6 address in brackets, perhaps with a zone. */
static bool
is_bracketed(const char *text, size_t len)
{
	bool		colon = false;

	if (len < 4 || text[0] != '[' || text[len - 1] != ']')
		return false;
	for (size_t i = 1; i < len - 1; i++)
	{
		if (text[i] == '%' && i > 1)
			return colon && is_host(text + i + 1, len - i - 2);
		if (!isxdigit((unsigned char) text[i]) && text[i] != ':' && text[i] != '.')
			return false;
		colon = colon || text[i] == ':';
	}
	return colon;
}

static bool
is_port(const char *text)
{
	size_t		len = strlen(text);

	return len > 0 && len <= 5 && strspn(text, "0123456789") == len &&
		atoi(text) >= 1 && atoi(text) <= 65535;
}

/* NULL if this is an address; else how it would be one. */
static const char *
problem(const char *address)
{
	const char *port = strrchr(address, ':');
	size_t		host_len;

	if (strstr(address, "://") != NULL)
		return "Write host:port, without \"...://\"; TLS and authentication are set by security.protocol in evpub.kafka_config_file.";
	if (strpbrk(address, ";| \t\r\n") != NULL)
		return "Separate brokers by commas.";
	/* in brackets, the last colon may be part of the address */
	if (address[0] == '[' && address[strlen(address) - 1] == ']')
		port = NULL;
	else if (address[0] != '[' && port != NULL && strchr(address, ':') != port)
		return "Write an IPv6 address in brackets, [::1]:9092.";
	host_len = port != NULL ? (size_t) (port - address) : strlen(address);
	if (!is_host(address, host_len) && !is_bracketed(address, host_len))
		return HOW;
	if (port != NULL && !is_port(port + 1))
		return "The port is a number from 1 to 65535.";
	return NULL;
}

bool
evpub_brokers_check(const char *list, char **bad, const char **hint)
{
	const char *at = list;

	while (*at != '\0')
	{
		size_t		len = strcspn(at, ",");
		const char *next = at + len + (at[len] == ',');
		char	   *address;

		/* white space around a comma is what ALTER SYSTEM SET puts there */
		while (len > 0 && isspace((unsigned char) *at))
		{
			at++;
			len--;
		}
		while (len > 0 && isspace((unsigned char) at[len - 1]))
			len--;
		address = pnstrdup(at, len);
		*hint = len > 0 ? problem(address) : HOW;
		if (*hint != NULL)
		{
			*bad = address;
			return false;
		}
		pfree(address);
		at = next;
	}
	return true;
}
