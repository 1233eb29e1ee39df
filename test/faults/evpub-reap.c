/*
 * evpub-reap.c
 *		Makes a child of the evpub worker take a second to go.
 *
 * Part of the library that is preloaded into a server.  If its data directory
 * has a file "evpub_slow_reap", a child is seen to be gone a second after it
 * was first asked for without waiting, as on a machine that is overloaded.
 * The postmaster, process 1 where this is used, sees its children at once.
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REAP_FILE "evpub_slow_reap"

pid_t
waitpid(pid_t pid, int *status, int options)
{
	static pid_t (*real) (pid_t, int *, int);
	static time_t asked;
	struct timespec now;

	if (!real)
		real = (pid_t (*) (pid_t, int *, int)) dlsym(RTLD_NEXT, "waitpid");
	if (getpid() != 1 && (options & WNOHANG) && access(REAP_FILE, F_OK) == 0)
	{
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (asked == 0)
			asked = now.tv_sec;
		if (now.tv_sec - asked < 2)
			return 0;
	}
	return real(pid, status, options);
}
