/*
 * messages.h
 *		StringInfo, and the pq_ functions that read from one, outside of a server.
 *
 * Included behind backend.h and the headers that declare these functions, and in
 * front of the files that are tested.
 */
#ifndef EVPUB_TEST_MESSAGES_H
#define EVPUB_TEST_MESSAGES_H

#include "libpq/pqformat.h"
#include "port/pg_bswap.h"

/* of these the declarations differ between major versions */
#define appendBinaryStringInfo(str, data, length) append(str, data, length)
#define pq_sendbytes(str, data, length) append(str, data, length)

void
initStringInfo(StringInfo str)
{
	str->data = palloc(64);
	str->maxlen = 64;
	resetStringInfo(str);
}

void
resetStringInfo(StringInfo str)
{
	str->data[0] = '\0';
	str->len = 0;
	str->cursor = 0;
}

void
enlargeStringInfo(StringInfo str, int needed)
{
	if (needed < 0 || (Size) needed >= MaxAllocSize - (Size) str->len)
		elog(ERROR, "invalid string enlargement request size: %d", needed);
	if (str->len + needed + 1 <= str->maxlen)
		return;
	str->maxlen = (str->len + needed + 1) * 2;
	str->data = repalloc(str->data, str->maxlen);
}

static void
append(StringInfo str, const void *data, int length)
{
	enlargeStringInfo(str, length);
	memcpy(str->data + str->len, data, length);
	str->len += length;
	str->data[str->len] = '\0';
}

void
appendStringInfoString(StringInfo str, const char *s)
{
	append(str, s, strlen(s));
}

const char *
pq_getmsgbytes(StringInfo msg, int length)
{
	if (length < 0 || length > msg->len - msg->cursor)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("insufficient data left in message")));
	msg->cursor += length;
	return msg->data + msg->cursor - length;
}

int
pq_getmsgbyte(StringInfo msg)
{
	return (unsigned char) *pq_getmsgbytes(msg, 1);
}

unsigned int
pq_getmsgint(StringInfo msg, int b)
{
	uint32		n32;

	if (b != 4)
		abort();
	memcpy(&n32, pq_getmsgbytes(msg, 4), 4);
	return pg_ntoh32(n32);
}

int64
pq_getmsgint64(StringInfo msg)
{
	uint64		n64;

	memcpy(&n64, pq_getmsgbytes(msg, 8), 8);
	return pg_ntoh64(n64);
}

void
pq_getmsgend(StringInfo msg)
{
	if (msg->cursor != msg->len)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("invalid message format")));
}

#endif							/* EVPUB_TEST_MESSAGES_H */
