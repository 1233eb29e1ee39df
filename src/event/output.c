/*
 * output.c
 *		What Kafka gets of an event: its id, its value and its headers.
 *
 * Runs for every event that is published, several hundred thousand times a
 * second.  What depends on the commit alone (most of the id, lsn, tx, time)
 * is rendered once and kept for the commit's other events.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/datetime.h"

#include "event/event.h"

#define LITERAL(s) s, (sizeof(s) - 1)

/* Longest forms: lsn FFFFFFFF/FFFFFFFF, tx 4294967295, year of six digits. */
#define SUFFIX_ROOM 96

/* Length of the id up to the number. */
#define ID_PREFIX_LENGTH (EVPUB_ID_LENGTH - 8)

/* Where in the id the commit's LSN begins. */
#define SEQUENCE_AT 26

static const char lower_digits[] = "0123456789abcdef";
static const char upper_digits[] = "0123456789ABCDEF";

/* The pieces that the events of the last commit share. */
static EvpubCommit rendered_for;
static bool rendered = false;
static char id_prefix[ID_PREFIX_LENGTH];
static char suffix[SUFFIX_ROOM];	/* ,"lsn":...,"tx":...,"time":"..." */
static uint32 suffix_len;
static const char *lsn_text;	/* parts of it */
static uint32 lsn_len;
static const char *time_text;
static uint32 time_len;

static inline void
put_hex(char *dst, uint64 value, int width, const char *digits)
{
	for (int i = width - 1; i >= 0; i--)
	{
		dst[i] = digits[value & 0xF];
		value >>= 4;
	}
}

/* Write value in at least "width" decimal digits. */
static char *
put_decimal(char *p, uint32 value, int width)
{
	char		digits[10];
	int			n = 0;

	do
	{
		digits[n++] = '0' + value % 10;
		value /= 10;
	} while (value > 0 || n < width);
	while (n > 0)
		*p++ = digits[--n];
	return p;
}

/* Hexadecimal without leading zeros, as in "%X". */
static char *
put_short_hex(char *p, uint32 value)
{
	int			width = 1;

	while (width < 8 && value >> (4 * width) != 0)
		width++;
	put_hex(p, value, width, upper_digits);
	return p + width;
}

/* 2026-11-20T13:43:46.123456Z */
static char *
put_time(char *p, TimestampTz time)
{
	int64		days = time / USECS_PER_DAY;
	int64		rest = time % USECS_PER_DAY;
	int			year;
	int			month;
	int			day;

	if (rest < 0)
	{
		rest += USECS_PER_DAY;
		days--;
	}
	j2date((int) days + POSTGRES_EPOCH_JDATE, &year, &month, &day);

	p = put_decimal(p, Max(year, 0), 4);
	*p++ = '-';
	p = put_decimal(p, month, 2);
	*p++ = '-';
	p = put_decimal(p, day, 2);
	*p++ = 'T';
	p = put_decimal(p, rest / USECS_PER_HOUR, 2);
	*p++ = ':';
	p = put_decimal(p, rest / USECS_PER_MINUTE % 60, 2);
	*p++ = ':';
	p = put_decimal(p, rest / USECS_PER_SEC % 60, 2);
	*p++ = '.';
	p = put_decimal(p, rest % USECS_PER_SEC, 6);
	*p++ = 'Z';
	return p;
}

static inline char *
put(char *p, const char *data, Size len)
{
	memcpy(p, data, len);
	return p + len;
}

static inline bool
same_commit(const EvpubCommit *commit)
{
	return rendered &&
		rendered_for.lsn == commit->lsn &&
		rendered_for.publisher_id == commit->publisher_id &&
		rendered_for.timeline == commit->timeline &&
		rendered_for.time == commit->time &&
		rendered_for.events == commit->events;
}

static void
render_commit(const EvpubCommit *commit)
{
	char	   *p;

	put_hex(id_prefix, commit->publisher_id, 16, lower_digits);
	id_prefix[16] = '-';
	put_hex(id_prefix + 17, commit->timeline, 8, upper_digits);
	id_prefix[25] = '-';
	put_hex(id_prefix + 26, commit->lsn, 16, upper_digits);
	id_prefix[42] = '-';

	p = put(suffix, LITERAL(",\"lsn\":\""));
	lsn_text = p;
	p = put_short_hex(p, (uint32) (commit->lsn >> 32));
	*p++ = '/';
	p = put_short_hex(p, (uint32) commit->lsn);
	lsn_len = p - lsn_text;
	p = put(p, LITERAL("\",\"tx\":"));
	p = put_decimal(p, commit->events, 1);
	p = put(p, LITERAL(",\"time\":\""));
	time_text = p;
	p = put_time(p, commit->time);
	time_len = p - time_text;
	*p++ = '"';
	suffix_len = p - suffix;
	Assert(suffix_len <= SUFFIX_ROOM);

	rendered_for = *commit;
	rendered = true;
}

static inline char *
put_id(char *p, const EvpubCommit *commit, uint32 number)
{
	if (!same_commit(commit))
		render_commit(commit);
	memcpy(p, id_prefix, ID_PREFIX_LENGTH);
	put_hex(p + ID_PREFIX_LENGTH, number, 8, upper_digits);
	return p + EVPUB_ID_LENGTH;
}

void
evpub_event_id(char *dst, const EvpubCommit *commit, uint32 number)
{
	*put_id(dst, commit, number) = '\0';
}

/* ---- values ---- */

/* Bytes of an envelope around the event's own parts, at most. */
#define PLAIN_ROOM \
	(sizeof("{\"id\":\"\",\"type\":,\"tenant\":,\"pk\":}") + \
	 EVPUB_ID_LENGTH + SUFFIX_ROOM)
#define CLOUDEVENTS_ROOM \
	(sizeof("{\"specversion\":\"1.0\",\"id\":\"\",\"source\":\"/evpub//\",\"type\":," \
			"\"subject\":,\"datacontenttype\":\"application/json\",\"tenant\":," \
			"\"sequence\":\"\",\"data\":{\"pk\":}}") + \
	 2 * EVPUB_ID_LENGTH + 16 + SUFFIX_ROOM)
#define DATA_ROOM sizeof("{\"pk\":}")

/* The envelope's headers: lengths of names and values, less the event's own. */
#define STRUCTURED_HEADERS_ROOM 64
#define BINARY_HEADERS_ROOM 512

static Size
max_value_size(const EvpubEvent *event)
{
	const EvpubRoute *route = event->route;
	Size		size;

	if (!event->has_value)
		return 0;
	size = (Size) event->body.len + event->tail.len;
	switch (route->envelope)
	{
		case EVPUB_ENVELOPE_NONE:
			break;
		case EVPUB_ENVELOPE_PLAIN:
			size += PLAIN_ROOM + route->type.len + event->tenant.len;
			break;
		case EVPUB_ENVELOPE_CLOUDEVENTS:
			size += CLOUDEVENTS_ROOM + route->type.len + route->source.len +
				event->tenant.len + event->subject.len;
			break;
		case EVPUB_ENVELOPE_CLOUDEVENTS_BINARY:
			size += DATA_ROOM;
			break;
	}
	return size;
}

static char *
put_plain(char *p, const EvpubEvent *event, const EvpubCommit *commit)
{
	p = put(p, LITERAL("{\"id\":\""));
	p = put_id(p, commit, event->number);
	p = put(p, LITERAL("\",\"type\":"));
	p = put(p, event->route->type.data, event->route->type.len);
	p = put(p, LITERAL(",\"tenant\":"));
	p = put(p, event->tenant.data, event->tenant.len);
	p = put(p, LITERAL(",\"pk\":"));
	p = put(p, event->body.data, event->body.len);
	p = put(p, suffix, suffix_len);
	p = put(p, event->tail.data, event->tail.len);
	*p++ = '}';
	return p;
}

/* {"pk":...,"changed":...,"data":...}, the data of a CloudEvent */
static char *
put_data(char *p, const EvpubEvent *event)
{
	p = put(p, LITERAL("{\"pk\":"));
	p = put(p, event->body.data, event->body.len);
	p = put(p, event->tail.data, event->tail.len);
	*p++ = '}';
	return p;
}

/* /evpub/<publisher id>/<database> */
static char *
put_source(char *p, const EvpubEvent *event)
{
	p = put(p, LITERAL("/evpub/"));
	p = put(p, id_prefix, 16);
	*p++ = '/';
	return put(p, event->route->source.data, event->route->source.len);
}

/*
 * Structured mode, CloudEvents 1.0 JSON format.  Attribute "sequence" ascends
 * along the publisher's history: the part of the id behind the timeline.
 */
static char *
put_cloudevent(char *p, const EvpubEvent *event, const EvpubCommit *commit)
{
	const char *id;

	p = put(p, LITERAL("{\"specversion\":\"1.0\",\"id\":\""));
	id = p;
	p = put_id(p, commit, event->number);
	p = put(p, LITERAL("\",\"source\":\""));
	p = put_source(p, event);
	p = put(p, LITERAL("\",\"type\":"));
	p = put(p, event->route->type.data, event->route->type.len);
	/* of a JSON string these are the quotes: it must not be empty */
	if (event->subject.len > 2)
	{
		p = put(p, LITERAL(",\"subject\":"));
		p = put(p, event->subject.data, event->subject.len);
	}
	p = put(p, LITERAL(",\"time\":\""));
	p = put(p, time_text, time_len);
	p = put(p, LITERAL("\",\"datacontenttype\":\"application/json\",\"tenant\":"));
	p = put(p, event->tenant.data, event->tenant.len);
	p = put(p, LITERAL(",\"lsn\":\""));
	p = put(p, lsn_text, lsn_len);
	p = put(p, LITERAL("\",\"sequence\":\""));
	p = put(p, id + SEQUENCE_AT, EVPUB_ID_LENGTH - SEQUENCE_AT);
	p = put(p, LITERAL("\",\"data\":"));
	p = put_data(p, event);
	*p++ = '}';
	return p;
}

void
evpub_event_value(StringInfo dst, const EvpubEvent *event,
				  const EvpubCommit *commit)
{
	char	   *p;

	Assert(event->has_value);

	/* the parts come out of one chunk, so that their sum fits an int */
	enlargeStringInfo(dst, (int) max_value_size(event));
	p = dst->data + dst->len;

	switch (event->route->envelope)
	{
		case EVPUB_ENVELOPE_PLAIN:
			p = put_plain(p, event, commit);
			break;
		case EVPUB_ENVELOPE_NONE:
			p = put(p, event->body.data, event->body.len);
			break;
		case EVPUB_ENVELOPE_CLOUDEVENTS:
			p = put_cloudevent(p, event, commit);
			break;
		case EVPUB_ENVELOPE_CLOUDEVENTS_BINARY:
			p = put_data(p, event);
			break;
	}

	dst->len = p - dst->data;
	dst->data[dst->len] = '\0';
}

/* ---- headers ---- */

static void
add_header(StringInfo dst, const char *name, const char *value, Size len)
{
	evpub_headers_add(dst, name, strlen(name), value, (int) len);
}

/* Binary mode, CloudEvents 1.0 Kafka binding. */
static void
add_attributes(StringInfo dst, const EvpubEvent *event, const EvpubCommit *commit)
{
	const EvpubRoute *route = event->route;
	char		id[EVPUB_ID_LENGTH + 1];
	char	   *source = palloc(sizeof("/evpub//") + 16 + route->source.len);
	char	   *end;

	evpub_event_id(id, commit, event->number);
	end = put_source(source, event);
	add_header(dst, "ce_specversion", LITERAL("1.0"));
	add_header(dst, "ce_id", id, EVPUB_ID_LENGTH);
	add_header(dst, "ce_source", source, end - source);
	add_header(dst, "ce_type", route->type.data, route->type.len);
	if (event->subject.len > 0)
		add_header(dst, "ce_subject", event->subject.data, event->subject.len);
	add_header(dst, "ce_time", time_text, time_len);
	add_header(dst, "ce_tenant", event->tenant.data, event->tenant.len);
	add_header(dst, "ce_lsn", lsn_text, lsn_len);
	add_header(dst, "ce_sequence", id + SEQUENCE_AT, EVPUB_ID_LENGTH - SEQUENCE_AT);
	add_header(dst, "content-type", LITERAL("application/json"));
	pfree(source);
}

void
evpub_event_headers(StringInfo dst, const EvpubEvent *event,
					const EvpubCommit *commit)
{
	if (event->has_value &&
		event->route->envelope == EVPUB_ENVELOPE_CLOUDEVENTS)
		add_header(dst, "content-type", LITERAL("application/cloudevents+json"));
	else if (event->has_value &&
			 event->route->envelope == EVPUB_ENVELOPE_CLOUDEVENTS_BINARY)
		add_attributes(dst, event, commit);
	appendBinaryStringInfo(dst, event->headers.data, event->headers.len);
}

static Size
max_headers_size(const EvpubEvent *event)
{
	/* every encoded header has 8 bytes of lengths that Kafka does not count */
	Size		size = event->headers.len + sizeof("evpub-id") - 1 + EVPUB_ID_LENGTH;

	if (event->route->envelope == EVPUB_ENVELOPE_CLOUDEVENTS)
		size += STRUCTURED_HEADERS_ROOM;
	else if (event->route->envelope == EVPUB_ENVELOPE_CLOUDEVENTS_BINARY)
		size += BINARY_HEADERS_ROOM + event->route->type.len +
			event->route->source.len + event->tenant.len + event->subject.len;
	return size;
}

Size
evpub_event_max_size(const EvpubEvent *event)
{
	return (Size) event->key.len + max_value_size(event) + max_headers_size(event);
}
