/*
 * chunk.c
 *		Fuzzes the decoder of chunks, and what is rendered of their events.
 *
 * Anyone may write a message with our prefix into WAL.  The input is such a
 * message: as it is, and again with a MAC that fits, so that a fault in the decoder
 * does not hide behind the check of the MAC.  What can be decoded goes through the
 * writer, too.
 */
#include "../unit/lib/backend.h"
#include "../unit/lib/messages.h"

#include "../../src/event/siphash.c"
#include "../../src/event/mac.c"
#include "../../src/event/write.c"
#include "../../src/event/read.c"
#include "../../src/event/positionmessage.c"
#define put put_text			/* each file has one of its own */
#include "../../src/event/output.c"
#undef put

#include "frame.h"
#include "../../src/sender/recordwriter.c"

#include "lib/fuzz.h"

#define DATABASE 5
#define TRANSACTION 700

char *
GetMockAuthenticationNonce(void)
{
	static char nonce[32] = "the same key for each input";

	return nonce;
}

/* As in the server, where it depends on nothing but its argument. */
void
j2date(int jd, int *year, int *month, int *day)
{
	*year = 2000 + jd % 1000;
	*month = 1 + jd % 12;
	*day = 1 + jd % 28;
}

/* ---- what is tested ---- */

/* Headers are taken apart by the relay; what is not well-formed ends it. */
static void
render(const EvpubEvent *event)
{
	static const EvpubCommit commit = {
		.publisher_id = 0x0123456789abcdef,.timeline = 1,.lsn = 0x1234567,
		.time = 800000000000000,.events = 3
	};
	EvpubRecord record = {0};
	StringInfoData batch;
	Size		most = evpub_event_max_size(event);

	fuzz_touch(event->key.data, event->key.len);
	fuzz_touch(event->tenant.data, event->tenant.len);
	fuzz_touch(event->subject.data, event->subject.len);
	fuzz_touch(event->body.data, event->body.len);
	fuzz_touch(event->tail.data, event->tail.len);
	fuzz_touch(event->headers.data, event->headers.len);
	fuzz_touch(event->route->topic.data, event->route->topic.len);
	fuzz_touch(event->route->type.data, event->route->type.len);
	fuzz_touch(event->route->source.data, event->route->source.len);

	record.event = *event;
	record.commit = &commit;
	record.partition = -1;
	initStringInfo(&batch);
	evpub_record_append(&batch, &record);
	/* evpub.max_event_bytes is checked by this before the commit */
	FUZZ_EXPECT((Size) batch.len <= most + sizeof(EvpubFrameRecord) + 12 * 8);
}

/* True if all of it could be decoded. */
static bool
decode(const char *data, size_t size)
{
	EvpubChunkReader reader;
	EvpubEvent	event;
	uint32		least = 0;
	volatile bool whole = false;

	evpub_chunk_open(&reader, data, size);
	PG_TRY();
	{
		while (evpub_chunk_next(&reader, &event))
		{
			FUZZ_EXPECT(event.number >= least);
			least = event.number + 1;
			render(&event);
		}
		whole = true;
	}
	PG_CATCH();
	{
		FUZZ_EXPECT(geterrcode() == ERRCODE_DATA_CORRUPTED);
		FlushErrorState();
	}
	PG_END_TRY();
	evpub_chunk_close(&reader);
	return whole;
}

static void
expect_same(const EvpubEvent *a, const EvpubEvent *b)
{
	FUZZ_EXPECT(a->number == b->number);
	FUZZ_EXPECT(a->route->envelope == b->route->envelope);
	FUZZ_EXPECT(evpub_slice_equals(a->route->topic, b->route->topic));
	FUZZ_EXPECT(evpub_slice_equals(a->route->type, b->route->type));
	FUZZ_EXPECT(evpub_slice_equals(a->route->source, b->route->source));
	FUZZ_EXPECT(a->has_key == b->has_key && a->has_value == b->has_value);
	FUZZ_EXPECT(evpub_slice_equals(a->key, b->key));
	FUZZ_EXPECT(evpub_slice_equals(a->tenant, b->tenant));
	FUZZ_EXPECT(evpub_slice_equals(a->subject, b->subject));
	FUZZ_EXPECT(evpub_slice_equals(a->body, b->body));
	FUZZ_EXPECT(evpub_slice_equals(a->tail, b->tail));
	FUZZ_EXPECT(evpub_slice_equals(a->headers, b->headers));
}

/* What was decoded, encoded by the writer and decoded again, is the same. */
static void
encode_again(const char *data, size_t size, const EvpubChunkInfo *info)
{
	EvpubChunkReader reader;
	EvpubChunkReader reader_again;
	EvpubChunkWriter writer;
	EvpubChunkInfo info_again;
	EvpubEvent	event;
	EvpubEvent	event_again;
	StringInfoData buf;
	EvpubSlice	chunk;

	initStringInfo(&buf);
	evpub_chunk_begin(&writer, &buf, info->first);
	evpub_chunk_open(&reader, data, size);
	while (evpub_chunk_next(&reader, &event))
		evpub_chunk_add(&writer, &event);
	chunk = evpub_chunk_finish(&writer, DATABASE, TRANSACTION, info->first + info->count,
							   info->last);
	evpub_chunk_close(&reader);

	FUZZ_EXPECT(evpub_chunk_check(chunk.data, chunk.len, DATABASE, TRANSACTION,
								  &info_again) == EVPUB_CHUNK_OK);
	FUZZ_EXPECT(info_again.first == info->first && info_again.count == info->count);
	FUZZ_EXPECT(info_again.last == info->last);

	evpub_chunk_open(&reader, data, size);
	evpub_chunk_open(&reader_again, chunk.data, chunk.len);
	while (evpub_chunk_next(&reader, &event))
	{
		FUZZ_EXPECT(evpub_chunk_next(&reader_again, &event_again));
		expect_same(&event, &event_again);
	}
	FUZZ_EXPECT(!evpub_chunk_next(&reader_again, &event_again));
	evpub_chunk_close(&reader);
	evpub_chunk_close(&reader_again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *message = fuzz_copy(data, size);
	EvpubChunkInfo info;
	EvpubChunkVerdict verdict;
	char		form;

	(void) evpub_chunk_check(message, size, DATABASE, TRANSACTION, &info);
	(void) evpub_position_message_check(message, size, &form);
	if (size >= EVPUB_CHUNK_HEADER_LEAST)
	{
		/* the same under a MAC that fits */
		evpub_mac((uint8 *) message + EVPUB_CHUNK_MAC_AT, DATABASE, TRANSACTION,
				  message, EVPUB_CHUNK_MAC_AT,
				  message + EVPUB_CHUNK_HEADER_LEAST, size - EVPUB_CHUNK_HEADER_LEAST);
		verdict = evpub_chunk_check(message, size, DATABASE, TRANSACTION, &info);
		if (verdict == EVPUB_CHUNK_OK)
			FUZZ_EXPECT(info.first + info.count >= info.first && info.events <= info.count);
		FUZZ_EXPECT(evpub_chunk_check(message, size, DATABASE + 1, TRANSACTION, &info) ==
					EVPUB_CHUNK_FORGED);
		if (verdict == EVPUB_CHUNK_OK && decode(message, size))
			encode_again(message, size, &info);
	}
	free(message);
	forget_memory();
	return 0;
}

/* ---- samples ---- */

static EvpubSlice
slice(const char *text)
{
	return (EvpubSlice) {text, (uint32) strlen(text)};
}

/* A chunk with all envelopes, holes, repeated parts, tombstones and headers. */
static void
sample(uint32 first, bool last, int variant)
{
	static const EvpubEnvelope envelopes[] = {
		EVPUB_ENVELOPE_PLAIN, EVPUB_ENVELOPE_NONE, EVPUB_ENVELOPE_CLOUDEVENTS,
		EVPUB_ENVELOPE_CLOUDEVENTS_BINARY
	};
	EvpubChunkWriter writer;
	EvpubRoute	routes[lengthof(envelopes)] = {0};
	StringInfoData buf;
	StringInfoData headers;
	EvpubSlice	chunk;
	uint32		number = first;

	initStringInfo(&buf);
	initStringInfo(&headers);
	evpub_headers_add(&headers, "__TypeId__", 10, "member", 6);
	evpub_headers_add(&headers, "empty", 5, "", 0);
	evpub_chunk_begin(&writer, &buf, first);
	for (int i = 0; i < (int) lengthof(envelopes) * 3; i++)
	{
		int			which = variant < 0 ? i % (int) lengthof(envelopes) : variant;
		EvpubEvent	event = {0};

		routes[which].number = which;
		routes[which].envelope = envelopes[which];
		routes[which].topic = slice("cms-hr-operation");
		routes[which].type = slice(i < 8 ? "\"member.updated\"" : "member.moved");
		routes[which].source = slice("cms");
		event.number = number;
		number += i % 5 == 4 ? 3 : 1;
		event.route = &routes[which];
		event.has_key = i % 6 != 5;
		event.has_value = i % 7 != 6;
		event.key = event.has_key ? slice(i % 2 ? "acme" : "globex") : slice("");
		event.tenant = event.route->envelope == EVPUB_ENVELOPE_NONE ? slice("") :
			slice(i % 3 ? "\"acme\"" : "\"globex\"");
		event.subject = slice(event.has_value ? "\"1\"" : "");
		event.body = slice(event.has_value ? "{\"id\":1}" : "");
		event.tail = slice(event.has_value && i % 2 ? ",\"data\":{\"name\":\"Anna\"}" : "");
		event.headers = i % 4 ? (EvpubSlice) {headers.data, headers.len} : slice("");
		evpub_chunk_add(&writer, &event);
	}
	chunk = evpub_chunk_finish(&writer, DATABASE, TRANSACTION, number, last);
	fuzz_sample(chunk.data, chunk.len);
}

static void
fuzz_samples(void)
{
	StringInfoData message;

	for (int variant = -1; variant < 4; variant++)
		sample(variant < 0 ? 0 : 17, variant % 2 == 0, variant);
	initStringInfo(&message);
	evpub_position_message_begin(&message, 'f');
	append(&message, "position", 8);
	evpub_position_message_finish(&message);
	fuzz_sample(message.data, message.len);
}
