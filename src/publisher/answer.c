/*
 * answer.c
 *		What the worker answers to a person's question.
 */
#include "postgres.h"

#include "publisher/answer.h"
#include "reason.h"

void
evpub_answer_refuse(EvpubAnswer *answer, int sqlerrcode, const char *error,
					const char *detail, const char *hint)
{
	char	   *own_hint;

	answer->sqlerrcode = sqlerrcode;
	strlcpy(answer->error, evpub_reason_split(error, &own_hint), sizeof(answer->error));
	strlcpy(answer->detail, detail ? evpub_reason_only(detail) : "", sizeof(answer->detail));
	if (!hint)
		hint = own_hint;
	strlcpy(answer->hint, hint ? hint : "", sizeof(answer->hint));
}
