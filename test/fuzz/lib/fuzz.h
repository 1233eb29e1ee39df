/*
 * fuzz.h
 *		What all fuzz targets have: samples to begin with, and input piece by piece.
 *
 * A target is a program of libFuzzer's.  Called as "target --samples DIRECTORY" it
 * writes valid input there, made by the functions of src that write what the
 * tested ones read: so samples are never of an older format.
 */
#ifndef EVPUB_FUZZ_H
#define EVPUB_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Each target has these. */
static void fuzz_samples(void);
int			LLVMFuzzerInitialize(int *argc, char ***argv);
int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *fuzz_directory;
static int	fuzz_samples_count;

/* Keep this as an input to begin with. */
static inline void
fuzz_sample(const void *data, size_t size)
{
	char		path[4096];
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/sample-%03d", fuzz_directory, ++fuzz_samples_count);
	file = fopen(path, "w");
	if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0)
	{
		perror(path);
		_exit(1);
	}
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (*argc != 3 || strcmp((*argv)[1], "--samples") != 0)
		return 0;
	fuzz_directory = (*argv)[2];
	fuzz_samples();
	/* not exit(): libFuzzer takes that for a crash of the target */
	_exit(0);
}

/* What must hold for any input; libFuzzer keeps the input that breaks it. */
#define FUZZ_EXPECT(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/*
 * A copy with nothing allocated behind it, so that one byte too far is seen.  The
 * caller frees it.
 */
static inline char *
fuzz_copy(const uint8_t *data, size_t size)
{
	char	   *copy = malloc(size > 0 ? size : 1);

	if (copy == NULL)
		abort();
	if (size > 0)
		memcpy(copy, data, size);
	return copy;
}

/* Reads each byte: a sanitizer sees the first one that is not there. */
static inline void
fuzz_touch(const void *data, size_t size)
{
	const volatile unsigned char *bytes = data;

	for (size_t i = 0; i < size; i++)
		(void) bytes[i];
}

#endif							/* EVPUB_FUZZ_H */
