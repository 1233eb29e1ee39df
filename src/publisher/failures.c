/*
 * failures.c
 *		What has gone wrong lately, for view evpub.failures.
 *
 * An outage repeats the same failure every few seconds, and may repeat two or three
 * in turns.  So one that is among the newest ones already is counted there, and
 * pushes nothing out.  The list is kept here and written at most once a second,
 * whatever happens.  It must never hinder publishing: a file that cannot be read or
 * written is tried again later, and one that is damaged is begun anew.
 */
#include "postgres.h"

#include <ctype.h>

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "publisher/failures.h"
#include "publisher/rescue.h"
#include "reason.h"

/*
 * Between two writes, in ms: when there is another failure, or a refused event has not
 * come often, longer the more often it has come; when only failures of an outage have
 * come again, as they do each second, in turns, for hours; and after a write that has
 * failed.
 */
#define SAVE_INTERVAL 1000
#define SAVE_OUTAGE 30000
#define SAVE_REPEATED 60000
#define SAVE_AGAIN 10000

/* A failure is taken for another time of one that is among so many. */
#define LOOKED_THROUGH 8

/* too large for the stack of a function */
static EvpubFailures failures;

/* Until what is in the file is in the list, too, the file is not written. */
static bool loaded = false;
static bool unsaved = false;
static EvpubMsec save_interval = 0;	/* of what is unsaved */
static bool complained = false;
static EvpubMsec saved_at = 0;
static EvpubMsec save_at = 0;	/* not before, since the last try has failed */

/* What was kept stands behind what has come meanwhile, as far as there is room. */
static void
take(const EvpubFailures *kept)
{
	int			count = Min(kept->count, EVPUB_FAILURES_KEPT - failures.count);

	memcpy(&failures.list[failures.count], kept->list, sizeof(EvpubFailure) * count);
	failures.count += count;
	loaded = true;
}

void
evpub_failures_load(void)
{
	EvpubFailures *kept = palloc(sizeof(EvpubFailures));
	char	   *problem;

	switch (evpub_failurefile_read(kept, &problem))
	{
		case EVPUB_CHECKEDFILE_UNREADABLE:
			/* it may be readable later, and then nothing of it is lost */
			save_at = evpub_clock_now() + SAVE_AGAIN;
			if (!complained)
				ereport(LOG,
						(errmsg("evpub: %s", problem),
						 errdetail("It is tried again every %d seconds, and no failure is written before.",
								   SAVE_AGAIN / 1000)));
			complained = true;
			break;
		case EVPUB_CHECKEDFILE_DAMAGED:
			ereport(LOG,
					(errmsg("evpub: %s", problem),
					 errdetail("View evpub.failures begins anew.")));
			take(kept);
			break;
		case EVPUB_CHECKEDFILE_ABSENT:
		case EVPUB_CHECKEDFILE_FOUND:
			take(kept);
			complained = false;
			break;
	}
	if (problem)
		pfree(problem);
	pfree(kept);
}

/* Numbers in a text change from time to time: seconds, ports, offsets. */
static bool
same_but_for_digits(const char *a, const char *b)
{
	for (;;)
	{
		while (isdigit((unsigned char) *a))
			a++;
		while (isdigit((unsigned char) *b))
			b++;
		if (*a != *b)
			return false;
		if (*a == '\0')
			return true;
		a++;
		b++;
	}
}

static bool
is_same(const EvpubFailure *a, const EvpubFailure *b)
{
	return a->kind == b->kind && a->done == b->done && a->partition == b->partition &&
		a->code == b->code && strcmp(a->topic, b->topic) == 0 &&
		strcmp(a->id, b->id) == 0 && same_but_for_digits(a->text, b->text);
}

EvpubFailure
evpub_failures_of(EvpubFailureKind kind, EvpubFailureDone done)
{
	EvpubFailure failure;

	memset(&failure, 0, sizeof(failure));
	failure.kind = kind;
	failure.done = done;
	failure.partition = -1;
	return failure;
}

/* Messages of the server may be translated, into an encoding that nobody here knows. */
static void
set_text(EvpubFailure *failure, const char *text)
{
	char	   *reason = evpub_reason_only(text);

	strlcpy(failure->text, reason, sizeof(failure->text));
	for (char *c = failure->text; *c; c++)
		if (IS_HIGHBIT_SET(*c))
			*c = '?';
	pfree(reason);
}

void
evpub_failures_note(EvpubFailure what, const char *text)
{
	EvpubFailure *list = failures.list;
	EvpubMsec	interval;
	int			at = 0;

	set_text(&what, text);
	what.last_at = GetCurrentTimestamp();
	what.first_at = what.last_at;
	what.count = 1;
	while (at < Min(failures.count, LOOKED_THROUGH) && !is_same(&list[at], &what))
		at++;
	if (at < Min(failures.count, LOOKED_THROUGH))
	{
		what.first_at = list[at].first_at;
		what.count = list[at].count + 1;
	}
	else
	{
		at = failures.count < EVPUB_FAILURES_KEPT ? failures.count++ : EVPUB_FAILURES_KEPT - 1;
	}
	memmove(&list[1], &list[0], sizeof(EvpubFailure) * at);
	list[0] = what;
	interval = what.count == 1 || what.kind == EVPUB_FAILED_REFUSED ?
		Min(SAVE_INTERVAL * (EvpubMsec) what.count, SAVE_REPEATED) : SAVE_OUTAGE;
	save_interval = unsaved ? Min(save_interval, interval) : interval;
	unsaved = true;
}

void
evpub_failures_save(bool now)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;

	if (!loaded && !now && evpub_clock_now() >= save_at)
		evpub_failures_load();
	if (!unsaved || !loaded ||
		(!now && (evpub_clock_now() < save_at ||
				  !evpub_clock_passed(saved_at, save_interval))))
		return;
	saved_at = evpub_clock_now();

	/* a full disk brings us here for hours, and an error leaves memory behind */
	context = AllocSetContextCreate(caller, "evpub failures", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		evpub_failurefile_write(&failures);
		unsaved = false;
		complained = false;
	}
	PG_CATCH();
	{
		ErrorData  *error = evpub_rescue(context);

		save_at = evpub_clock_now() + SAVE_AGAIN;
		if (!complained)
			ereport(LOG,
					(errmsg("evpub: what view evpub.failures shows is not up to date: %s",
							error->message)));
		complained = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}
