/*
 * found.c
 *		Evpub's own records among those that are read back of a partition.
 *
 * A topic may be shared with other producers, so a record is evpub's own only by
 * its id: the header "evpub-id" of exactly the form that evpub writes, which
 * begins with the root of this publisher.  Everything else is passed over,
 * whatever it contains.
 *
 * Events of one publisher id are in a partition in the order of their ids, but for
 * those that a dead relay wrote late.  So the highest is kept and not the last.  Of
 * a history that was left, those that belong to it and those that were written after
 * it was left are kept apart: the second would hide the first, which still count.
 * Announcements of gaps and dead letters have no such order, and are kept one by one;
 * there are few of them, and the bound is there for the memory of the relay only.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "found.h"
#include "relay.h"

/* Digits of a publisher id: root and entry. */
#define PUBLISHER_LENGTH 16

#define LSN_LENGTH 16

/* A publisher id whose history was left, as they stand in ids. */
typedef struct Left
{
	char		publisher[PUBLISHER_LENGTH + 1];
	char		lsn[LSN_LENGTH + 1];
} Left;

static char own_root[EVPUB_FRAME_ROOT_LENGTH];
static Left *left;
static uint32_t left_count;

void
found_start(const char *payload, uint32_t length)
{
	EvpubFrameOrigin origin;

	if (length < sizeof(origin))
		relay_fail(EVPUB_FAILURE_RETRY, "malformed ORIGIN frame from the server");
	memcpy(&origin, payload, sizeof(origin));
	if (length != sizeof(origin) + (uint64_t) origin.count * sizeof(EvpubFrameEntry))
		relay_fail(EVPUB_FAILURE_RETRY, "malformed ORIGIN frame from the server");
	memcpy(own_root, origin.root, sizeof(own_root));
	left = relay_realloc(NULL, (size_t) origin.count * sizeof(*left) + 1);
	left_count = origin.count;
	for (uint32_t i = 0; i < left_count; i++)
	{
		EvpubFrameEntry entry;

		memcpy(&entry, payload + sizeof(origin) + i * sizeof(entry), sizeof(entry));
		snprintf(left[i].publisher, sizeof(left[i].publisher), "%016" PRIx64,
				 entry.publisher_id);
		snprintf(left[i].lsn, sizeof(left[i].lsn), "%016" PRIX64, entry.left_lsn);
	}
}

/* Does the record belong to a history that was left before it was written? */
static bool
is_beyond(const char *id)
{
	for (uint32_t i = 0; i < left_count; i++)
	{
		if (memcmp(id, left[i].publisher, PUBLISHER_LENGTH) == 0)
			return memcmp(id + EVPUB_FRAME_ID_ORDER_AT, left[i].lsn, LSN_LENGTH) > 0;
	}
	return false;
}

static bool
are_digits(const char *text, size_t count, char first_letter)
{
	for (size_t i = 0; i < count; i++)
	{
		if ((text[i] < '0' || text[i] > '9') &&
			(text[i] < first_letter || text[i] > first_letter + 5))
			return false;
	}
	return true;
}

/*
 * Publisher id; timeline, LSN and number in capitals; hyphens between.  Ids are
 * compared by memcmp(), so of what has no order like that none is taken.
 */
static bool
is_own(const char *id)
{
	return memcmp(id, own_root, sizeof(own_root)) == 0 &&
		are_digits(id, PUBLISHER_LENGTH, 'a') && id[16] == '-' &&
		are_digits(id + 17, 8, 'A') && id[25] == '-' &&
		are_digits(id + EVPUB_FRAME_ID_ORDER_AT, 16, 'A') && id[42] == '-' &&
		are_digits(id + EVPUB_FRAME_ID_NUMBER_AT, 8, 'A');
}

/* The id of a record of our own, or NULL. */
static const char *
own_id(rd_kafka_message_t *message, EvpubFoundKind *kind)
{
	rd_kafka_headers_t *headers;
	const void *id;
	const void *code;
	size_t		len;
	size_t		code_len;

	/* headers that make no sense are not ours */
	if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
		rd_kafka_header_get(headers, 0, "evpub-id", &id, &len) != RD_KAFKA_RESP_ERR_NO_ERROR ||
		id == NULL || len != EVPUB_FRAME_ID_LENGTH || !is_own(id))
		return NULL;
	if (rd_kafka_header_get(headers, 0, "evpub-error-code", &code, &code_len) ==
		RD_KAFKA_RESP_ERR_NO_ERROR)
		*kind = EVPUB_FOUND_DEAD_LETTER;
	/* numbers are in hexadecimal digits of fixed length: those from F0000000 on */
	else if (((const char *) id)[EVPUB_FRAME_ID_NUMBER_AT] == 'F')
		*kind = EVPUB_FOUND_GAP;
	else
		*kind = EVPUB_FOUND_EVENT;
	return id;
}

/* Is this what is kept already, or what replaces it? */
static bool
is_same(const EvpubFrameFoundId *kept, EvpubFoundKind kind, const char *id)
{
	if (kept->kind != (char) kind)
		return false;
	if (kind != EVPUB_FOUND_EVENT)
		return memcmp(kept->id, id, EVPUB_FRAME_ID_LENGTH) == 0;
	return memcmp(kept->id, id, PUBLISHER_LENGTH) == 0 &&
		is_beyond(kept->id) == is_beyond(id);
}

static void
add(Found *found, EvpubFoundKind kind, const char *id)
{
	uint32_t	of_kind = 0;
	uint32_t	oldest = 0;

	for (uint32_t i = found->count; i-- > 0;)
	{
		if (found->ids[i].kind == (char) kind)
		{
			of_kind++;
			oldest = i;
		}
	}
	if (of_kind >= EVPUB_FOUND_MOST)
	{
		found->count--;
		memmove(&found->ids[oldest], &found->ids[oldest + 1],
				(found->count - oldest) * sizeof(*found->ids));
	}
	if (found->count == found->size)
	{
		found->size = found->size * 2 + 1;
		found->ids = relay_realloc(found->ids, found->size * sizeof(*found->ids));
	}
	found->ids[found->count].kind = (char) kind;
	memcpy(found->ids[found->count].id, id, EVPUB_FRAME_ID_LENGTH);
	found->count++;
}

void
found_take(Found *found, rd_kafka_message_t *message)
{
	EvpubFoundKind kind;
	const char *id = own_id(message, &kind);

	if (id == NULL)
		return;
	for (uint32_t i = found->count; i-- > 0;)
	{
		EvpubFrameFoundId *kept = &found->ids[i];

		if (!is_same(kept, kind, id))
			continue;
		if (kind == EVPUB_FOUND_EVENT &&
			memcmp(id + EVPUB_FRAME_ID_ORDER_AT, kept->id + EVPUB_FRAME_ID_ORDER_AT,
				   EVPUB_FRAME_ID_LENGTH - EVPUB_FRAME_ID_ORDER_AT) > 0)
			memcpy(kept->id, id, EVPUB_FRAME_ID_LENGTH);
		return;
	}
	add(found, kind, id);
}

/* Is this the publisher of the other id, or one of before?  Others may fence the server. */
static bool
is_known(const char *id, const char *ours)
{
	bool		known = memcmp(id, ours, PUBLISHER_LENGTH) == 0;

	for (uint32_t i = 0; i < left_count && !known; i++)
		known = memcmp(id, left[i].publisher, PUBLISHER_LENGTH) == 0;
	return known;
}

void
found_leave_out(Found *found, const char *id)
{
	uint32_t	kept = 0;

	for (uint32_t i = 0; i < found->count; i++)
	{
		if (found->ids[i].kind == EVPUB_FOUND_EVENT && is_known(found->ids[i].id, id) &&
			memcmp(found->ids[i].id + EVPUB_FRAME_ID_ORDER_AT, id + EVPUB_FRAME_ID_ORDER_AT,
				   EVPUB_FRAME_ID_LENGTH - EVPUB_FRAME_ID_ORDER_AT) <= 0)
			continue;
		found->ids[kept++] = found->ids[i];
	}
	found->count = kept;
}

void
found_free(Found *found)
{
	free(found->ids);
	*found = (Found){0};
}
