/*
 * evpub-faults.c
 *		Kills the publisher between two steps of its own choosing.
 *
 * Preloaded into a server (LD_PRELOAD), it watches the calls by which the
 * evpub worker writes its state file, its slot and WAL.  Each such call is a
 * step.  The file "evpub_fault" in the data directory orders crashes, one a
 * line:
 *
 *		<serial> <k> <mode> <pattern>
 *
 * At the k-th step whose name matches the pattern (as in fnmatch(3); "*" is
 * every step, and "@(a|b)" is either), counted from when the line was first seen, the worker kills
 * itself with SIGKILL, which makes the postmaster restart the server as after
 * any crash.  The line is taken out of the file first, and "evpub_fault.log"
 * gets a line "<serial> <pid> <mode> <step>".  Then the next line counts,
 * from the first step of the next worker.
 *
 * Names of steps: "create", "write", "fsync", "rename", "link", "symlink",
 * "unlink", "mkdir", "rmdir" and the path (the first of two; of a symbolic link,
 * where it is made); files of WAL are all called "pg_wal", and "aside" where
 * they are set aside.  "wait" is the first wait of the worker after other steps: all
 * of its round is done, the position message, which makes no call, included.
 *
 * Modes:
 *		before, after	die there
 *		fails			do not do it: the call fails for want of space, and the worker
 *						goes on
 *		torn			die in the middle of a write; else as "before"
 *		power			die after it, and take back what was not made durable
 *						in evpub's own directory: the contents of files that
 *						were not synced, and renames and removals in the
 *						directory since it was; of what was written over the
 *						state file in place, some of its sectors.  That is what
 *						a power cut may do, and the reason for every fsync.
 *
 * While there is a file "evpub_steps", each step adds a line to it: milliseconds of a
 * monotonic clock, and the name of the step.
 *
 * The file "evpub_wal_error" makes the worker's calls on files of pg_wal fail
 * for as long as it is there: it holds "open" or "pread", and the number of the
 * error (errno).  Calls that write are let through.  With "slow" and a number,
 * each "pread" of them takes so many milliseconds.
 *
 * The file "evpub_error" ends the worker by an ERROR: its next wait fails, and
 * the file is removed.
 *
 * The file "evpub_uptime", if it is there when the worker opens /proc/uptime, is read in
 * its place.
 *
 * The file "evpub_malloc_error" holds two numbers: the worker gets no memory when it
 * next asks for a piece of a size between these, and the file is removed.
 *
 * Everywhere but in the worker, all calls pass unseen.
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FAULT_FILE "evpub_fault"
#define FAULT_LOG "evpub_fault.log"
#define STEPS "evpub_steps"
#define WAL_ERROR "evpub_wal_error"
#define WORKER_ERROR "evpub_error"
#define MALLOC_ERROR "evpub_malloc_error"
#define BACKUP "evpub_fault.old"
#define STATE "evpub/state"
#define TRACKED 4096
#define NAME_LENGTH 128
#define SECTOR 512

typedef enum Mode
{
	BEFORE,
	AFTER,
	FAILS,
	TORN,
	POWER
} Mode;

static const char *const mode_names[] = {"before", "after", "fails", "torn", "power"};

/* Where a call stands to a fault. */
typedef enum Verdict
{
	PASS,
	FAIL,
	DIE_TORN,					/* do half of it */
	DIE_AFTER
} Verdict;

/* Is this process the worker?  -1: not known yet. */
static int	is_worker = -1;

/* What each descriptor of the worker is; "" nothing of interest. */
static char names[TRACKED][NAME_LENGTH];

static unsigned long serial;	/* of the line that is counted for */
static unsigned long count;
static Mode dying;
static char rest_of_orders[4096];
static bool worked;				/* a step since the last wait */

/* What a power cut would take back in evpub's own directory. */
static char unsynced[NAME_LENGTH];	/* file with unsynced contents */
static bool changed;			/* STATE was renamed or removed */
static bool had_backup;			/* what it was before is in BACKUP */

/* What STATE had where it was written in place and not synced; length 0: nothing. */
static struct
{
	size_t		length;
	off_t		offset;
	char		old[1024 * 1024];
}			over;

/* The call that this library stands before. */
#define REAL(name) \
	static __typeof__(name) *real; \
	if (!real) \
		real = (__typeof__(name) *) dlsym(RTLD_NEXT, #name)

static int
real_open(const char *path, int flags, mode_t mode)
{
	static int	(*real) (const char *, int,...);

	if (!real)
		real = (int (*) (const char *, int,...)) dlsym(RTLD_NEXT, "open");
	return real(path, flags, mode);
}

static ssize_t
real_write(int fd, const void *data, size_t length)
{
	REAL(write);
	return real(fd, data, length);
}

static int
real_close(int fd)
{
	REAL(close);
	return real(fd);
}

static int
real_rename(const char *from, const char *to)
{
	REAL(rename);
	return real(from, to);
}

static int
real_unlink(const char *path)
{
	REAL(unlink);
	return real(path);
}

static int
real_link(const char *from, const char *to)
{
	REAL(link);
	return real(from, to);
}

/* ---- who we are ---- */

static void
after_fork(void)
{
	is_worker = -1;
	memset(names, 0, sizeof(names));
}

static void __attribute__((constructor))
load(void)
{
	pthread_atfork(NULL, NULL, after_fork);
}

static bool
in_worker(void)
{
	char		title[256];
	ssize_t		length;
	int			fd;

	if (is_worker >= 0)
		return is_worker;
	is_worker = 0;
	fd = real_open("/proc/self/cmdline", O_RDONLY, 0);
	if (fd < 0)
		return false;
	length = read(fd, title, sizeof(title) - 1);
	real_close(fd);
	if (length > 0)
	{
		title[length] = '\0';
		is_worker = strncmp(title, "postgres:", 9) == 0 &&
			strstr(title, "evpub publisher") != NULL;
	}
	return is_worker;
}

static bool
starts_with(const char *path, const char *with)
{
	return strncmp(path, with, strlen(with)) == 0;
}

/* What a path is called in the names of steps; NULL if it does not matter. */
static const char *
known_as(const char *path)
{
	if (starts_with(path, "./"))
		path += 2;
	if (starts_with(path, "pg_wal/evpub.kept"))
		return "aside";
	if (starts_with(path, "pg_wal/"))
		return "pg_wal";
	if (strcmp(path, "evpub") == 0 || starts_with(path, "evpub/") ||
		strcmp(path, "pg_replslot") == 0 || starts_with(path, "pg_replslot/evpub"))
		return path;
	return NULL;
}

/* ---- dying ---- */

static void
append_log(const char *step)
{
	char		line[NAME_LENGTH + 64];
	int			length = snprintf(line, sizeof(line), "%lu %d %s %s\n", serial,
								  (int) getpid(), mode_names[dying], step);
	int			fd = real_open(FAULT_LOG, O_WRONLY | O_CREAT | O_APPEND, 0600);

	if (fd < 0 || real_write(fd, line, length) != length)
		abort();
	real_close(fd);
}

/* The order is carried out: the next worker must not find it. */
static void
take_out_order(void)
{
	int			length = strlen(rest_of_orders);
	int			fd;

	if (length == 0)
	{
		real_unlink(FAULT_FILE);
		return;
	}
	fd = real_open(FAULT_FILE ".new", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || real_write(fd, rest_of_orders, length) != length)
		abort();
	real_close(fd);
	real_rename(FAULT_FILE ".new", FAULT_FILE);
}

/* Of what was written over STATE and is not durable, some sectors are as they were. */
static void
take_back_sectors(void)
{
	int			fd = real_open(STATE, O_WRONLY, 0);

	if (fd < 0)
		abort();
	for (size_t at = 0; at < over.length; at += SECTOR)
	{
		size_t		length = over.length - at < SECTOR ? over.length - at : SECTOR;

		REAL(pwrite);
		if (rand() % 2 == 0 &&
			real(fd, over.old + at, length, over.offset + (off_t) at) != (ssize_t) length)
			abort();
	}
	real_close(fd);
}

static void
cut_power(void)
{
	srand((unsigned int) getpid());
	if (over.length > 0)
		take_back_sectors();
	if (changed)
	{
		if (had_backup)
			real_rename(BACKUP, STATE);
		else
			real_unlink(STATE);
	}
	/* unless it is back to what it was, which had been synced */
	if (unsynced[0] && !(changed && strcmp(unsynced, STATE) == 0))
		(void) !truncate(unsynced, 0);
}

static void
die(const char *step)
{
	if (dying == POWER)
		cut_power();
	take_out_order();
	append_log(step);
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

/* The first line of the orders; the rest is kept for when it is done. */
static bool
read_order(unsigned long *k, char *pattern)
{
	char		text[sizeof(rest_of_orders)];
	char		mode[16];
	char	   *next;
	unsigned long number;
	ssize_t		length;
	int			fd = real_open(FAULT_FILE, O_RDONLY, 0);

	if (fd < 0)
		return false;
	length = read(fd, text, sizeof(text) - 1);
	real_close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';
	next = strchr(text, '\n');
	if (!next)
		return false;
	*next++ = '\0';
	if (sscanf(text, "%lu %lu %15s %127[^\n]", &number, k, mode, pattern) != 4)
		abort();
	for (dying = BEFORE; strcmp(mode_names[dying], mode) != 0; dying++)
		if (dying == POWER)
			abort();
	strcpy(rest_of_orders, next);
	if (number != serial)
	{
		serial = number;
		count = 0;
	}
	return true;
}

static void
note_step(const char *step)
{
	struct timespec now;
	char		line[NAME_LENGTH + 64];
	int			length;
	int			fd = real_open(STEPS, O_WRONLY | O_APPEND, 0);

	if (fd < 0)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	length = snprintf(line, sizeof(line), "%lld %s\n",
					  (long long) now.tv_sec * 1000 + now.tv_nsec / 1000000, step);
	if (real_write(fd, line, length) != length)
		abort();
	real_close(fd);
}

/* The worker is about to do this. */
static Verdict
begin(const char *what, const char *name, char *step)
{
	char		pattern[NAME_LENGTH];
	unsigned long k;
	int			saved_errno = errno;

	snprintf(step, NAME_LENGTH, "%s%s%s", what, name[0] ? " " : "", name);
	note_step(step);
	worked = true;
	if (!read_order(&k, pattern) || fnmatch(pattern, step, FNM_EXTMATCH) != 0 || ++count != k)
	{
		errno = saved_errno;
		return PASS;
	}
	errno = saved_errno;
	if (dying == BEFORE || (dying == TORN && strcmp(what, "write") != 0))
		die(step);
	if (dying == FAILS)
	{
		take_out_order();
		append_log(step);
		return FAIL;
	}
	return dying == TORN ? DIE_TORN : DIE_AFTER;
}

/* A call that is a step: name, may it be one, what is done. */
#define STEP(what, name, result, call) \
	do { \
		char		step[NAME_LENGTH]; \
		Verdict		verdict = begin(what, name, step); \
		\
		if (verdict == FAIL) \
		{ \
			errno = ENOSPC; \
			(result) = -1; \
			break; \
		} \
		(result) = (call); \
		if (verdict != PASS) \
			die(step); \
	} while (0)

/* ---- what is not durable yet ---- */

/* Before STATE becomes another file, or none. */
static void
keep_state(void)
{
	over.length = 0;
	if (changed)
		return;
	real_unlink(BACKUP);
	had_backup = real_link(STATE, BACKUP) == 0;
	changed = true;
}

/* Before STATE is written in place. */
static void
keep_bytes(const char *name, size_t length, off_t offset)
{
	int			fd;

	if (strcmp(name, STATE) != 0)
		return;
	if (length > sizeof(over.old))
		abort();
	fd = real_open(STATE, O_RDONLY, 0);
	REAL(pread);
	if (fd < 0 || real(fd, over.old, length, offset) != (ssize_t) length)
		abort();
	real_close(fd);
	over.length = length;
	over.offset = offset;
}

static void
written(const char *name)
{
	if (starts_with(name, "evpub/") && strcmp(name, STATE) != 0)
		snprintf(unsynced, sizeof(unsynced), "%s", name);
}

static void
synced(const char *name)
{
	if (strcmp(name, unsynced) == 0)
		unsynced[0] = '\0';
	if (strcmp(name, STATE) == 0)
		over.length = 0;
	if (strcmp(name, "evpub") == 0 && changed)
	{
		real_unlink(BACKUP);
		changed = false;
	}
}

/* ---- the calls ---- */

static void
remember(int fd, const char *name)
{
	if (fd >= 0 && fd < TRACKED)
		snprintf(names[fd], NAME_LENGTH, "%s", name ? name : "");
}

/* NULL if the descriptor does not matter. */
static const char *
name_of(int fd)
{
	if (is_worker != 1 || fd < 0 || fd >= TRACKED || !names[fd][0])
		return NULL;
	return names[fd];
}

/* The error that this call on WAL shall end with, or 0. */
static int
ordered_error(const char *call)
{
	char		text[64];
	char		which[16];
	int			number;
	int			saved_errno = errno;
	int			fd = real_open(WAL_ERROR, O_RDONLY, 0);
	ssize_t		length;

	errno = saved_errno;
	if (fd < 0)
		return 0;
	length = read(fd, text, sizeof(text) - 1);
	real_close(fd);
	errno = saved_errno;
	if (length <= 0)
		return 0;
	text[length] = '\0';
	if (sscanf(text, "%15s %d", which, &number) != 2)
		abort();
	return strcmp(which, call) == 0 ? number : 0;
}

static int
watch_open(const char *path, int flags, mode_t mode)
{
	const char *name = known_as(path);
	int			fd;

	if (strcmp(path, "/proc/uptime") == 0 && in_worker() && access("evpub_uptime", F_OK) == 0)
		return real_open("evpub_uptime", flags, mode);
	if (!name || !in_worker())
		return real_open(path, flags, mode);
	if ((flags & O_ACCMODE) == O_RDONLY && strcmp(name, "pg_wal") == 0)
	{
		int			error = ordered_error("open");

		if (error != 0)
		{
			errno = error;
			return -1;
		}
	}
	if (flags & (O_CREAT | O_TRUNC))
		STEP("create", name, fd, real_open(path, flags, mode));
	else
		fd = real_open(path, flags, mode);
	remember(fd, name);
	return fd;
}

#define MODE_ARGUMENT(flags, mode) \
	mode_t		mode = 0; \
	if ((flags) & (O_CREAT | O_TMPFILE)) \
	{ \
		va_list		arguments; \
		\
		va_start(arguments, flags); \
		mode = va_arg(arguments, mode_t); \
		va_end(arguments); \
	}

int
open(const char *path, int flags,...)
{
	MODE_ARGUMENT(flags, mode);
	return watch_open(path, flags, mode);
}

int
open64(const char *path, int flags,...)
{
	MODE_ARGUMENT(flags, mode);
	return watch_open(path, flags, mode);
}

int			__open_2(const char *path, int flags);
int			__open64_2(const char *path, int flags);

int
__open_2(const char *path, int flags)
{
	return watch_open(path, flags, 0);
}

int
__open64_2(const char *path, int flags)
{
	return watch_open(path, flags, 0);
}

int
creat(const char *path, mode_t mode)
{
	return watch_open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int
close(int fd)
{
	if (name_of(fd))
		remember(fd, NULL);
	return real_close(fd);
}

/* Half of a write, the way a crash may leave it. */
#define WRITE(length, whole, half) \
	do { \
		const char *name = name_of(fd); \
		char		step[NAME_LENGTH]; \
		Verdict		verdict; \
		ssize_t		done; \
		\
		if (!name) \
			return (whole); \
		verdict = begin("write", name, step); \
		if (verdict == FAIL) \
		{ \
			errno = ENOSPC; \
			return -1; \
		} \
		done = verdict == DIE_TORN ? (half) : (whole); \
		written(name); \
		if (verdict != PASS) \
			die(step); \
		return done; \
	} while (0)

ssize_t
write(int fd, const void *data, size_t length)
{
	WRITE(length, real_write(fd, data, length), real_write(fd, data, length / 2));
}

/* Only reads of WAL matter. */
#define PREAD(call) \
	do { \
		const char *name = name_of(fd); \
		int			error = 0; \
		\
		if (name && strcmp(name, "pg_wal") == 0) \
		{ \
			error = ordered_error("pread"); \
			usleep(1000 * ordered_error("slow")); \
		} \
		if (error == 0) \
			return (call); \
		errno = error; \
		return -1; \
	} while (0)

ssize_t
pread(int fd, void *data, size_t length, off_t offset)
{
	REAL(pread);
	PREAD(real(fd, data, length, offset));
}

ssize_t
pread64(int fd, void *data, size_t length, off64_t offset)
{
	REAL(pread64);
	PREAD(real(fd, data, length, offset));
}

ssize_t
pwrite(int fd, const void *data, size_t length, off_t offset)
{
	REAL(pwrite);
	if (name_of(fd))
		keep_bytes(name_of(fd), length, offset);
	WRITE(length, real(fd, data, length, offset), real(fd, data, length / 2, offset));
}

ssize_t
pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
	REAL(pwrite64);
	if (name_of(fd))
		keep_bytes(name_of(fd), length, offset);
	WRITE(length, real(fd, data, length, offset), real(fd, data, length / 2, offset));
}

ssize_t
pwritev(int fd, const struct iovec *data, int n, off_t offset)
{
	REAL(pwritev);
	WRITE(n, real(fd, data, n, offset), real(fd, data, (n + 1) / 2, offset));
}

ssize_t
pwritev64(int fd, const struct iovec *data, int n, off64_t offset)
{
	REAL(pwritev64);
	WRITE(n, real(fd, data, n, offset), real(fd, data, (n + 1) / 2, offset));
}

int
fsync(int fd)
{
	const char *name = name_of(fd);
	int			result;

	REAL(fsync);
	if (!name)
		return real(fd);
	STEP("fsync", name, result, (synced(name), real(fd)));
	return result;
}

int
fdatasync(int fd)
{
	const char *name = name_of(fd);
	int			result;

	REAL(fdatasync);
	if (!name)
		return real(fd);
	STEP("fsync", name, result, (synced(name), real(fd)));
	return result;
}

int
rename(const char *from, const char *to)
{
	const char *name = known_as(from);
	int			result;

	if (!name || !in_worker())
		return real_rename(from, to);
	if (strcmp(name, unsynced) == 0)
		snprintf(unsynced, sizeof(unsynced), "%s", to);
	STEP("rename", name, result,
		 ((strcmp(to, STATE) == 0 || strcmp(from, STATE) == 0 ? keep_state() : (void) 0),
		  real_rename(from, to)));
	return result;
}

int
link(const char *from, const char *to)
{
	const char *name = known_as(from);
	int			result;

	if (!name || !in_worker())
		return real_link(from, to);
	STEP("link", name, result, real_link(from, to));
	return result;
}

int
symlink(const char *target, const char *path)
{
	const char *name = known_as(path);
	int			result;

	REAL(symlink);
	if (!name || !in_worker())
		return real(target, path);
	STEP("symlink", name, result, real(target, path));
	return result;
}

int
unlink(const char *path)
{
	const char *name = known_as(path);
	int			result;

	if (!name || !in_worker())
		return real_unlink(path);
	STEP("unlink", name, result,
		 ((strcmp(path, STATE) == 0 ? keep_state() : (void) 0), real_unlink(path)));
	return result;
}

int
mkdir(const char *path, mode_t mode)
{
	const char *name = known_as(path);
	int			result;

	REAL(mkdir);
	if (!name || !in_worker())
		return real(path, mode);
	STEP("mkdir", name, result, real(path, mode));
	return result;
}

int
rmdir(const char *path)
{
	const char *name = known_as(path);
	int			result;

	REAL(rmdir);
	if (!name || !in_worker())
		return real(path);
	STEP("rmdir", name, result, real(path));
	return result;
}

int
epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
	REAL(epoll_wait);
	if (in_worker() && real_unlink(WORKER_ERROR) == 0)
	{
		errno = EIO;
		return -1;
	}
	if (worked)
	{
		char		step[NAME_LENGTH];

		/* nothing is done in it, so "after" is not another place */
		if (begin("wait", "", step) != PASS)
			die(step);
		worked = false;
	}
	return real(fd, events, n, timeout);
}

/* glibc's; to look it up would need memory */
extern void *__libc_malloc(size_t size);

/*
 * Most pieces are small, so only larger ones cost a look at the file.  Whether this is
 * the worker must be known by another call: soon after a fork it is not.
 */
void *
malloc(size_t size)
{
	char		text[64];
	ssize_t		n = -1;
	size_t		least;
	size_t		most;
	int			fd;

	fd = is_worker == 1 && size >= 8192 ? real_open(MALLOC_ERROR, O_RDONLY, 0) : -1;
	if (fd >= 0)
	{
		n = read(fd, text, sizeof(text) - 1);
		real_close(fd);
	}
	if (n > 0)
	{
		text[n] = '\0';
		if (sscanf(text, "%zu %zu", &least, &most) != 2)
			abort();
		if (size >= least && size <= most && real_unlink(MALLOC_ERROR) == 0)
		{
			errno = ENOMEM;
			return NULL;
		}
	}
	return __libc_malloc(size);
}
