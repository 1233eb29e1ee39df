/*
 * catchup.c
 *		Whether the publisher is behind, and how far it was in the last seconds, for
 *		view evpub.stat_progress_catchup.
 *
 * It is behind from when its oldest unconfirmed commit is older than 10 s: a new
 * relay, a restart of a broker or an election in the cluster takes less, and is no
 * outage.  It has caught up when that commit is younger than 1 s, or there is none.  A
 * publisher at work always has some that are a few milliseconds old, so none at all
 * would be too much to ask; and with one bound for both, a publisher that is about so
 * late all the time would come and go.
 *
 * The age of a commit is by the wall clock, which somebody may set.  If it was set
 * ahead, all that is in flight looks old for a moment, so the publisher is behind only
 * if it is so at two looks in a row.  If it was set back, commits may lie in the future,
 * or look young.  So it also counts for how long one commit has been the oldest, by the
 * monotonic clock; and a commit of the future says nothing of having caught up.  What
 * is measured over the seconds before is by the monotonic clock alone.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "progress.h"
#include "publisher/catchup.h"
#include "reader/walreader.h"

/* All in ms. */
#define LOOK_INTERVAL 1000
#define BEHIND_AGE 10000
#define CAUGHT_UP_AGE 1000

typedef enum Judgement
{
	CAUGHT_UP,
	AS_BEFORE,
	BEHIND
} Judgement;

/* What the worker sees at a look. */
typedef struct Look
{
	EvpubMsec	now;
	TimestampTz oldest;			/* commit time; 0: none is known */
	int64		age;			/* of that commit, by the wall clock; may be below 0 */
	EvpubMsec	waits;			/* so long it has been the oldest */
} Look;

static void
look_at_oldest(Look *look, EvpubStream *stream)
{
	static TimestampTz oldest_before = 0;
	static EvpubMsec oldest_since = 0;

	look->now = evpub_clock_now();
	look->oldest = evpub_stream_oldest(stream);
	if (look->oldest != oldest_before)
		oldest_since = look->now;
	oldest_before = look->oldest;
	look->age = (GetCurrentTimestamp() - look->oldest) / 1000;
	look->waits = look->now - oldest_since;
}

static Judgement
judge(const Look *look, const EvpubQueue *queue)
{
	static bool old_before = false;
	bool		old = look->oldest != 0 && look->age >= BEHIND_AGE;
	bool		twice = old && old_before;

	old_before = old;
	if (look->oldest == 0)
		/* after a rewind nothing is known before WAL is read again */
		return queue->reading && !queue->behind && !queue->unread ? CAUGHT_UP : AS_BEFORE;
	if (twice || look->waits >= BEHIND_AGE)
		return BEHIND;
	return look->age >= 0 && look->age < CAUGHT_UP_AGE ? CAUGHT_UP : AS_BEFORE;
}

static void
begin(EvpubCatchup *catchup, const Look *look, XLogRecPtr confirmed)
{
	memset(catchup, 0, sizeof(EvpubCatchup));
	catchup->behind = true;
	catchup->from_lsn = confirmed;

	/* since then that commit waits; with a clock that was set back, at least so long */
	catchup->behind_since = look->age >= BEHIND_AGE ? look->oldest :
		GetCurrentTimestamp() - look->waits * INT64CONST(1000);
}

static void
add_sample(EvpubCatchup *catchup, XLogRecPtr confirmed)
{
	if (catchup->nsamples == EVPUB_CATCHUP_SAMPLES)
		memmove(&catchup->samples[0], &catchup->samples[1],
				sizeof(EvpubCatchupSample) * --catchup->nsamples);
	catchup->samples[catchup->nsamples++] = (EvpubCatchupSample) {
		.at = evpub_clock_now(),
		.confirmed_lsn = confirmed,
		.end_lsn = evpub_walreader_end(NULL),
	};
}

void
evpub_catchup_look(EvpubWorker *worker)
{
	static EvpubMsec looked_at = 0;
	EvpubCatchup catchup;
	Judgement	judgement = AS_BEFORE;
	Look		look = {0};
	XLogRecPtr	confirmed = worker->position.confirmed_lsn;

	if (!evpub_clock_passed(looked_at, LOOK_INTERVAL))
		return;
	looked_at = evpub_clock_now();

	/*
	 * Fenced, or before a gap, it is as far behind as it was.  Who publishes nothing
	 * any more is not behind.
	 */
	if (worker->verdict == EVPUB_NOTHING)
		judgement = CAUGHT_UP;
	else if (worker->streaming)
	{
		confirmed = worker->stream.flight.confirmed_lsn;
		look_at_oldest(&look, &worker->stream);
		judgement = judge(&look, &worker->stream.queue);
	}

	/* it may be that of a worker before this one */
	evpub_progress_read_catchup(&catchup);
	if (!catchup.behind && judgement != BEHIND)
		return;
	if (judgement == CAUGHT_UP)
		memset(&catchup, 0, sizeof(catchup));
	else
	{
		if (!catchup.behind)
			begin(&catchup, &look, confirmed);
		add_sample(&catchup, confirmed);
	}
	evpub_progress_write_catchup(&catchup);
}
