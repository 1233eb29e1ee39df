/*
 * assertion.c
 *		A failed assertion in a unit test.
 *
 * In a file of its own, which includes nothing of PostgreSQL: the declaration
 * there has other arguments in each major version, but the first is the same.
 */
#include <stdio.h>
#include <stdlib.h>

void		ExceptionalCondition(const char *condition);

void
ExceptionalCondition(const char *condition)
{
	printf("Bail out! assertion failed: %s\n", condition);
	fflush(stdout);
	abort();
}
