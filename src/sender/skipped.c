/*
 * skipped.c
 *		What is published instead of an event that a person gave up:
 *		evpub.skipped.
 *
 * A consumer that knows the type can read the row anew; one that does not has an
 * event less.  The id is that of the event, so that whoever has seen the event
 * after all, since a limit was raised at that moment, takes this one for a
 * repetition.
 */
#include "postgres.h"

#include "utils/json.h"

#include "position/skips.h"
#include "sender/announce.h"
#include "sender/skipped.h"

/*
 * A value of the event that is longer, in bytes, is left out: it may be what was
 * too large.
 */
#define LONGEST_VALUE 1024

#define SLICE(text) ((EvpubSlice) {(text), sizeof(text) - 1})

const EvpubSkip *
evpub_skipped_find(const EvpubPosition *position, const EvpubRecord *record)
{
	char		id[EVPUB_ID_LENGTH + 1];

	if (position->nskips == 0)
		return NULL;
	evpub_event_id(id, record->commit, record->event.number);
	return evpub_skips_find(position, id);
}

/* A JSON value of the event, or null. */
static EvpubSlice
value_or_null(EvpubSlice value)
{
	return value.len > 0 && value.len <= LONGEST_VALUE ? value : SLICE("null");
}

/* The same of what is text in binary CloudEvents. */
static EvpubSlice
quoted_or_null(EvpubEnvelope envelope, EvpubSlice text)
{
	StringInfoData quoted;

	if (envelope != EVPUB_ENVELOPE_CLOUDEVENTS_BINARY || text.len > LONGEST_VALUE)
		return value_or_null(text);
	initStringInfo(&quoted);
	escape_json(&quoted, pnstrdup(text.data, text.len));
	return (EvpubSlice) {quoted.data, quoted.len};
}

void
evpub_skipped_replace(EvpubSkipped *skipped, EvpubRecord *record,
					  const EvpubSkip *skip)
{
	EvpubEvent *event = &record->event;
	const EvpubRoute *of = event->route;
	EvpubSlice	type = quoted_or_null(of->envelope, of->type);

	initStringInfo(&skipped->tail);
	appendStringInfo(&skipped->tail, ",\"data\":{\"type\":%.*s,\"reason\":",
					 (int) type.len, type.data);
	escape_json(&skipped->tail, evpub_announce_ascii(skip->reason));
	appendStringInfoChar(&skipped->tail, '}');

	skipped->route = *of;
	skipped->route.envelope = EVPUB_ENVELOPE_PLAIN;
	skipped->route.type = SLICE("\"evpub.skipped\"");
	event->route = &skipped->route;
	event->tenant = quoted_or_null(of->envelope, event->tenant);
	event->body = of->envelope == EVPUB_ENVELOPE_NONE ? SLICE("null") :
		value_or_null(event->body);
	event->tail = (EvpubSlice) {skipped->tail.data, skipped->tail.len};
	event->headers = SLICE("");
	event->has_value = true;
}
