/*
 * restore.h
 *		Puts the variables of the tested files back after each input.
 *
 * What one input leaves behind must not decide how the next one ends, or a crash
 * could not be repeated from its input alone.  The tested files are included, or
 * compiled, behind "#pragma clang section" with the names of two sections of their
 * own; these are copied before the first input, and copied back after each.  So
 * the files themselves need no way to begin anew, and a target knows none of
 * their variables.
 */
#ifndef EVPUB_FUZZ_RESTORE_H
#define EVPUB_FUZZ_RESTORE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* where the linker puts them; there may be none of a kind */
extern char __start_tested_data[] __attribute__((weak));
extern char __stop_tested_data[] __attribute__((weak));
extern char __start_tested_bss[] __attribute__((weak));
extern char __stop_tested_bss[] __attribute__((weak));

/* Not seen by the sanitizers: there are their red zones in between. */
__attribute__((no_sanitize("address", "undefined")))
static inline void
fuzz_copy_section(char *to, const char *from, size_t size)
{
	/* or the compiler makes a memcpy() of it, which is seen */
	for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t))
	{
		*(uint64_t *) to = *(const uint64_t *) from;
		to += sizeof(uint64_t);
		from += sizeof(uint64_t);
		__asm__ volatile("" ::: "memory");
	}
	while (size-- > 0)
	{
		*to++ = *from++;
		__asm__ volatile("" ::: "memory");
	}
}

static inline void
fuzz_restore(void)
{
	static char *saved;
	size_t		data = (size_t) (__stop_tested_data - __start_tested_data);
	size_t		bss = (size_t) (__stop_tested_bss - __start_tested_bss);

	if (saved == NULL)
	{
		saved = malloc(data + bss + 1);
		if (saved == NULL)
			abort();
		fuzz_copy_section(saved, __start_tested_data, data);
		fuzz_copy_section(saved + data, __start_tested_bss, bss);
		return;
	}
	fuzz_copy_section(__start_tested_data, saved, data);
	fuzz_copy_section(__start_tested_bss, saved + data, bss);
}

#endif							/* EVPUB_FUZZ_RESTORE_H */
