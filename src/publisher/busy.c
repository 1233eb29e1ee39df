/*
 * busy.c
 *		How busy this machine's processors are.
 *
 * While processors are free, each cycle of worker, relay and broker takes what nobody
 * else wants, and events go early.  While they are busy, it takes from the writers what
 * they need.  Two things tell; what counts is the one that finds them busier.
 *
 * How long this process waited for a processor when it was to run.  That shows other
 * programs' load, and the limit of a container, at any rate of transactions.
 *
 * How much of the time the processors were idle.  What is too little depends on the rate.
 * Writers that commit as fast as they can leave some idle time, since a commit also
 * waits for the disk; and at a high rate they soon need what is idle now.  So with few
 * transactions only a machine that is nearly full is busy, and with many one that is not
 * free for the most part.  The figures are from the curve in docs/design.md.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "clock.h"
#include "publisher/busy.h"

/* us; a process that is woken waits some if a processor is free, else some hundred */
#define WAIT_FREE 100
#define WAIT_LONG 400

/* Idle share below which processors are busy, in thousandths, at these rates. */
#define RATE_FEW 5000
#define RATE_MANY 7500
#define IDLE_FEW 150
#define IDLE_MANY 500

/* So much less than that is as busy as counts. */
#define IDLE_RANGE 200

/* The kernel counts idle time in steps of 10 ms: look again after so many ms. */
#define IDLE_WINDOW 200

/* What was in a longer time than this, in ms, says nothing of now. */
#define IDLE_LONGEST 1000

/* Reads a small file of the kernel; fd: kept open, -1 at first, -2 if there is none. */
static bool
read_kernel(const char *path, int *fd, char *text, size_t size)
{
	ssize_t		length;

	if (*fd == -1)
	{
		*fd = open(path, O_RDONLY | O_CLOEXEC);
		if (*fd < 0)
			*fd = -2;			/* not again */
	}
	if (*fd < 0)
		return false;
	length = pread(*fd, text, size - 1, 0);
	if (length <= 0)
		return false;
	text[length] = '\0';
	return true;
}

/* From /proc/self/schedstat: time run and time waited in ns, and how many times. */
static int
busy_by_waiting(void)
{
	static int	fd = -1;
	static uint64 waited_before = 0;
	static uint64 times_before = 0;
	char		text[96];
	uint64		waited;
	uint64		times;
	uint64		each = 0;

	if (!read_kernel("/proc/self/schedstat", &fd, text, sizeof(text)) ||
		sscanf(text, "%*u " UINT64_FORMAT " " UINT64_FORMAT, &waited, &times) != 2)
		return 1;
	if (times > times_before)
		each = (waited - waited_before) / (times - times_before) / 1000;
	waited_before = waited;
	times_before = times;
	if (each < WAIT_FREE)
		return 1;
	return (int) (EVPUB_BUSY_MOST * Min(each, WAIT_LONG) / WAIT_LONG);
}

/*
 * The idle share of all processors in thousandths, over the last few windows; -1: not
 * known.  From /proc/uptime, whose second number is the idle time of all in seconds.
 */
static int
idle_share(void)
{
	static int	fd = -1;
	static int	share = -1;
	static EvpubMsec looked_at = 0;
	static double idle_before = 0;
	EvpubMsec	now = evpub_clock_now();
	EvpubMsec	elapsed = now - looked_at;
	char		text[96];
	double		idle;
	int			current;

	if (looked_at != 0 && elapsed < IDLE_WINDOW)
		return share;
	if (!read_kernel("/proc/uptime", &fd, text, sizeof(text)) ||
		sscanf(text, "%*f %lf", &idle) != 1)
		return -1;
	if (elapsed > IDLE_LONGEST)
		share = -1;
	else
	{
		current = (int) ((idle - idle_before) * 1000000 / elapsed /
						 Max(sysconf(_SC_NPROCESSORS_ONLN), 1));
		share = share < 0 ? current : (share + current) / 2;
	}
	looked_at = now;
	idle_before = idle;
	return share;
}

static int
busy_by_idle(uint64 rate)
{
	int			share = idle_share();
	int			more = (int) Min(Max(rate, RATE_FEW), RATE_MANY) - RATE_FEW;
	int			enough = IDLE_FEW + (IDLE_MANY - IDLE_FEW) * more / (RATE_MANY - RATE_FEW);

	if (share < 0 || share >= enough)
		return 1;
	return 1 + (EVPUB_BUSY_MOST - 1) * Min(enough - share, IDLE_RANGE) / IDLE_RANGE;
}

int
evpub_busy_measure(uint64 rate)
{
	return Max(busy_by_waiting(), busy_by_idle(rate));
}
