/*
 * relay.c
 *		Fuzzes what the relay makes of its worker's frames: the whole program.
 *
 * The input is what comes over the socket (relayworld.h).  All files of the relay
 * run as they are, main.c with them, but for lookup.c and reader.c, which have threads;
 * what they call of the system and of librdkafka is made up.  Whatever the worker
 * sends, the relay takes it or says why it ends.
 */
#define main relay_main
#include "lib/relay.h"
#include "lib/tested.h"
#include "../../src/relay/main.c"
#include "lib/not_tested.h"
#undef main
#undef _exit
#undef free
#undef realloc
#undef fopen
#undef fclose

#include "lib/fuzz.h"
#include "lib/relayworld.h"

static void
life(void)
{
	char	   *arguments[] = {"evpub-relay", NULL};

	(void) relay_main(1, arguments);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int	pair[2] = {-1, -1};

	/* the relay looks whether its descriptor is a socket */
	if (pair[0] < 0 && (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 ||
						dup2(pair[0], EVPUB_RELAY_FD) < 0))
		abort();
	FUZZ_EXPECT(world_run(life, data, size));
	return 0;
}

/* ---- samples: what a worker sends ---- */

static char sample[65536];
static size_t sample_length;

static void
put(const void *data, size_t size)
{
	memcpy(sample + sample_length, data, size);
	sample_length += size;
}

static void
put_frame(char type, const void *data, size_t size, const void *more, size_t more_size)
{
	EvpubFrameHeader header = {
		.length = (uint32_t) (size + more_size),.type = (uint8_t) type,
		.version = EVPUB_PROTOCOL_VERSION
	};

	put(&header, sizeof(header));
	put(data, size);
	put(more, more_size);
}

static void
put_config(void)
{
	char		text[1000];
	size_t		length = 0;

	/* each setting by its name; numbers and words where they are wanted */
#define VALUE_text ""
#define VALUE_on_off "on"
#define VALUE_number "-1"
#define PUT(kind, name) \
	length += (size_t) snprintf(text + length, sizeof(text) - length, "%s%c%s%c", \
								#name, 0, VALUE_##kind, 0);
	EVPUB_RELAY_SETTINGS(PUT)
#undef PUT
	put_frame(EVPUB_FRAME_CONFIG, text, length, "", 0);
}

static void
put_topic_named(uint32_t number, int32_t partitions, const char *name, size_t length)
{
	EvpubFrameTopic topic = {.number = number,.partitions = partitions};

	put_frame(EVPUB_FRAME_TOPIC, &topic, sizeof(topic), name, length);
}

static void
put_topic(uint32_t number, int32_t partitions)
{
	char		name[20];

	put_topic_named(number, partitions, name,
					(size_t) snprintf(name, sizeof(name), "topic-%u", number));
}

static void
put_partition(char type, uint32_t topic, int32_t partition, int64_t number)
{
	EvpubFrameOffset offset = {.topic = topic,.partition = partition,.offset = number};

	put_frame(type, &offset, sizeof(offset), "", 0);
}

static void
put_origin(void)
{
	EvpubFrameOrigin origin = {.count = 1};
	EvpubFrameEntry entry = {.publisher_id = 0x0123456700000001,.left_lsn = 0x1234565};

	memcpy(origin.root, "01234567", sizeof(origin.root));
	put_frame(EVPUB_FRAME_ORIGIN, &origin, sizeof(origin), &entry, sizeof(entry));
}

static void
put_read_back(uint32_t topic)
{
	EvpubFramePartition all = {.topic = topic,.partition = -1};

	put_frame(EVPUB_FRAME_READ_BACK, &all, sizeof(all), "", 0);
}

static size_t
add(char *to, const void *data, size_t size)
{
	memcpy(to, data, size);
	return size;
}

static void
put_batch(uint64_t first, uint32_t count, int variant)
{
	EvpubFrameBatch batch = {.first = first,.count = count};
	char		records[8192];
	size_t		length = 0;

	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t	four = 4;
		char		id[EVPUB_FRAME_ID_LENGTH + 1];
		EvpubFrameRecord record = {
			.topic = i % 2,.partition = variant % 3 - 1,
			.key_len = i % 4 == 3 ? -1 : 4,.value_len = i % 5 == 4 ? -1 : 8,
			.headers_len = variant % 2 ? 16 : 0
		};

		length += add(records + length, &record, sizeof(record));
		snprintf(id, sizeof(id), "0123456789abcdef-00000001-%016X-%08X",
				 (unsigned int) (0x1234560 + first + i / 2), i % 2);
		length += add(records + length, id, EVPUB_FRAME_ID_LENGTH);
		if (record.key_len > 0)
			length += add(records + length, "acme", 4);
		if (record.value_len > 0)
			length += add(records + length, "{\"id\":1}", 8);
		for (uint32_t h = 0; h < record.headers_len; h += 8)
		{
			length += add(records + length, &four, sizeof(four));
			length += add(records + length, "name", 4);
		}
	}
	put_frame(EVPUB_FRAME_BATCH, &batch, sizeof(batch), records, length);
}

static void
fuzz_samples(void)
{
	static const char *const errors[] = {
		"ssl://broker:9093/1: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed (after 3ms in state SSL_HANDSHAKE)",
		"sasl_plaintext://broker:9092/bootstrap: SASL authentication error: Authentication failed: Invalid username or password",
		"[thrd:broker:9092/bootstrap]: broker:9092/bootstrap: Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration",
		"broker:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)",
		"nobody:9092/bootstrap: Failed to resolve 'nobody:9092': Name or service not known"
	};

	for (int variant = 0; variant < 12; variant++)
	{
		const char	knobs[WORLD_KNOBS] = {(char) (variant * 3), 0, 1, (char) variant};

		sample_length = 0;
		put(knobs, sizeof(knobs));
		put_config();
		if (variant % 2)
			put_origin();
		put_topic(0, variant % 4 == 3 ? EVPUB_FRAME_TOPIC_NEW : 4);
		put_topic(1, variant % 3 == 2 ? EVPUB_FRAME_TOPIC_UNPINNED : 4);
		put_partition(EVPUB_FRAME_OFFSET, 0, 1, -1);
		put_partition(EVPUB_FRAME_LIMIT, 0, 1, 300);
		if (variant % 2)
		{
			put_read_back(0);
			put_read_back(1);
		}
		put_batch(1, 5, variant);
		if (variant % 2)
			put_frame(WORLD_ERROR, errors[variant % 5], strlen(errors[variant % 5]), "", 0);
		put_batch(6, 20, variant + 1);
		put_topic(1, 8);
		put_batch(26, 3, variant + 2);
		fuzz_sample(sample, sample_length);
	}

	/* once broke it: librdkafka makes nothing of an empty name, and NULL was used */
	sample_length = 0;
	put("\0\0\0\1", WORLD_KNOBS);
	put_config();
	put_topic_named(0, 4, "\0", 1);
	put_batch(1, 1, 0);
	fuzz_sample(sample, sample_length);

	/* once broke it: what is read back begins behind the last offset that there can be */
	sample_length = 0;
	put("\0\0\1\1", WORLD_KNOBS);
	put_config();
	put_origin();
	put_topic(0, 4);
	put_partition(EVPUB_FRAME_OFFSET, 0, 1, INT64_MAX);
	put_read_back(0);
	put_batch(1, 1, 0);
	fuzz_sample(sample, sample_length);
}
