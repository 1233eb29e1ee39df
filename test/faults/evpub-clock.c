/*
 * evpub-clock.c
 *		Sets the wall clock of a test's server, and of no other program.
 *
 * Part of the library that is preloaded into a server.  If its data directory
 * has a file "evpub_clock", the wall clock is off by what the file says: eight
 * bytes, milliseconds, in the machine's order.  A test writes them while the
 * server runs.  Only the wall clock moves; CLOCK_MONOTONIC stays true, as it
 * does when an administrator or NTP sets a machine's clock.
 *
 * Waits that end at a time of the wall clock (pthread_cond_timedwait and
 * cnd_timedwait, as in librdkafka) end by the clock that was set, as in the kernel.
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define CLOCK_FILE "evpub_clock"

/* How often a wait looks whether the clock was set. */
#define SLICE_NS 50000000

static volatile int64_t *offset_ms;

static int64_t
offset(void)
{
	if (!offset_ms)
	{
		/* not open(): evpub-faults.c watches that */
		int			fd = syscall(SYS_openat, AT_FDCWD, CLOCK_FILE, O_RDONLY | O_CLOEXEC);
		void	   *map;

		if (fd < 0)
			return 0;
		map = mmap(NULL, sizeof(*offset_ms), PROT_READ, MAP_SHARED, fd, 0);
		syscall(SYS_close, fd);
		if (map == MAP_FAILED)
			return 0;
		offset_ms = map;
	}
	return *offset_ms;
}

static void
true_time(clockid_t clock, struct timespec *ts)
{
	static int	(*real) (clockid_t, struct timespec *);

	if (!real)
		real = (int (*) (clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
	real(clock, ts);
}

static void
add_ns(struct timespec *ts, int64_t ns)
{
	int64_t		sum = ts->tv_nsec + ns % 1000000000;

	ts->tv_sec += ns / 1000000000;
	if (sum < 0)
	{
		sum += 1000000000;
		ts->tv_sec--;
	}
	ts->tv_sec += sum / 1000000000;
	ts->tv_nsec = sum % 1000000000;
}

static int
is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec ||
		(a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static void
set_time(struct timespec *ts)
{
	int			saved_errno = errno;

	true_time(CLOCK_REALTIME, ts);
	add_ns(ts, offset() * 1000000);
	errno = saved_errno;
}

int
clock_gettime(clockid_t clock, struct timespec *ts)
{
	if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
		set_time(ts);
	else
		true_time(clock, ts);
	return 0;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	(void) zone;
	set_time(&ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timespec ts;

	set_time(&ts);
	if (result)
		*result = ts.tv_sec;
	return ts.tv_sec;
}

int
timespec_get(struct timespec *ts, int base)
{
	if (base != TIME_UTC)
		return 0;
	set_time(ts);
	return base;
}

/*
 * Until when the real clock is to be waited, at most a slice; false: it is past.
 */
static bool
next_slice(const struct timespec *until, struct timespec *end)
{
	struct timespec now;

	set_time(&now);
	if (!is_before(&now, until))
		return false;
	true_time(CLOCK_REALTIME, end);
	add_ns(&now, SLICE_NS);
	if (is_before(&now, until))
		add_ns(end, SLICE_NS);
	else
	{
		*end = *until;
		add_ns(end, -offset() * 1000000);
	}
	return true;
}

/* A slice is over: is the wait?  To wake without a reason is allowed. */
static bool
is_past(const struct timespec *until)
{
	struct timespec now;

	set_time(&now);
	return !is_before(&now, until);
}

int
pthread_cond_timedwait(pthread_cond_t *restrict cond,
					   pthread_mutex_t *restrict mutex,
					   const struct timespec *restrict until)
{
	static int	(*real) (pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
	struct timespec end;
	int			result;

	if (!real)
		real = (int (*) (pthread_cond_t *, pthread_mutex_t *, const struct timespec *))
			dlsym(RTLD_NEXT, "pthread_cond_timedwait");
	if (!next_slice(until, &end))
		return ETIMEDOUT;
	result = real(cond, mutex, &end);
	return result == ETIMEDOUT && !is_past(until) ? 0 : result;
}

int
cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex,
			  const struct timespec *restrict until)
{
	static int	(*real) (cnd_t *, mtx_t *, const struct timespec *);
	struct timespec end;
	int			result;

	if (!real)
		real = (int (*) (cnd_t *, mtx_t *, const struct timespec *))
			dlsym(RTLD_NEXT, "cnd_timedwait");
	if (!next_slice(until, &end))
		return thrd_timedout;
	result = real(cond, mutex, &end);
	return result == thrd_timedout && !is_past(until) ? thrd_success : result;
}
