/*
 * put.c
 *		From a transaction's chunks to the records of a batch.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "sender/flight.h"
#include "sender/put.h"
#include "sender/recordwriter.h"
#include "sender/relaytopics.h"

void
evpub_put_close(EvpubStream *stream)
{
	if (stream->chunk_open)
		evpub_chunk_close(&stream->chunk);
	stream->chunk_open = false;
}

/* The topic's number in the frames; looked up once per route of a chunk. */
static uint32
route_topic(EvpubStream *stream, EvpubRelay *relay, const EvpubRoute *route)
{
	if (route->number >= stream->route_slots)
	{
		uint32		slots = Max(16, route->number * 2);
		uint32	   *grown = MemoryContextAllocZero(stream->context,
												   slots * sizeof(uint32));

		if (stream->route_topics)
		{
			memcpy(grown, stream->route_topics, stream->route_slots * sizeof(uint32));
			pfree(stream->route_topics);
		}
		stream->route_topics = grown;
		stream->route_slots = slots;
	}
	if (stream->route_topics[route->number] == 0)
		stream->route_topics[route->number] =
			evpub_relaytopics_number(stream->position, relay, route->topic.data,
							  route->topic.len) + 1;
	return stream->route_topics[route->number] - 1;
}

/* Open the head's next chunk that holds numbers from "next" on, if any. */
static bool
open_next_chunk(EvpubStream *stream, EvpubTransaction *head, uint32 next)
{
	while (stream->head_place < head->nplaces)
	{
		int			i = stream->head_place++;
		EvpubPlace *place = &head->places[i];
		MemoryContext old;

		/* resumed inside a transaction: do not even read what is done */
		if ((uint64) place->first + place->count <= next)
			continue;

		/* it stays open from one cycle of the worker to the next */
		old = MemoryContextSwitchTo(stream->context);
		evpub_chunk_open(&stream->chunk,
						 evpub_assembler_chunk(stream->assembler, head, i,
											   stream->limit, stream->timeline),
						 place->length);
		MemoryContextSwitchTo(old);
		stream->chunk_open = true;
		if (stream->route_slots)
			memset(stream->route_topics, 0, stream->route_slots * sizeof(uint32));
		return true;
	}
	return false;
}

bool
evpub_put_transaction(EvpubStream *stream, EvpubTransaction *head,
					  EvpubRelay *relay, int limit, uint32 most)
{
	uint32		count = 0;

	for (;;)
	{
		EvpubEvent	event;

		if (!stream->chunk_open && !open_next_chunk(stream, head, stream->put_next))
			return true;
		while (stream->batch.len < limit && count < most)
		{
			if (!evpub_chunk_next(&stream->chunk, &event))
			{
				evpub_put_close(stream);
				break;
			}
			if (event.number < stream->put_next)
				continue;
			evpub_record_append(&stream->batch, route_topic(stream, relay, event.route),
								-1, &event, &head->commit);
			stream->put_next = event.number + 1;
			evpub_flight_add(stream);
			count++;
		}
		if (stream->chunk_open)
			return false;		/* the batch is full */
	}
}
