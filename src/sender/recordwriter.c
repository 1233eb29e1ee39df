/*
 * recordwriter.c
 *		The records of a BATCH frame.
 *
 * Value and headers are rendered in place, at the end of the batch, so their
 * lengths are known only when they stand there: the fixed part in front of them
 * is written last.
 */
#include "postgres.h"

#include "frame.h"
#include "sender/recordwriter.h"

StaticAssertDecl(EVPUB_ID_LENGTH == EVPUB_FRAME_ID_LENGTH,
				 "ids are as long in frames as in events");

uint32
evpub_record_append(StringInfo batch, const EvpubRecord *record)
{
	const EvpubEvent *event = &record->event;
	EvpubFrameRecord frame;
	int			start = batch->len;
	int			part;

	frame.topic = record->topic;
	frame.partition = record->partition;
	frame.key_len = event->has_key ? (int32) event->key.len : -1;
	frame.value_len = -1;
	frame.headers_len = 0;

	/* room for the fixed part, then the id, whose zero byte ends the buffer */
	enlargeStringInfo(batch, sizeof(frame) + EVPUB_ID_LENGTH);
	evpub_event_id(batch->data + start + sizeof(frame), record->commit,
				   event->number);
	batch->len += sizeof(frame) + EVPUB_ID_LENGTH;

	if (event->has_key)
		appendBinaryStringInfo(batch, event->key.data, event->key.len);
	if (event->has_value)
	{
		part = batch->len;
		evpub_event_value(batch, event, record->commit);
		frame.value_len = batch->len - part;
	}
	part = batch->len;
	evpub_event_headers(batch, event, record->commit);
	frame.headers_len = batch->len - part;
	memcpy(batch->data + start, &frame, sizeof(frame));
	return (uint32) (batch->len - start - sizeof(frame) - EVPUB_ID_LENGTH);
}
