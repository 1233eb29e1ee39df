/*
 * relayworld.c
 *		A worker, a cluster and a clock for the relay's files, all of them made up.
 *
 * The worker is one that sends what the input says, in pieces of any size, and
 * answers as the real one does when the relay reports a partition count.  The
 * cluster has each topic, or has not; takes records and reports them, in the order
 * of each partition; or refuses them.  Time passes when the relay waits.
 *
 * What must hold whatever the worker sends is checked here: records are handed
 * on in sequence, and only what the cluster has taken is acknowledged.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#define EVPUB_FUZZ_RELAYWORLD
#include "relay.h"
#include "relayworld.h"
#include "restore.h"

#include "frame.h"
#include "relay/found.h"
#include "relay/lookup.h"
#include "relay/reader.h"
#include "relay/readtask.h"
#include "relay/topics.h"

/* The worker takes no longer frame (sender/relayclient.c). */
#define LONGEST_REPLY (1024 * 1024)

/* Looks at an empty socket before the worker stops sending; and until the end. */
#define IDLE_MAX 30
#define POLLS_MAX 5000

#define RECORDS_MAX 4096

#define EXPECT(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

static jmp_buf end;
static uint64_t random_state;

static uint32_t
below(uint32_t limit)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t) (random_state >> 33) % limit;
}

/* ---- the system ---- */

#define BLOCKS_MAX 100000
#define FDS_MAX 64

static void *blocks[BLOCKS_MAX];
static int	block_count;
static int	fds[FDS_MAX];
static int	fd_count;
static FILE *file;
static int64_t clock_us;
static int	polls;
static int	idle;

void *
world_realloc(void *old, size_t size)
{
	void	   *block = realloc(old, size > 0 ? size : 1);
	int			at = block_count - 1;

	if (block == NULL)
		abort();
	while (old != NULL && at >= 0 && blocks[at] != old)
		at--;
	if (old == NULL || at < 0)
		at = block_count++;
	EXPECT(at < BLOCKS_MAX);
	blocks[at] = block;
	return block;
}

void
world_free(void *pointer)
{
	for (int at = block_count - 1; at >= 0; at--)
	{
		if (blocks[at] != pointer)
			continue;
		blocks[at] = blocks[--block_count];
		break;
	}
	free(pointer);
}

char *
world_strdup(const char *text)
{
	return strcpy(world_realloc(NULL, strlen(text) + 1), text);
}

void
world_exit(int code)
{
	EXPECT(code == 0 || code == 1);
	longjmp(end, 1);
}

int
world_clock_gettime(clockid_t clock, struct timespec *now)
{
	(void) clock;
	now->tv_sec = clock_us / 1000000;
	now->tv_nsec = clock_us % 1000000 * 1000;
	return 0;
}

int
world_open(const char *path, int flags)
{
	int			fd = open(path, flags);

	if (fd >= 0 && fd_count < FDS_MAX)
		fds[fd_count++] = fd;
	return fd;
}

/* The relay has one file open at a time. */
FILE *
world_fdopen(int fd, const char *mode)
{
	EXPECT(fd_count > 0 && fds[fd_count - 1] == fd);
	file = fdopen(fd, mode);
	if (file != NULL)
		fd_count--;
	return file;
}

int
world_fclose(FILE *which)
{
	EXPECT(which == file);
	file = NULL;
	return fclose(which);
}

/* One is enough: only librdkafka's events come through it. */
int
world_eventfd(unsigned int count, int flags)
{
	static int	fd = -1;

	if (fd < 0)
		fd = eventfd(count, flags);
	return fd;
}

/* ---- the worker ---- */

static char *stream;			/* what it sends */
static size_t stream_length;
static size_t stream_at;
static size_t piece;			/* bytes of one recv() at most */
static char *heard;				/* of the relay */
static size_t heard_length;

static char *error_text;		/* of librdkafka, see WORLD_ERROR */
static size_t error_at;			/* when it comes, in bytes of the stream */

static void
say(const void *data, size_t size)
{
	stream = realloc(stream, stream_length + size + 1);
	if (stream == NULL)
		abort();
	memcpy(stream + stream_length, data, size);
	stream_length += size;
}

/* More partitions are only more of the same, and slow. */
#define PARTITIONS_MAX 1000

/* A frame of the worker's. */
static void
say_frame(const EvpubFrameHeader *header, const uint8_t *payload)
{
	EvpubFrameTopic topic;
	size_t		at = stream_length;

	say(header, sizeof(*header));
	say(payload, header->length);
	if (header->type != EVPUB_FRAME_TOPIC || header->length < sizeof(topic))
		return;
	memcpy(&topic, payload, sizeof(topic));
	if (topic.partitions > PARTITIONS_MAX && topic.partitions <= EVPUB_FRAME_PARTITIONS_MAX)
		topic.partitions = PARTITIONS_MAX;
	memcpy(stream + at + sizeof(*header), &topic, sizeof(topic));
}

/* The frames of the input, less those that are none of the worker's. */
static void
say_input(const uint8_t *input, size_t size)
{
	EvpubFrameHeader header;
	size_t		at = 0;

	while (size - at >= sizeof(header))
	{
		memcpy(&header, input + at, sizeof(header));
		if (header.length > size - at - sizeof(header))
			break;
		if (header.type == WORLD_ERROR && error_text == NULL)
		{
			error_text = malloc(header.length + 1);
			if (error_text == NULL)
				abort();
			memcpy(error_text, input + at + sizeof(header), header.length);
			error_text[header.length] = '\0';
			error_at = stream_length;
		}
		else
			say_frame(&header, input + at + sizeof(header));
		at += sizeof(header) + header.length;
	}
	say(input + at, size - at);
}

/* The count is durable now: the topic's frame comes again, with it. */
static void
pin(const EvpubFrameTopic *counted)
{
	EvpubFrameHeader header;
	size_t		length = stream_length;

	for (size_t at = 0; length - at >= sizeof(header) + sizeof(*counted);)
	{
		EvpubFrameTopic topic;

		memcpy(&header, stream + at, sizeof(header));
		if (header.length > length - at - sizeof(header))
			return;
		memcpy(&topic, stream + at + sizeof(header), sizeof(topic));
		if (header.type == EVPUB_FRAME_TOPIC && topic.number == counted->number &&
			header.length >= sizeof(topic) && header.length < 300)
		{
			char		frame[sizeof(header) + 300];

			memcpy(frame, stream + at, sizeof(header) + header.length);
			memcpy(frame + sizeof(header), counted, sizeof(*counted));
			say(frame, sizeof(header) + header.length);
			return;
		}
		at += sizeof(header) + header.length;
	}
}

/* What the worker has said of a partition: what is up to the tail is not sent. */
typedef struct WorldTail
{
	EvpubFramePartition of;
	char		id[EVPUB_FRAME_ID_LENGTH];
} WorldTail;

#define TAILS_MAX 64

static WorldTail tails[TAILS_MAX];
static int	tails_count;

/* What a worker makes of it: an event may be the tail, others are dropped exactly. */
static void
answer_found(const EvpubFrameFound *found, const char *ids)
{
	struct
	{
		EvpubFrameHeader header;
		EvpubFrameFound found;
		EvpubFrameFoundId ids[3 * EVPUB_FOUND_MOST];
	}			tail = {0};
	uint32_t	tails_of_frame = 0;

	tail.found.topic = found->topic;
	tail.found.partition = found->partition;
	for (uint32_t i = 0; i < found->count; i++)
	{
		EvpubFrameFoundId one;

		memcpy(&one, ids + i * sizeof(one), sizeof(one));
		EXPECT(one.kind == EVPUB_FOUND_EVENT || one.kind == EVPUB_FOUND_GAP ||
			   one.kind == EVPUB_FOUND_DEAD_LETTER);
		if (one.kind == EVPUB_FOUND_EVENT && (tails_of_frame > 0 || below(4) == 0))
			continue;
		if (one.kind == EVPUB_FOUND_EVENT && tails_count < TAILS_MAX)
		{
			tails[tails_count].of.topic = found->topic;
			tails[tails_count].of.partition = found->partition;
			memcpy(tails[tails_count++].id, one.id, sizeof(one.id));
			tails_of_frame++;
			one.kind = EVPUB_FOUND_TAIL;
		}
		else
			one.kind = EVPUB_FOUND_EXACT;
		tail.ids[tail.found.count++] = one;
	}
	tail.header.length = (uint32_t) (sizeof(tail.found) + tail.found.count * sizeof(*tail.ids));
	tail.header.type = EVPUB_FRAME_TAIL;
	tail.header.version = EVPUB_PROTOCOL_VERSION;
	say(&tail, sizeof(tail.header) + tail.header.length);
}

/* A tail is met, or is given up: it does not count any more. */
static void
forget_tail(const EvpubFramePartition *of)
{
	for (int i = 0; i < tails_count; i++)
	{
		if (tails[i].of.topic == of->topic && tails[i].of.partition == of->partition)
			tails[i--] = tails[--tails_count];
	}
}

static bool taken[RECORDS_MAX]; /* by the cluster, by sequence number */
static bool handed_over[RECORDS_MAX];	/* to the cluster; the others are dropped */
static uint64_t produced;

/* Only what the cluster has taken is acknowledged, and what it had already. */
static void
hear_ack(const EvpubFrameAck *ack)
{
	uint64_t	dropped = 0;

	EXPECT(ack->sequence < RECORDS_MAX);
	for (uint64_t i = 1; i <= ack->sequence; i++)
	{
		EXPECT(taken[i] || !handed_over[i]);
		dropped += !handed_over[i];
	}
	EXPECT(dropped == ack->dropped);
}

static void
hear(const EvpubFrameHeader *header, const char *payload)
{
	EvpubFrameTopic counted;
	EvpubFrameAck ack;
	EvpubFrameFound found;
	EvpubFramePartition partition;

	if (header->type == EVPUB_FRAME_FOUND)
	{
		EXPECT(header->length >= sizeof(found));
		memcpy(&found, payload, sizeof(found));
		EXPECT(header->length == sizeof(found) + found.count * sizeof(EvpubFrameFoundId));
		answer_found(&found, payload + sizeof(found));
	}
	else if (header->type == EVPUB_FRAME_MET || header->type == EVPUB_FRAME_PASSED)
	{
		EXPECT(header->length == sizeof(partition));
		memcpy(&partition, payload, sizeof(partition));
		forget_tail(&partition);
		if (header->type == EVPUB_FRAME_PASSED)
		{
			/* it need not be met after all */
			memset(&found, 0, sizeof(found));
			found.topic = partition.topic;
			found.partition = partition.partition;
			answer_found(&found, NULL);
		}
	}
	else if (header->type == EVPUB_FRAME_PARTITIONS)
	{
		EXPECT(header->length == sizeof(counted));
		memcpy(&counted, payload, sizeof(counted));
		if (counted.partitions > 0 && below(8) > 0)
			pin(&counted);
	}
	else if (header->type == EVPUB_FRAME_ACK)
	{
		EXPECT(header->length == sizeof(ack));
		memcpy(&ack, payload, sizeof(ack));
		hear_ack(&ack);
	}
	else if (header->type == EVPUB_FRAME_FAILED)
		EXPECT(header->length > sizeof(EvpubFrameFailed));
}

ssize_t
world_send(int fd, const void *data, size_t size, int flags)
{
	EvpubFrameHeader header;
	size_t		at = 0;

	(void) fd;
	(void) flags;
	heard = realloc(heard, heard_length + size);
	if (heard == NULL)
		abort();
	memcpy(heard + heard_length, data, size);
	heard_length += size;
	while (heard_length - at >= sizeof(header))
	{
		memcpy(&header, heard + at, sizeof(header));
		EXPECT(header.version == EVPUB_PROTOCOL_VERSION && header.length <= LONGEST_REPLY);
		if (header.length > heard_length - at - sizeof(header))
			break;
		hear(&header, heard + at + sizeof(header));
		at += sizeof(header) + header.length;
	}
	memmove(heard, heard + at, heard_length - at);
	heard_length -= at;
	return (ssize_t) size;
}

ssize_t
world_recv(int fd, void *buffer, size_t size, int flags)
{
	size_t		left = stream_length - stream_at;
	size_t		length = 1 + below((uint32_t) piece);

	(void) fd;
	(void) flags;
	EXPECT(size > 0);
	if (left == 0 && idle > IDLE_MAX)
		return 0;
	if (left == 0)
	{
		errno = EAGAIN;
		return -1;
	}
	if (length > left)
		length = left;
	if (length > size)
		length = size;
	memcpy(buffer, stream + stream_at, length);
	stream_at += length;
	return (ssize_t) length;
}

static bool events_wait(void);

/* Waits for so many microseconds; negative: for ever. */
static int
wait_for(struct pollfd *pollfds, nfds_t count, int64_t timeout)
{
	bool		ready = stream_at < stream_length;
	int			found = 0;

	for (nfds_t i = 0; i < count; i++)
		pollfds[i].revents = 0;
	/* it must come to an end */
	EXPECT(++polls < POLLS_MAX);
	if ((pollfds[0].events & POLLIN) && ready)
	{
		pollfds[0].revents = POLLIN;
		idle = 0;
		clock_us += 10;
		return 1;
	}
	if (count > 1 && pollfds[1].fd >= 0 && events_wait())
	{
		if (eventfd_write(pollfds[1].fd, 1) != 0)
			abort();
		pollfds[1].revents = POLLIN;
		timeout = 0;
		found = 1;
	}
	clock_us += timeout < 0 ? 60000000 : timeout == 0 ? 100 : timeout;
	if (++idle > 3 * IDLE_MAX)
	{
		/* it reads no more: the worker closes its end */
		pollfds[0].revents = POLLHUP;
		return 1;
	}
	if (idle > IDLE_MAX && (pollfds[0].events & POLLRDHUP))
	{
		pollfds[0].revents = POLLRDHUP;
		return 1;
	}
	return found;
}

int
world_poll(struct pollfd *pollfds, nfds_t count, int timeout)
{
	return wait_for(pollfds, count, (int64_t) timeout * 1000);
}

int
world_ppoll(struct pollfd *pollfds, nfds_t count, const struct timespec *timeout,
			const sigset_t *mask)
{
	EXPECT(mask == NULL);
	return wait_for(pollfds, count, timeout == NULL ? -1 :
					timeout->tv_sec * INT64_C(1000000) + timeout->tv_nsec / 1000);
}

/* ---- the cluster: its topics ---- */

typedef struct WorldTopic
{
	char	   *name;
	void	   *opaque;
} WorldTopic;

static void *topic_opaque;		/* of the configuration that was set last */
static Lookup *question;

void
world_topic_conf_set_opaque(rd_kafka_topic_conf_t *conf, void *opaque)
{
	(void) conf;
	topic_opaque = opaque;
}

rd_kafka_topic_t *
world_topic_new(rd_kafka_t *client, const char *name, rd_kafka_topic_conf_t *conf)
{
	WorldTopic *topic = world_realloc(NULL, sizeof(*topic));

	(void) client;
	if (conf != NULL)
		rd_kafka_topic_conf_destroy(conf);
	topic->name = world_strdup(name);
	topic->opaque = topic_opaque;
	return (rd_kafka_topic_t *) topic;
}

void *
world_topic_opaque(const rd_kafka_topic_t *topic)
{
	return ((const WorldTopic *) topic)->opaque;
}

const char *
world_topic_name(const rd_kafka_topic_t *topic)
{
	return ((const WorldTopic *) topic)->name;
}

/* One block for the whole answer. */
static const struct rd_kafka_metadata *
metadata_of(const Lookup *lookup)
{
	static struct rd_kafka_metadata_broker brokers[] = {{.id = 1,.host = "broker",.port = 9092}};
	static int32_t replicas[] = {1, 2, 3};
	int			count = lookup->count;
	struct rd_kafka_metadata *metadata;
	struct rd_kafka_metadata_topic *topics;
	struct rd_kafka_metadata_partition *partitions;

	metadata = world_realloc(NULL, sizeof(*metadata) +
							 (size_t) count * (sizeof(*topics) + 8 * sizeof(*partitions)));
	memset(metadata, 0, sizeof(*metadata));
	topics = (struct rd_kafka_metadata_topic *) (metadata + 1);
	partitions = (struct rd_kafka_metadata_partition *) (topics + count);
	metadata->brokers = brokers;
	metadata->broker_cnt = below(20) > 0;
	metadata->topics = topics;
	metadata->topic_cnt = count;
	for (int i = 0; i < count; i++)
	{
		struct rd_kafka_metadata_topic *topic = &topics[i];

		memset(topic, 0, sizeof(*topic));
		topic->topic = ((WorldTopic *) lookup->topics[i])->name;
		if (below(10) == 0)
		{
			static const rd_kafka_resp_err_t errors[] = {
				RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
				RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
				RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
			};

			topic->err = errors[below(3)];
			continue;
		}
		topic->partitions = &partitions[i * 8];
		topic->partition_cnt = below(10) ? 4 : 1 + (int) below(8);
		for (int p = 0; p < topic->partition_cnt; p++)
		{
			struct rd_kafka_metadata_partition *partition = &topic->partitions[p];

			memset(partition, 0, sizeof(*partition));
			partition->id = p;
			partition->leader = below(20) ? 1 : -1;
			partition->replicas = partition->isrs = replicas;
			partition->replica_cnt = 3;
			partition->isr_cnt = 3 - (int) below(2);
		}
	}
	return metadata;
}

void
world_metadata_destroy(const struct rd_kafka_metadata *metadata)
{
	world_free((void *) metadata);
}

/* ---- instead of lookup.c, whose thread waits for brokers ---- */

void
lookup_start(rd_kafka_t *client, rd_kafka_conf_t *conf)
{
	(void) client;
	(void) conf;
}

int
lookup_fd(void)
{
	return -1;
}

bool
lookup_idle(void)
{
	return question == NULL;
}

void
lookup_ask(Lookup *lookup)
{
	EXPECT(question == NULL && lookup->count <= LOOKUP_TOPICS);
	lookup->error = RD_KAFKA_RESP_ERR_NO_ERROR;
	lookup->text[0] = '\0';
	lookup->metadata = NULL;
	question = lookup;
}

bool
lookup_answered(void)
{
	if (question == NULL || below(3) == 0)
		return false;
	if (below(20) == 0)
	{
		question->error = RD_KAFKA_RESP_ERR__TRANSPORT;
		snprintf(question->text, sizeof(question->text), "nobody is there");
	}
	else if (question->kind != LOOKUP_CREATE)
		question->metadata = metadata_of(question);
	else
	{
		for (int i = 0; i < question->count; i++)
		{
			LookupResult *result = &question->results[i];

			memset(result, 0, sizeof(*result));
			if (below(5) == 0)
			{
				result->error = below(2) ? RD_KAFKA_RESP_ERR_POLICY_VIOLATION :
					RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS;
				snprintf(result->text, sizeof(result->text), "refused");
			}
		}
	}
	question = NULL;
	return true;
}

/* ---- the cluster: a client, whose queue and records are made up ---- */

static rd_kafka_conf_t *confs[16];

static void
remember_conf(rd_kafka_conf_t *conf)
{
	int			at = 0;

	while (confs[at] != NULL)
		EXPECT(++at < 16);
	confs[at] = conf;
}

rd_kafka_conf_t *
world_conf_new(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	remember_conf(conf);
	return conf;
}

rd_kafka_conf_t *
world_conf_dup(const rd_kafka_conf_t *old)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_dup(old);

	remember_conf(conf);
	return conf;
}

void
world_conf_destroy(rd_kafka_conf_t *conf)
{
	for (int at = 0; at < 16; at++)
	{
		if (confs[at] == conf)
			confs[at] = NULL;
	}
	rd_kafka_conf_destroy(conf);
}

/* A client for all inputs, which has no brokers: for whatever asks it something. */
rd_kafka_t *
world_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why, size_t size)
{
	static rd_kafka_t *clients[2];

	world_conf_destroy(conf);
	if (clients[type] == NULL)
	{
		conf = rd_kafka_conf_new();
		rd_kafka_conf_set(conf, "log_level", "0", NULL, 0);
		clients[type] = rd_kafka_new(type, conf, why, size);
	}
	return clients[type];
}

rd_kafka_queue_t *
world_queue(rd_kafka_t *client)
{
	static rd_kafka_queue_t *queue;

	if (queue == NULL)
		queue = rd_kafka_queue_get_main(client);
	return queue;
}

typedef struct WorldEvent
{
	rd_kafka_event_type_t type;
	rd_kafka_message_t *messages;
	size_t		count;
	size_t		next;
	rd_kafka_resp_err_t error;
	const char *text;
} WorldEvent;

static rd_kafka_message_t pending[RECORDS_MAX];	/* in flight, in sequence */
static rd_kafka_headers_t *headers_of[RECORDS_MAX];	/* by sequence number */
static rd_kafka_headers_t *headers_new; /* not handed over yet */
static size_t pending_count;
static int64_t next_offset;
static bool fatal;				/* after a failure, nothing is taken any more */

rd_kafka_headers_t *
world_headers_new(size_t count)
{
	EXPECT(headers_new == NULL);
	headers_new = rd_kafka_headers_new(count);
	return headers_new;
}

void
world_headers_destroy(rd_kafka_headers_t *headers)
{
	EXPECT(headers == headers_new);
	headers_new = NULL;
	rd_kafka_headers_destroy(headers);
}

static void
touch(const void *data, size_t size)
{
	const volatile unsigned char *bytes = data;

	for (size_t i = 0; bytes != NULL && i < size; i++)
		(void) bytes[i];
}

/* What is in a partition already does not go there once more. */
static void
check_tail(const rd_kafka_message_t *message, rd_kafka_headers_t *headers)
{
	const Topic *topic = world_topic_opaque(message->rkt);
	const void *value;
	const char *id;
	size_t		length;

	EXPECT(rd_kafka_header_get(headers, 0, "evpub-id", &value, &length) ==
		   RD_KAFKA_RESP_ERR_NO_ERROR && length == EVPUB_FRAME_ID_LENGTH);
	id = value;
	for (int i = 0; i < tails_count; i++)
	{
		if (tails[i].of.topic == topic->number && tails[i].of.partition == message->partition)
			EXPECT(id[EVPUB_FRAME_ID_NUMBER_AT] == 'F' ||
				   memcmp(id + EVPUB_FRAME_ID_ORDER_AT, tails[i].id + EVPUB_FRAME_ID_ORDER_AT,
						  EVPUB_FRAME_ID_LENGTH - EVPUB_FRAME_ID_ORDER_AT) > 0);
	}
}

rd_kafka_resp_err_t
world_producev(rd_kafka_t *client,...)
{
	static const rd_kafka_resp_err_t refusals[] = {
		RD_KAFKA_RESP_ERR__QUEUE_FULL, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
		RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
	};
	rd_kafka_message_t message = {0};
	rd_kafka_headers_t *headers = NULL;
	uint64_t	sequence;
	va_list		args;
	int			type;

	va_start(args, client);
	while ((type = va_arg(args, int)) != RD_KAFKA_VTYPE_END)
	{
		switch (type)
		{
			case RD_KAFKA_VTYPE_RKT:
				message.rkt = va_arg(args, rd_kafka_topic_t *);
				break;
			case RD_KAFKA_VTYPE_PARTITION:
				message.partition = va_arg(args, int32_t);
				break;
			case RD_KAFKA_VTYPE_MSGFLAGS:
				(void) va_arg(args, int);
				break;
			case RD_KAFKA_VTYPE_KEY:
			case RD_KAFKA_VTYPE_VALUE:
				message.payload = va_arg(args, void *);
				message.len = va_arg(args, size_t);
				touch(message.payload, message.len);
				break;
			case RD_KAFKA_VTYPE_HEADERS:
				headers = va_arg(args, rd_kafka_headers_t *);
				break;
			case RD_KAFKA_VTYPE_OPAQUE:
				message._private = va_arg(args, void *);
				break;
			default:
				EXPECT(!"an argument that the world does not know");
		}
	}
	va_end(args);
	EXPECT(headers == headers_new && headers != NULL && message.rkt != NULL);
	EXPECT(message.partition >= 0);
	if (below(100) == 0 || pending_count == RECORDS_MAX)
		return refusals[below(3)];
	sequence = (uint64_t) (uintptr_t) message._private;
	EXPECT(sequence > produced && sequence < RECORDS_MAX);
	check_tail(&message, headers);
	produced = sequence;
	handed_over[sequence] = true;
	headers_of[sequence % RECORDS_MAX] = headers;
	headers_new = NULL;
	message.payload = NULL;
	message.len = 0;
	pending[pending_count++] = message;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void
forget_headers(uint64_t sequence)
{
	if (headers_of[sequence % RECORDS_MAX] != NULL)
		rd_kafka_headers_destroy(headers_of[sequence % RECORDS_MAX]);
	headers_of[sequence % RECORDS_MAX] = NULL;
}

/* Reports of the oldest records of one partition, in their order. */
static WorldEvent *
report(void)
{
	static const rd_kafka_resp_err_t errors[] = {
		RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_INVALID_RECORD,
		RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR__PURGE_QUEUE
	};
	const rd_kafka_message_t of = pending[below((uint32_t) pending_count)];
	bool		fails = fatal || below(200) == 0;
	rd_kafka_resp_err_t error = errors[below(4)];
	size_t		most = 1 + below(20);
	size_t		left = 0;
	WorldEvent *event = world_realloc(NULL, sizeof(*event));

	memset(event, 0, sizeof(*event));
	event->type = RD_KAFKA_EVENT_DR;
	event->messages = world_realloc(NULL, most * sizeof(*event->messages));
	for (size_t i = 0; i < pending_count; i++)
	{
		rd_kafka_message_t message = pending[i];

		if (event->count == most || message.rkt != of.rkt || message.partition != of.partition)
		{
			pending[left++] = message;
			continue;
		}
		message.err = fails ? error : RD_KAFKA_RESP_ERR_NO_ERROR;
		message.offset = below(500) ? next_offset++ : -1;
		taken[(uint64_t) (uintptr_t) message._private] = !fails;
		event->messages[event->count++] = message;
	}
	pending_count = left;
	fatal = fails;
	return event;
}

/* Would world_queue_poll() find one, perhaps? */
static bool
events_wait(void)
{
	return pending_count > 0 || (error_text != NULL && stream_at >= error_at);
}

rd_kafka_event_t *
world_queue_poll(rd_kafka_queue_t *queue, int timeout)
{
	WorldEvent *event;

	(void) queue;
	(void) timeout;
	if (error_text != NULL && stream_at >= error_at)
	{
		event = world_realloc(NULL, sizeof(*event));
		memset(event, 0, sizeof(*event));
		event->type = below(3) ? RD_KAFKA_EVENT_ERROR : RD_KAFKA_EVENT_LOG;
		event->error = below(2) ? RD_KAFKA_RESP_ERR__TRANSPORT :
			below(2) ? RD_KAFKA_RESP_ERR__SSL : RD_KAFKA_RESP_ERR__AUTHENTICATION;
		event->text = error_text;
		error_at = stream_length + 1;
		return (rd_kafka_event_t *) event;
	}
	if (pending_count == 0 || below(4) == 0)
		return NULL;
	return (rd_kafka_event_t *) report();
}

rd_kafka_event_type_t
world_event_type(const rd_kafka_event_t *event)
{
	return ((const WorldEvent *) event)->type;
}

const rd_kafka_message_t *
world_event_message_next(rd_kafka_event_t *event)
{
	WorldEvent *reports = (WorldEvent *) event;

	return reports->next < reports->count ? &reports->messages[reports->next++] : NULL;
}

rd_kafka_resp_err_t
world_event_error(rd_kafka_event_t *event)
{
	return ((WorldEvent *) event)->error;
}

const char *
world_event_error_string(rd_kafka_event_t *event)
{
	return ((WorldEvent *) event)->text;
}

int
world_event_log(rd_kafka_event_t *event, const char **facility, const char **text, int *level)
{
	*facility = "FAIL";
	*text = ((WorldEvent *) event)->text;
	*level = 4;
	return 0;
}

void
world_event_destroy(rd_kafka_event_t *event)
{
	WorldEvent *reports = (WorldEvent *) event;

	for (size_t i = 0; i < reports->count; i++)
		forget_headers((uint64_t) (uintptr_t) reports->messages[i]._private);
	world_free(reports->messages);
	world_free(reports);
}

static rd_kafka_headers_t *found_headers;	/* of the record that is read back */
static rd_kafka_message_t found_message;

rd_kafka_resp_err_t
world_message_headers(const rd_kafka_message_t *message, rd_kafka_headers_t **headers)
{
	*headers = message == &found_message ? found_headers :
		headers_of[(uint64_t) (uintptr_t) message->_private % RECORDS_MAX];
	return *headers != NULL ? RD_KAFKA_RESP_ERR_NO_ERROR : RD_KAFKA_RESP_ERR__NOENT;
}

void
world_describe(rd_kafka_t *client, rd_kafka_ConfigResource_t **resources, size_t count,
			   const rd_kafka_AdminOptions_t *options, rd_kafka_queue_t *queue)
{
	(void) client;
	(void) resources;
	(void) count;
	(void) options;
	(void) queue;
}

/* ---- instead of reader.c and readtask.c, whose thread reads from brokers ---- */

static ReaderTask *reading;

void
reader_start(rd_kafka_conf_t *conf)
{
	(void) conf;
}

int
readtask_fd(void)
{
	return -1;
}

bool
reader_lacks_rights(rd_kafka_resp_err_t error)
{
	return error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
}

void
readtask_ask(ReaderTask *tasks)
{
	while (tasks != NULL)
	{
		ReaderTask *next = tasks->next;

		tasks->next = reading;
		reading = tasks;
		tasks = next;
	}
}

/* A record of ours, or nearly so, as the samples have them. */
static void
find(Found *found)
{
	char		id[EVPUB_FRAME_ID_LENGTH + 1];

	snprintf(id, sizeof(id), "%s-%08X-%016X-%08X",
			 below(8) ? "0123456789abcdef" : below(2) ? "0123456700000001" : "an id of another",
			 1, 0x1234560 + below(20), below(8) ? below(4) : 0xF0000000 + below(3));
	found_headers = rd_kafka_headers_new(2);
	if (below(10))
		rd_kafka_header_add(found_headers, "evpub-id", -1, id,
							below(10) ? EVPUB_FRAME_ID_LENGTH : (ssize_t) below(EVPUB_FRAME_ID_LENGTH));
	if (below(6) == 0)
		rd_kafka_header_add(found_headers, "evpub-error-code", -1, "1", 1);
	found_take(found, &found_message);
	rd_kafka_headers_destroy(found_headers);
}

ReaderTask *
readtask_take(void)
{
	static const rd_kafka_resp_err_t errors[] = {
		RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
		RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
	};
	ReaderTask *done = NULL;
	ReaderTask *left = NULL;

	while (reading != NULL)
	{
		ReaderTask *task = reading;
		int64_t		end = task->from + below(100);

		reading = task->next;
		atomic_store(&task->end, end);
		atomic_store(&task->at, end);
		if (below(3) == 0)
		{
			atomic_store(&task->error, below(3) ? RD_KAFKA_RESP_ERR_NO_ERROR : errors[below(3)]);
			task->next = left;
			left = task;
			continue;
		}
		task->outcome = below(200) ? READER_DONE : READER_BELOW;
		for (uint32_t n = task->end_only ? 0 : below(below(10) ? 4 : 300); n > 0; n--)
			find(&task->found);
		task->next = done;
		done = task;
	}
	reading = left;
	return done;
}

/* ---- one life ---- */

static void
begin(const uint8_t *input, size_t size)
{
	uint8_t		knobs[WORLD_KNOBS] = {0};
	size_t		known = size < sizeof(knobs) ? size : sizeof(knobs);

	memcpy(knobs, input, known);
	random_state = 0;
	for (size_t i = 1; i < sizeof(knobs); i++)
		random_state = random_state * 256 + knobs[i];
	piece = knobs[0] == 0 ? 1 << 20 : (size_t) knobs[0] * knobs[0];
	clock_us = INT64_C(1000000000);
	polls = 0;
	idle = 0;
	produced = 0;
	next_offset = 0;
	fatal = false;
	question = NULL;
	reading = NULL;
	tails_count = 0;
	memset(taken, 0, sizeof(taken));
	memset(handed_over, 0, sizeof(handed_over));
	topic_opaque = NULL;
	stream_length = stream_at = 0;
	heard_length = 0;
	say_input(input + known, size - known);
}

static void
forget(void)
{
	for (uint64_t i = 1; i <= produced && i < RECORDS_MAX; i++)
		forget_headers(i);
	if (headers_new != NULL)
		rd_kafka_headers_destroy(headers_new);
	headers_new = NULL;
	pending_count = 0;
	for (int at = 0; at < 16; at++)
	{
		if (confs[at] != NULL)
			rd_kafka_conf_destroy(confs[at]);
		confs[at] = NULL;
	}
	if (file != NULL)
		fclose(file);
	file = NULL;
	while (fd_count > 0)
		close(fds[--fd_count]);
	while (block_count > 0)
		free(blocks[--block_count]);
	free(stream);
	stream = NULL;
	free(heard);
	heard = NULL;
	free(error_text);
	error_text = NULL;
}

bool
world_run(void (*what) (void), const uint8_t *input, size_t size)
{
	bool		ended = false;

	fuzz_restore();
	begin(input, size);
	if (setjmp(end) == 0)
		what();
	else
		ended = true;
	forget();
	return ended;
}
