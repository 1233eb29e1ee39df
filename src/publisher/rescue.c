/*
 * rescue.c
 *		Going on after an error.
 *
 * A background worker that lets an error through ends and is started anew, with
 * all that it had read.  The publisher goes on instead where it knows what the
 * error has spoiled.  PostgreSQL frees nothing by itself then: outside of a
 * transaction nobody releases the lightweight locks that were held, nor forgets
 * the parts of a WAL record that was not inserted.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xloginsert.h"
#include "storage/lwlock.h"

#include "publisher/rescue.h"

ErrorData *
evpub_rescue(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	LWLockReleaseAll();
	XLogResetInsertion();
	return error;
}

ErrorData *
evpub_rescue_and_abort(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	/* it looks at locks itself, so it comes before they are let go */
	AbortOutOfAnyTransaction();
	LWLockReleaseAll();
	XLogResetInsertion();
	MemoryContextSwitchTo(context);
	return error;
}
