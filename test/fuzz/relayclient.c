/*
 * relayclient.c
 *		Fuzzes what the worker makes of what its relay sends.
 *
 * The input is what comes over the socket, in pieces.  The relay is of the same
 * build, but it holds librdkafka, OpenSSL and SASL, which talk to the network: what
 * gets hold of it must not get hold of the worker, which has the rights of the server.
 */
#include "../unit/lib/backend.h"
#include "../unit/lib/messages.h"
#include "../unit/lib/files.h"

#include <sys/socket.h>

#include "common/hashfn.h"

#include "lib/fuzz.h"

static ssize_t world_recv(int fd, void *buffer, size_t size, int flags);
static int64_t world_now(void);

/* instead of the socket, and of the clock */
#include "clock.h"
#define recv(fd, buffer, size, flags) world_recv(fd, buffer, size, flags)
#define evpub_clock_now() world_now()

#include "lib/restore.h"
#include "lib/tested.h"
#include "../../src/latency.c"
#include "../../src/figures.c"
#include "../../src/position/position.c"
#include "../../src/position/eventid.c"
#include "../../src/position/pins.c"
#include "../../src/position/skips.c"
#define announce caps_announce
#include "../../src/sender/caps.c"
#undef announce
#include "../../src/sender/relaytopics.c"
#include "../../src/sender/flight.c"
#include "../../src/sender/tails.c"
#include "../../src/sender/relayclient.c"
#include "../../src/publisher/kafkafiles.c"
#include "lib/not_tested.h"

#undef recv

/* One lock, which nobody takes twice, and nobody keeps. */
static EvpubFigures figures;
static LWLock lock;
static bool locked;

bool
LWLockAcquire(LWLock *wanted, LWLockMode mode)
{
	(void) mode;
	if (wanted != &lock || locked)
		abort();
	locked = true;
	return true;
}

void
LWLockRelease(LWLock *wanted)
{
	if (wanted != &lock || !locked)
		abort();
	locked = false;
}

TimestampTz
GetCurrentTimestamp(void)
{
	return 4711;
}

void
evpub_relay_place(char *path)
{
	path[0] = '\0';
}

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name,
							  Size minContextSize, Size initBlockSize, Size maxBlockSize)
{
	(void) name;
	(void) minContextSize;
	(void) initBlockSize;
	(void) maxBlockSize;
	return parent;
}

void
MemoryContextReset(MemoryContext context)
{
	(void) context;
}

/* ---- the relay: sends the input, and is silent behind it ---- */

static const uint8_t *sent;
static size_t sent_left;
static size_t piece;

static ssize_t
world_recv(int fd, void *buffer, size_t size, int flags)
{
	size_t		length = Min(Min(size, piece), sent_left);

	(void) fd;
	(void) flags;
	if (sent_left == 0)
	{
		errno = piece % 2 ? EAGAIN : ECONNRESET;
		return piece % 3 ? -1 : 0;
	}
	memcpy(buffer, sent, length);
	sent += length;
	sent_left -= length;
	return (ssize_t) length;
}

static int64_t
world_now(void)
{
	static int64_t now = 1000000;

	return now += 7;
}

/* ---- what the worker does with frames (publisher/supervise.c) ---- */

static EvpubPosition position;
static EvpubRelay relay;
static EvpubKafkaFiles files;

static void
take_failed(const EvpubFrame *frame)
{
	EvpubFrameFailed failed;

	if (frame->length < sizeof(failed))
		return;
	memcpy(&failed, frame->data, sizeof(failed));
	(void) pnstrdup(frame->data + sizeof(failed), frame->length - sizeof(failed));
	evpub_caps_lower(&position, &failed);
	evpub_caps_raise(&relay, &position);
}

/* publisher/readback.c */
static bool
take_found(const EvpubFrame *frame)
{
	EvpubFound	found = {0};
	EvpubJudgement judgement;

	if (frame->length < sizeof(found.frame))
		return false;
	memcpy(&found.frame, frame->data, sizeof(found.frame));
	found.ids = frame->data + sizeof(found.frame);
	found.position = &position;
	found.topic = evpub_pins_topic_of_number(&position, found.frame.topic);
	if (!found.topic || found.frame.partition < 0 ||
		found.frame.partition >= found.topic->partitions ||
		(frame->length - sizeof(found.frame)) / sizeof(EvpubFrameFoundId) != found.frame.count ||
		(frame->length - sizeof(found.frame)) % sizeof(EvpubFrameFoundId) != 0)
		return false;
	found.flushed = 0x2000000;
	found.confirmed_lsn = 0x1000000;
	found.dead_letters = found.frame.end % 5 == 4;
	evpub_tails_judge(&found, &judgement);
	if (judgement.malformed)
		return false;
	if (judgement.fenced)
	{
		FUZZ_EXPECT(judgement.fenced[0] != '\0');
		return true;
	}
	fuzz_touch(judgement.answer.data, judgement.answer.len);
	if (!evpub_id_known(&judgement.tail))
		return true;
	FUZZ_EXPECT(judgement.tail.lsn > found.confirmed_lsn && judgement.tail.lsn <= found.flushed);
	return true;
}

static bool
take(const EvpubFrame *frame)
{
	const EvpubTopic *topic;

	fuzz_touch(frame->data, frame->length);
	switch (frame->type)
	{
		case EVPUB_FRAME_HELLO:
			(void) pnstrdup(frame->data, frame->length);
			if (!evpub_kafka_files_take(&files, frame))
				return false;
			(void) evpub_kafka_files_changed(&files);
			return true;
		case EVPUB_FRAME_PARTITIONS:
			return evpub_relaytopics_partitions(&position, frame);
		case EVPUB_FRAME_ACKED_OFFSET:
			return evpub_relaytopics_offset(&position, frame, false);
		case EVPUB_FRAME_FOUND:
			return take_found(frame);
		case EVPUB_FRAME_TOPIC_SIZE:
			if (!evpub_relaytopics_size(&position, frame, &topic))
				return false;
			evpub_caps_size(&relay, &position, topic);
			return true;
		case EVPUB_FRAME_TROUBLE:
		case EVPUB_FRAME_NOTE:
			(void) pnstrdup(frame->data, frame->length);
			return true;
		case EVPUB_FRAME_FAILED:
			take_failed(frame);
			return true;
		default:
			/* it ends the relay; here it goes on */
			return true;
	}
}

static void
begin(void)
{
	evpub_relay_init(&relay);
	initStringInfo(&relay.in);
	initStringInfo(&relay.out);
	relay.socket = 99;
	memset(&position, 0, sizeof(position));
	memset(&files, 0, sizeof(files));
	evpub_position_add_lineage(&position, UINT64CONST(0x0123456700000001), 1, 0);
	evpub_position_add_lineage(&position, UINT64CONST(0x0123456789abcdef), 1, 0x1234565);
	relay.reads_back = true;
	for (int i = 0; i < 3; i++)
	{
		char		name[] = {'t', (char) ('0' + i), '\0'};

		(void) evpub_relaytopics_number(&position, &relay, name, 2);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	EvpubFrame	frame;

	if (size == 0)
		return 0;
	fuzz_restore();
	evpub_figures_attach(&figures, false, &lock);
	piece = 1 + (size_t) data[0] * data[0];
	sent = data + 1;
	sent_left = size - 1;
	begin();
	while (evpub_relay_receive(&relay, &frame) == EVPUB_RELAY_FRAME)
	{
		if (!take(&frame))
			break;
		if (evpub_pins_wanted(&position))
			evpub_relaytopics_pins_durable(&position, &relay);
	}
	for (int i = 0; i < position.ntopics; i++)
		FUZZ_EXPECT(position.topics[i].nnumbers >= position.topics[i].partitions &&
					position.topics[i].partitions <= EVPUB_FRAME_PARTITIONS_MAX);
	forget_memory();
	return 0;
}

/* ---- samples ---- */

static char sample[4096];
static size_t sample_length;

static void
put_frame(char type, const void *data, size_t size, const char *text, size_t text_size)
{
	EvpubFrameHeader header = {0};

	header.length = (uint32) (size + text_size);
	header.type = (uint8) type;
	header.version = EVPUB_PROTOCOL_VERSION;
	memcpy(sample + sample_length, &header, sizeof(header));
	memcpy(sample + sample_length + sizeof(header), data, size);
	memcpy(sample + sample_length + sizeof(header) + size, text, text_size);
	sample_length += sizeof(header) + size + text_size;
}

static void
fuzz_samples(void)
{
	static const char hello[] = "2.0.2\0/etc/ssl/ca.pem\0none";
	static const char a_gap[] = "0123456789abcdef-00000001-0000000001234567-F0000001";
	static const char why[] = "topic \"t1\" is gone\nMake it again.";
	EvpubFrameFailed failed = {.kind = EVPUB_FAILURE_RECORD,.size = 1,.topic = 1,.partition = 2};

	failed.first = 1;
	failed.last = 9;
	failed.count = 4;
	failed.bytes = 5000;
	for (int i = 0; i < 8; i++)
	{
		EvpubFrameTopic topic = {.number = i % 3,.partitions = i == 7 ? -1 : 4 + i};
		EvpubFrameOffset offset = {.topic = i % 3,.partition = -1,.offset = 1000 + i};
		EvpubFrameAcked acked = {.topic = i % 3,.partition = 1,.offset = 1000 + i};
		EvpubFrameFound found = {.topic = i % 3,.partition = i % 4,.end = 1000 + i,.count = 3};
		EvpubFrameFoundId ids[] = {
			{.kind = EVPUB_FOUND_EVENT}, {.kind = EVPUB_FOUND_GAP}, {.kind = EVPUB_FOUND_DEAD_LETTER}
		};
		char		an_id[EVPUB_FRAME_ID_LENGTH + 1];

		/* confirmed, in WAL, and beyond its end */
		snprintf(an_id, sizeof(an_id), "0123456789abcdef-00000001-%016X-00000001",
				 (i % 4 + 1) * 0xA00000);
		EvpubFrameAck ack = {.sequence = i};

		sample[0] = (char) (i * 5);
		sample_length = 1;
		put_frame(EVPUB_FRAME_HELLO, hello, i % 2 ? sizeof(hello) : 5, "", 0);
		put_frame(EVPUB_FRAME_PARTITIONS, &topic, sizeof(topic), "", 0);
		if (i % 2)
			memcpy(acked.id, an_id, sizeof(acked.id));
		put_frame(EVPUB_FRAME_ACKED_OFFSET, &acked, sizeof(acked), "", 0);
		for (size_t j = 0; j < lengthof(ids); j++)
			memcpy(ids[j].id, j == 1 ? a_gap : an_id, sizeof(ids[j].id));
		put_frame(EVPUB_FRAME_FOUND, &found, sizeof(found), (const char *) ids, sizeof(ids));
		put_frame(EVPUB_FRAME_ACK, &ack, sizeof(ack), "", 0);
		put_frame(EVPUB_FRAME_HEARTBEAT, "", 0, "", 0);
		put_frame(EVPUB_FRAME_TOPIC_SIZE, &offset, sizeof(offset), "", 0);
		put_frame(EVPUB_FRAME_TROUBLE, why, strlen(why), "", 0);
		topic.partitions += 2;
		put_frame(EVPUB_FRAME_PARTITIONS, &topic, sizeof(topic), "", 0);
		put_frame(EVPUB_FRAME_FAILED, &failed, sizeof(failed), why, strlen(why));
		fuzz_sample(sample, sample_length);
	}
}
