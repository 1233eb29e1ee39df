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

#include "access/transam.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"

#include "publisher/holders.h"

/* Thousands may be open: look at them at most so often, in ms. */
#define LOOK_INTERVAL 1000

/*
 * Put one in its place.  Those that are not prepared count as one, which is
 * then the oldest of them: until the end of a transaction nothing in WAL says
 * which sub-transactions are its own, and a single one with a thousand
 * savepoints would fill all places.
 */
static int
add_holder(EvpubHolder *holders, int count, const EvpubHolder *new)
{
	int			i = 0;

	while (i < count && (holders[i].prepared != new->prepared ||
						 (new->prepared && holders[i].xid != new->xid)))
		i++;
	if (i < count)
	{
		if (holders[i].lsn <= new->lsn)
			return count;
	}
	else if (count < EVPUB_MAX_HOLDERS)
		i = count++;
	else if (holders[count - 1].lsn > new->lsn)
		i = count - 1;
	else
		return count;
	for (; i > 0 && holders[i - 1].lsn > new->lsn; i--)
		holders[i] = holders[i - 1];
	holders[i] = *new;
	return count;
}

static void
look_at(TransactionId xid, TransactionId prepared, XLogRecPtr lsn, void *arg)
{
	EvpubHolders *holders = arg;
	EvpubHolder holder;

	holder.prepared = prepared != InvalidTransactionId;
	holder.xid = holder.prepared ? prepared : xid;
	holder.lsn = lsn;
	holders->count = add_holder(holders->oldest, holders->count, &holder);
}

void
evpub_holders_look(EvpubHolders *holders, EvpubAssembler *assembler,
				   XLogRecPtr read_lsn)
{
	holders->read_lsn = read_lsn;
	if (!assembler || evpub_assembler_empty(assembler))
	{
		holders->count = 0;
		holders->looked_at = 0;
		return;
	}
	if (!evpub_clock_passed(holders->looked_at, LOOK_INTERVAL))
		return;
	holders->looked_at = evpub_clock_now();
	holders->count = 0;
	evpub_assembler_each(assembler, look_at, holders);
}

/*
 * Only if it is the transaction, and not a backlog that is older: then WAL is
 * kept from the segment of its first chunk on.
 */
const char *
evpub_holders_reason(const EvpubHolders *holders, XLogRecPtr restart_lsn)
{
	const EvpubHolder *oldest = &holders->oldest[0];

	if (holders->count == 0 ||
		holders->read_lsn < oldest->lsn + wal_segment_size ||
		restart_lsn + wal_segment_size < oldest->lsn)
		return NULL;
	return psprintf("%s transaction %u holds back WAL from %X/%X on\n%s",
					oldest->prepared ? "prepared" : "open", oldest->xid,
					LSN_FORMAT_ARGS(oldest->lsn),
					oldest->prepared ?
					psprintf("SELECT gid, database FROM pg_prepared_xacts WHERE transaction = '%u'; then, in that database, COMMIT PREPARED or ROLLBACK PREPARED.",
							 oldest->xid) :
					"It lets go when it ends; evpub.check() names its process.");
}
