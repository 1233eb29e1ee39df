/*
 * relay.c
 *		What all parts of evpub-relay share: memory, and the one way out.
 *
 * Every part may find that the relay has to end, so this file knows none of
 * them.  What has to be sent to the worker first is main.c's affair, which
 * registers a function for it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay.h"

static RelayFarewell farewell;

void
relay_at_failure(RelayFarewell use_farewell)
{
	farewell = use_farewell;
}

void *
relay_realloc(void *old, size_t size)
{
	void	   *result = realloc(old, size);

	if (result == NULL)
	{
		fprintf(stderr, "evpub-relay: out of memory\n");
		_exit(1);
	}
	return result;
}

static void __attribute__((noreturn, format(printf, 2, 0)))
fail(const EvpubFrameFailed *failed, const char *fmt, va_list args)
{
	char		text[RELAY_TEXT_MAX];
	RelayFarewell last = farewell;

	vsnprintf(text, sizeof(text), fmt, args);

	/* a failure while one is being reported cannot be reported */
	farewell = NULL;
	if (last != NULL)
		last(failed, text);
	_exit(1);
}

void
relay_fail(EvpubFrameFailure failure, const char *fmt, ...)
{
	EvpubFrameFailed failed = {
		.kind = (uint8_t) failure,
		.topic = EVPUB_FRAME_NO_TOPIC,
		.partition = -1
	};
	va_list		args;

	va_start(args, fmt);
	fail(&failed, fmt, args);
}

void
relay_fail_as(const EvpubFrameFailed *failed, const char *fmt, ...)
{
	va_list		args;

	va_start(args, fmt);
	fail(failed, fmt, args);
}
