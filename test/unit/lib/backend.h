/*
 * backend.h
 *		What a file of the server's side needs to run outside of a server.
 *
 * A unit test includes this file, then the files that it tests, and is linked
 * with sanitizers.  Memory comes from malloc() without rounding, so that a byte
 * too far is seen; errors jump as they do in the server.  Only what the tested
 * files call is here.
 */
#ifndef EVPUB_TEST_BACKEND_H
#define EVPUB_TEST_BACKEND_H

#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* ---- memory: one context, which forget_memory() empties ---- */

MemoryContext CurrentMemoryContext;
MemoryContext TopMemoryContext;

#define BLOCKS_MAX 200000

static void *blocks[BLOCKS_MAX];
static int	block_count;
static size_t allocated;

void *
palloc(Size size)
{
	void	   *block;

	if (size > MaxAllocSize)
		elog(ERROR, "invalid memory alloc request size %zu", size);
	block = malloc(size > 0 ? size : 1);
	if (block == NULL || block_count == BLOCKS_MAX)
		abort();
	/* not what malloc() happens to give: what is not set must be seen */
	memset(block, 0x7f, size);
	blocks[block_count++] = block;
	allocated += size;
	return block;
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void
pfree(void *pointer)
{
	for (int i = block_count - 1; i >= 0; i--)
		if (blocks[i] == pointer)
		{
			blocks[i] = blocks[--block_count];
			free(pointer);
			return;
		}
	abort();
}

void *
repalloc(void *pointer, Size size)
{
	if (size > MaxAllocSize)
		elog(ERROR, "invalid memory alloc request size %zu", size);
	for (int i = block_count - 1; i >= 0; i--)
		if (blocks[i] == pointer)
		{
			blocks[i] = realloc(pointer, size > 0 ? size : 1);
			if (blocks[i] == NULL)
				abort();
			allocated += size;
			return blocks[i];
		}
	abort();
}

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	(void) context;
	return palloc(size);
}

void *
MemoryContextAllocHuge(MemoryContext context, Size size)
{
	(void) context;
	return palloc(size);
}

void *
repalloc_huge(void *pointer, Size size)
{
	return repalloc(pointer, size);
}

void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	(void) context;
	return palloc0(size);
}

void *
MemoryContextAllocExtended(MemoryContext context, Size size, int flags)
{
	(void) context;
	return flags & MCXT_ALLOC_ZERO ? palloc0(size) : palloc(size);
}

char *
MemoryContextStrdup(MemoryContext context, const char *text)
{
	(void) context;
	return pstrdup(text);
}

char *
pnstrdup(const char *text, Size length)
{
	char	   *copy;

	length = strnlen(text, length);
	copy = palloc(length + 1);
	memcpy(copy, text, length);
	copy[length] = '\0';
	return copy;
}

char *
pstrdup(const char *text)
{
	return pnstrdup(text, strlen(text));
}

static inline void
forget_memory(void)
{
	while (block_count > 0)
		free(blocks[--block_count]);
	allocated = 0;
}

/* ---- errors ---- */

sigjmp_buf *PG_exception_stack;
ErrorContextCallback *error_context_stack;

static int	error_level;
static int	error_code;
static char error_text[1000];

bool
errstart(int elevel, const char *domain)
{
	(void) domain;
	error_level = elevel;
	error_code = ERRCODE_INTERNAL_ERROR;
	return elevel >= ERROR;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	(void) funcname;
	if (error_level < ERROR)
		return;
	if (PG_exception_stack == NULL)
	{
		printf("Bail out! %s:%d: %s\n", filename, lineno, error_text);
		exit(1);
	}
	siglongjmp(*PG_exception_stack, 1);
}

int
errcode(int sqlerrcode)
{
	error_code = sqlerrcode;
	return 0;
}

int
errcode_for_file_access(void)
{
	error_code = errno == ENOENT ? ERRCODE_UNDEFINED_FILE : ERRCODE_IO_ERROR;
	return 0;
}

static int pg_attribute_printf(1, 0)
set_error(const char *fmt, va_list args)
{
	vsnprintf(error_text, sizeof(error_text), fmt, args);
	return 0;
}

#define ERROR_TEXT_FUNCTION(name) \
int \
name(const char *fmt, ...) \
{ \
	va_list		args; \
\
	va_start(args, fmt); \
	set_error(fmt, args); \
	va_end(args); \
	return 0; \
}

ERROR_TEXT_FUNCTION(errmsg)
ERROR_TEXT_FUNCTION(errmsg_internal)

int
geterrcode(void)
{
	return error_code;
}

void
FlushErrorState(void)
{
}

void
pg_re_throw(void)
{
	if (PG_exception_stack == NULL)
		abort();
	siglongjmp(*PG_exception_stack, 1);
}

/* ---- a sequence of numbers that a seed repeats ---- */

static uint64 random_state = 1;

static inline uint64
next_random(void)
{
	uint64		z = (random_state += UINT64CONST(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static inline uint32
below(uint32 limit)
{
	return (uint32) (next_random() % limit);
}

/*
 * How long to go on with random input, in seconds.  EVPUB_FUZZ_SECONDS says
 * otherwise, and EVPUB_FUZZ_SEED where to begin.
 */
static inline double
fuzz_seconds(void)
{
	const char *seconds = getenv("EVPUB_FUZZ_SECONDS");
	const char *seed = getenv("EVPUB_FUZZ_SEED");

	random_state = seed ? strtoull(seed, NULL, 0) : (uint64) time(NULL);
	printf("# EVPUB_FUZZ_SEED=" UINT64_FORMAT "\n", random_state);
	return seconds ? strtod(seconds, NULL) : 2;
}

static inline double
seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* ---- TAP ---- */

static int	tests_run;
static int	tests_failed;

static inline void
ok(bool passed, const char *what)
{
	printf("%sok %d - %s\n", passed ? "" : "not ", ++tests_run, what);
	fflush(stdout);
	if (!passed)
		tests_failed++;
}

static inline int
done_testing(void)
{
	printf("1..%d\n", tests_run);
	return tests_failed > 0;
}

#endif							/* EVPUB_TEST_BACKEND_H */
