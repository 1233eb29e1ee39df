/*
 * event_render.c
 *		What Kafka gets of an event: its id and its value.
 *
 * Runs for every event that is published, several hundred thousand times a
 * second.  What depends on the commit alone (most of the id, lsn, tx, time)
 * is rendered once and kept for the commit's other events.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/datetime.h"

#include "event.h"

#define LITERAL(s) s, (sizeof(s) - 1)

/* Longest forms: lsn FFFFFFFF/FFFFFFFF, tx 4294967295, year of six digits. */
#define SUFFIX_ROOM 96

/* Length of the id up to the number. */
#define ID_PREFIX_LENGTH (EVPUB_ID_LENGTH - 8)

static const char lower_digits[] = "0123456789abcdef";
static const char upper_digits[] = "0123456789ABCDEF";

/* The pieces that the events of the last commit share. */
static EvpubCommit rendered_for;
static bool rendered = false;
static char id_prefix[ID_PREFIX_LENGTH];
static char suffix[SUFFIX_ROOM];	/* ,"lsn":...,"tx":...,"time":"..." */
static uint32 suffix_len;

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
	p = put_short_hex(p, (uint32) (commit->lsn >> 32));
	*p++ = '/';
	p = put_short_hex(p, (uint32) commit->lsn);
	p = put(p, LITERAL("\",\"tx\":"));
	p = put_decimal(p, commit->events, 1);
	p = put(p, LITERAL(",\"time\":\""));
	p = put_time(p, commit->time);
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

/* Bytes of the plain envelope around the event's own parts, at most. */
#define PLAIN_ROOM \
	(sizeof("{\"id\":\"\",\"type\":,\"tenant\":,\"pk\":}") + \
	 EVPUB_ID_LENGTH + SUFFIX_ROOM)

static Size
max_value_size(const EvpubEvent *event)
{
	Size		size;

	if (!event->has_value)
		return 0;
	size = (Size) event->body.len;
	if (event->route->envelope == EVPUB_ENVELOPE_PLAIN)
		size += PLAIN_ROOM + event->route->type.len + event->tenant.len +
			event->tail.len;
	return size;
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
			break;
		case EVPUB_ENVELOPE_NONE:
			p = put(p, event->body.data, event->body.len);
			break;
	}

	dst->len = p - dst->data;
	dst->data[dst->len] = '\0';
}

Size
evpub_event_max_size(const EvpubEvent *event)
{
	/* every encoded header has 8 bytes of lengths that Kafka does not count */
	return (Size) event->key.len + max_value_size(event) +
		event->headers.len + sizeof("evpub-id") - 1 + EVPUB_ID_LENGTH;
}
