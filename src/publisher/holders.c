/*
 * holders.c
 *		Which transactions hold back WAL.
 *
 * Events of a transaction that has not ended have to be read again after a
 * restart, so WAL is kept from its first chunk on.  A prepared transaction
 * that somebody forgot holds it for ever, and fills the disk while all else
 * is published.  It is named here long before a limit is reached.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "utils/timestamp.h"

#include "publisher/workerstate.h"

/* Thousands may be open: look at them at most so often, in ms. */
#define LOOK_INTERVAL 1000

static void
look(EvpubWorker *worker)
{
	TimestampTz now;

	if (!worker->streaming || evpub_assembler_empty(worker->stream.assembler))
	{
		worker->nholders = 0;
		worker->holders_at = 0;
		return;
	}
	now = GetCurrentTimestamp();
	if (!TimestampDifferenceExceeds(worker->holders_at, now, LOOK_INTERVAL))
		return;
	worker->holders_at = now;
	worker->nholders = evpub_assembler_holders(worker->stream.assembler,
											   worker->holders, EVPUB_MAX_HOLDERS);
}

void
evpub_holders_show(EvpubWorker *worker, EvpubStatus *status)
{
	look(worker);
	status->nholders = worker->nholders;
	memcpy(status->holders, worker->holders, sizeof(status->holders));
}

/*
 * Only if it is the transaction, and not a backlog that is older: then WAL is
 * kept from the segment of its first chunk on.
 */
const char *
evpub_holders_reason(EvpubWorker *worker)
{
	EvpubHolder *oldest = &worker->holders[0];

	look(worker);
	if (worker->nholders == 0 ||
		worker->stream.reader->position < oldest->lsn + wal_segment_size ||
		worker->position.restart_lsn + wal_segment_size < oldest->lsn)
		return NULL;
	return psprintf("%s transaction %u holds back WAL from %X/%X on",
					oldest->prepared ? "prepared" : "open", oldest->xid,
					LSN_FORMAT_ARGS(oldest->lsn));
}
