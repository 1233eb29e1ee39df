/*
 * deadletter.c
 *		Dead letters: what goes to the dead-letter topic instead of an event that
 *		Kafka refuses.
 *
 * A dead letter is a record of its own: the event's key, id and headers, its value
 * as far as the topic takes that, and headers that say where it should have gone and
 * why it did not.  Key and id alone choose its partition, so the same letter that is
 * sent again after a crash stands beside the first.
 *
 * How much the dead-letter topic takes is asked of the cluster, which need not
 * answer, and not before the topic is used.  So a letter that is refused by size is
 * cut to half of it and sent again, until nothing is left to be cut.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "position/pins.h"
#include "sender/announce.h"
#include "sender/deadletter.h"
#include "sender/relaytopics.h"
#include "settings.h"
#include "shmem.h"

/* Kafka's own default of max.message.bytes. */
#define USUAL_SIZE 1048588

/*
 * What a broker counts beside key, value and headers: the batch, lengths, and
 * header evpub-id.  Then there is room for the header about what was cut.
 */
#define OVERHEAD 256

/* A letter has at most so many bytes, once a larger one was refused; 0: none was. */
static uint64 largest = 0;
static char largest_of[EVPUB_TOPIC_LENGTH];

bool
evpub_deadletter_possible(const char *topic)
{
	return evpub_on_error == EVPUB_ON_ERROR_DEAD_LETTER &&
		evpub_dead_letter_topic[0] && strcmp(topic, evpub_dead_letter_topic) != 0;
}

void
evpub_deadletter_shrink(uint64 bytes)
{
	strlcpy(largest_of, evpub_dead_letter_topic, sizeof(largest_of));
	largest = Max(bytes / 2, 1);
}

/* Bytes of key, value and headers that the topic takes, as far as that is known. */
static uint64
room_of(EvpubPosition *position, uint32 number)
{
	const EvpubTopic *topic = evpub_pins_topic_of_number(position, number);
	uint64		size = topic->size > 0 ? (uint64) topic->size : USUAL_SIZE;

	if (largest > 0 && strcmp(largest_of, topic->name) == 0)
		size = Min(size, largest);
	return size > OVERHEAD ? size - OVERHEAD : 0;
}

static void
add_header(StringInfo headers, const char *name, const char *value)
{
	evpub_headers_add(headers, name, strlen(name), value, strlen(value));
}

/* Where the event should have gone, and why it did not. */
static void
add_why(StringInfo headers, const EvpubSkip *skip)
{
	/* first the one by which a dead letter is known from an event */
	add_header(headers, "evpub-topic", skip->topic);
	add_header(headers, "evpub-partition", psprintf("%d", skip->partition));
	add_header(headers, "evpub-error-code", psprintf("%d", skip->code));
	add_header(headers, "evpub-error", evpub_announce_ascii(skip->reason));
}

/* So many bytes of UTF-8, or a little less: no character is cut in two. */
static uint32
clip(const char *text, uint32 len, uint64 room)
{
	if (len <= room)
		return len;
	len = (uint32) room;
	while (len > 0 && ((unsigned char) text[len] & 0xC0) == 0x80)
		len--;
	return len;
}

void
evpub_deadletter_replace(EvpubDeadLetter *letter, EvpubRecord *record,
						 const EvpubSkip *skip, EvpubPosition *position,
						 EvpubRelay *relay)
{
	static EvpubRoute route = {.envelope = EVPUB_ENVELOPE_NONE};
	EvpubEvent *event = &record->event;
	StringInfoData headers;
	StringInfoData own;
	StringInfoData value;
	uint64		taken;
	uint64		room;
	bool		own_too;
	uint32		len;

	record->topic = evpub_relaytopics_number(position, relay, evpub_dead_letter_topic,
											 strlen(evpub_dead_letter_topic));
	record->partition = -1;
	room = room_of(position, record->topic);

	initStringInfo(&headers);
	initStringInfo(&own);
	initStringInfo(&value);
	add_why(&headers, skip);
	evpub_event_headers(&own, event, record->commit);
	if (event->has_value)
		evpub_event_value(&value, event, record->commit);

	/* the event's own headers may be what is too large */
	taken = (uint64) (event->has_key ? event->key.len : 0) + headers.len;
	own_too = taken + own.len <= room;
	if (own_too)
	{
		appendBinaryStringInfo(&headers, own.data, own.len);
		taken += own.len;
	}
	else if (own.len > 0)
		add_header(&headers, "evpub-headers-dropped", psprintf("%d", own.len));
	len = clip(value.data, value.len, room > taken ? room - taken : 0);
	if (len < (uint32) value.len)
		add_header(&headers, "evpub-truncated", psprintf("%d", value.len));
	letter->may_shrink = len > 0 || (own_too && own.len > 0);

	event->route = &route;
	event->tenant = event->subject = event->tail = (EvpubSlice) {"", 0};
	event->body = (EvpubSlice) {value.data, len};
	event->headers = (EvpubSlice) {headers.data, headers.len};
	memcpy(letter->id, skip->id, sizeof(letter->id));
}
