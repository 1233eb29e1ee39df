/*
 * relay.c
 *		What all parts of evpub-relay share: memory, threads, and the one way out.
 *
 * Every part may find that the relay has to end, so this file knows none of
 * them.  What has to be sent to the worker first is main.c's affair, which
 * registers a function for it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
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

int
relay_start_thread(void *(*run) (void *))
{
	pthread_t	thread;
	sigset_t	all;
	sigset_t	old;
	int			error;
	int			fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0)
		relay_fail(EVPUB_FAILURE_RETRY, "could not make an event descriptor: %s",
				   strerror(errno));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&thread, NULL, run, NULL);
	if (error != 0)
		relay_fail(EVPUB_FAILURE_RETRY, "could not start a thread: %s", strerror(error));
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return fd;
}
