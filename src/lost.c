/*
 * lost.c
 *		How much a gap gives up, in numbers and in words.
 */
#include "postgres.h"

#include "lost.h"

EvpubLost
evpub_lost_add(EvpubLost a, EvpubLost b)
{
	EvpubLost	sum;

	sum.transactions = a.transactions + b.transactions;
	sum.events = a.events + b.events;

	/* the kinds rise with how much is known: the sum is of the lower kind */
	sum.known = Min(a.known, b.known);
	if (sum.known == EVPUB_LOST_UNKNOWN && sum.transactions > 0)
		sum.known = EVPUB_LOST_PART;
	return sum;
}

static char *
counted(uint64 n, const char *what)
{
	return psprintf("%llu %s%s", (unsigned long long) n, what, n == 1 ? "" : "s");
}

char *
evpub_lost_text(const EvpubLost *lost)
{
	char	   *transactions = counted(lost->transactions, "transaction");
	char	   *events = counted(lost->events, "event");

	switch (lost->known)
	{
		case EVPUB_LOST_ALL:
			if (lost->transactions == 0)
				return pstrdup("no transactions with events");
			return psprintf("%s with %s", transactions, events);
		case EVPUB_LOST_EVENTS_PART:
			return psprintf("%s with at least %s", transactions, events);
		case EVPUB_LOST_STOPPED:
			return psprintf("at least %s with %s (the rest was not counted, as that takes too long)",
							transactions, events);
		case EVPUB_LOST_PART:
			return psprintf("at least %s with %s in the part of WAL that can be read",
							transactions, events);
		case EVPUB_LOST_UNKNOWN:
			break;
	}
	return pstrdup("transactions whose number is not known");
}
