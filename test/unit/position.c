/*
 * position.c
 *		Reading a position from bytes that are damaged or nonsense.
 *
 * The state file is read at the start of a worker, and a position message for
 * each that is met in WAL.  Whatever the bytes are, the answer is a position or
 * "no": never an error, a crash, or memory without bounds.  What was read can be
 * merged and written again, and is read as the same.
 */
#include "lib/backend.h"

#include "lib/messages.h"
#include "lib/files.h"

#include "../../src/position/position.c"
#include "../../src/position/position_format.c"
#include "../../src/position/checkedfile.c"
#include "../../src/position/halves.c"
#include "../../src/position/statefile.c"

/* All memory, with what the state file's writer has in it. */
static void
forget_all(void)
{
	forget_memory();
	memset(&decided, 0, sizeof(decided));
	memset(&halves, 0, sizeof(halves));
}

/* ---- positions ---- */

static char *
random_text(int longest)
{
	int			length = below(longest + 1);
	char	   *text = palloc(length + 1);

	for (int i = 0; i < length; i++)
		text[i] = (char) (1 + below(255));
	text[length] = '\0';
	return text;
}

static TransactionId *
random_xids(int n)
{
	TransactionId *xids = palloc(sizeof(TransactionId) * Max(n, 1));

	for (int i = 0; i < n; i++)
		xids[i] = (TransactionId) next_random();
	return xids;
}

static EvpubTopic
random_topic(EvpubPosition *position)
{
	EvpubTopic	topic = {0};

	topic.number = position->next_topic;
	position->next_topic += 1 + below(3);
	topic.name = random_text(249);
	topic.partitions = (int32) below(6) - 1;
	topic.nnumbers = Max(topic.partitions, 0) + (int) below(3);
	topic.last = palloc0(sizeof(EvpubLast) * Max(topic.partitions, 1));
	for (int p = 0; p < topic.partitions; p++)
	{
		EvpubLast  *last = &topic.last[p];

		last->offset = (int64) below(1000) - 1;
		last->replaces = below(2) == 0;
		if (below(2) == 0)
			last->id = (EvpubId) {below(1000) + 1, below(1000), below(10), below(10)};
	}
	topic.numbers = palloc(sizeof(uint32) * Max(topic.nnumbers, 1));
	for (int p = 0; p < topic.nnumbers; p++)
		topic.numbers[p] = position->next_number++;
	if (topic.partitions > 0 && below(2))
	{
		topic.grown = topic.partitions + 1 + (int32) below(5);
		topic.grown_from = below(2) ? next_random() >> 1 : InvalidXLogRecPtr;
	}
	topic.letters = below(101);
	topic.changed = below(2);
	return topic;
}

static EvpubLost
random_lost(void)
{
	EvpubLost	lost = {(EvpubLostKnown) below(EVPUB_LOST_ALL + 1), below(1000), below(100000)};

	return lost;
}

static EvpubGap
random_gap(int i)
{
	EvpubGap	gap = {0};

	gap.from_lsn = i * 100;
	gap.to_lsn = i * 100 + 50;
	gap.horizon = next_random();
	gap.accepted_at = (TimestampTz) (next_random() >> 1);
	gap.announced = below(2);
	gap.next_number = below(3);
	gap.reason = random_text(300);
	gap.lost = random_lost();
	gap.ncut = (int) below(5);
	gap.cut = random_xids(gap.ncut);
	return gap;
}

static EvpubSkip
random_skip(void)
{
	EvpubSkip	skip = {0};

	snprintf(skip.id, sizeof(skip.id), "%016llx-%08X-%016llX-%08X",
			 (unsigned long long) next_random(), 1 + below(9),
			 (unsigned long long) next_random(), below(100));
	skip.reason = random_text(100);
	skip.silent = below(2);
	skip.letter = below(2);
	if (skip.letter)
	{
		skip.topic = random_text(249);
		skip.partition = (int32) below(100) - 1;
		skip.code = (int32) next_random();
	}
	return skip;
}

static EvpubPosition
random_position(void)
{
	EvpubPosition position = {0};

	position.system_identifier = next_random();
	position.timeline = 1 + below(5);
	position.role = EVPUB_ROLE_FENCED;
	position.paused = below(2);
	if (position.paused)
	{
		strcpy(position.paused_by, "anna");
		position.paused_at = (TimestampTz) next_random();
	}
	position.directory_inode = next_random();
	position.restart_lsn = next_random() >> 8;
	position.confirmed_lsn = position.restart_lsn + below(1000);
	position.next_event = below(10);
	position.sequence = next_random() >> 8;
	position.delivery = EVPUB_DELIVERY_AT_LEAST_ONCE;
	for (int n = (int) below(4); n > 0; n--)
		evpub_position_add_lineage(&position, next_random(), 1 + below(3),
								   next_random() >> 8);
	if (below(2))
	{
		position.gap.from_lsn = next_random() >> 8;
		position.gap.to_lsn = next_random() >> 8;
		position.gap.restart_lsn = next_random() >> 8;
		position.gap.given_up = below(2);
		position.gap.reason = random_text(300);
		position.gap.lost = random_lost();
		position.gap.ncut = (int) below(4);
		position.gap.cut = random_xids(position.gap.ncut);
		position.role = EVPUB_ROLE_GAP;
	}
	position.ngaps = (int) below(4);
	position.gaps = palloc(sizeof(EvpubGap) * Max(position.ngaps, 1));
	for (int i = 0; i < position.ngaps; i++)
		position.gaps[i] = random_gap(i);
	position.nskips = (int) below(3);
	position.skips = palloc(sizeof(EvpubSkip) * Max(position.nskips, 1));
	for (int i = 0; i < position.nskips; i++)
		position.skips[i] = random_skip();
	position.ntopics = (int) below(5);
	position.topics = palloc(sizeof(EvpubTopic) * Max(position.ntopics, 1));
	for (int i = 0; i < position.ntopics; i++)
		position.topics[i] = random_topic(&position);
	return position;
}

/* Bytes with nothing allocated behind them. */
static StringInfoData
bytes_of(const void *data, int length)
{
	StringInfoData bytes = {0};

	bytes.data = palloc(length);
	bytes.len = length;
	bytes.maxlen = length;
	if (length > 0)
		memcpy(bytes.data, data, length);
	return bytes;
}

static StringInfoData
serialized(const EvpubPosition *position, EvpubPositionForm form)
{
	StringInfoData out;

	initStringInfo(&out);
	evpub_position_serialize(&out, position, form);
	return bytes_of(out.data, out.len);
}

static EvpubPositionForm
random_form(void)
{
	static const EvpubPositionForm forms[] = {
		EVPUB_POSITION_FILE, EVPUB_POSITION_FULL, EVPUB_POSITION_CHANGES
	};

	return forms[below(lengthof(forms))];
}

static bool
same_bytes(const StringInfoData *a, const StringInfoData *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* ---- damage ---- */

/* Numbers at which counts and lengths go wrong. */
static uint32
edge(uint32 length)
{
	const uint32 edges[] = {
		0, 1, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff, 0xfffffffe,
		length, length + 1, length - 1, length / 4, length / 9, 0x40000000,
		0x20000000, 0x38e38e3a, 0x1c71c71d
	};

	return edges[below(lengthof(edges))];
}

static void
damage(StringInfo bytes)
{
	for (uint32 n = 1 + below(3); n > 0 && bytes->len > 0; n--)
	{
		uint32		at = below(bytes->len);
		uint32		value = pg_hton32(edge(bytes->len));

		switch (below(5))
		{
			case 0:
				bytes->data[at] ^= (char) (1 << below(8));
				break;
			case 1:
				bytes->data[at] = (char) below(256);
				break;
			case 2:
				if (at + 4 <= (uint32) bytes->len)
					memcpy(bytes->data + at, &value, 4);
				break;
			case 3:
				*bytes = bytes_of(bytes->data, at);
				break;
			case 4:
				{
					StringInfoData longer = bytes_of(bytes->data, bytes->len);

					longer.data = repalloc(longer.data, bytes->len + at + 1);
					memcpy(longer.data + bytes->len, bytes->data, at + 1);
					longer.len += at + 1;
					*bytes = longer;
				}
				break;
		}
	}
}

/* ---- what is tested ---- */

static int	damaged_read;
static int	damaged_refused;
static size_t most_memory;		/* in bytes per byte that was read */

/* A position can be used, whatever bytes it came from. */
static bool
is_usable(EvpubPosition *position)
{
	StringInfoData once = serialized(position, EVPUB_POSITION_FILE);
	StringInfoData twice;
	EvpubPosition again;

	for (int i = 0; i < position->ntopics; i++)
	{
		const EvpubTopic *topic = &position->topics[i];

		if (topic->partitions < -1 || topic->nnumbers < topic->partitions ||
			topic->number >= position->next_topic)
			return false;

		/* what the worker would pin, sooner or later */
		if (topic->grown_from != InvalidXLogRecPtr && topic->grown <= topic->partitions)
			return false;
		if (topic->grown < 0 || topic->grown > 1000000)
			return false;
	}
	if (!evpub_position_parse(&once, &again))
		return false;
	twice = serialized(&again, EVPUB_POSITION_FILE);
	return same_bytes(&once, &twice);
}

static void
test_round_trip(double seconds)
{
	double		end = seconds_now() + seconds;
	bool		same = true;
	bool		merged = true;

	while (same && merged && seconds_now() < end)
	{
		EvpubPosition position = random_position();
		EvpubPosition read;
		EvpubPosition empty = {0};
		StringInfoData file = serialized(&position, EVPUB_POSITION_FILE);
		StringInfoData full = serialized(&position, EVPUB_POSITION_FULL);

		same = evpub_position_parse(&file, &read) && is_usable(&read);
		if (same)
		{
			StringInfoData again = serialized(&read, EVPUB_POSITION_FILE);

			same = same_bytes(&file, &again);
		}
		merged = evpub_position_parse(&full, &read);
		if (merged)
		{
			StringInfoData again;

			evpub_position_merge(&empty, &read, true);
			empty.system_identifier = position.system_identifier;
			empty.role = position.role;
			empty.directory_inode = position.directory_inode;
			again = serialized(&empty, EVPUB_POSITION_FULL);
			merged = same_bytes(&full, &again);
		}
		forget_all();
	}
	ok(same, "what is written is read, and written again as the same");
	ok(merged, "so is a message that is merged into nothing");
}

static void
test_every_cut(void)
{
	EvpubPosition position;
	StringInfoData whole;
	int			accepted = 0;

	do
	{
		forget_all();
		position = random_position();
	} while (position.ntopics == 0 || position.ngaps == 0);
	whole = serialized(&position, EVPUB_POSITION_FILE);
	for (int length = 0; length < whole.len; length++)
	{
		StringInfoData cut = bytes_of(whole.data, length);
		EvpubPosition read;

		if (evpub_position_parse(&cut, &read))
			accepted++;
	}
	forget_all();
	ok(accepted == 0, "cut anywhere, it is refused");
}

static void
test_damage(double seconds)
{
	double		end = seconds_now() + seconds;
	bool		usable = true;

	while (usable && seconds_now() < end)
	{
		EvpubPosition position = random_position();
		EvpubPosition read;
		StringInfoData bytes = serialized(&position, random_form());
		size_t		before;

		damage(&bytes);
		before = allocated;
		if (evpub_position_parse(&bytes, &read))
		{
			damaged_read++;
			if (allocated - before > 8 * (size_t) bytes.len + 4096)
				most_memory = Max(most_memory, (allocated - before) / (bytes.len + 1));
			usable = is_usable(&read);
			evpub_position_merge(&position, &read, below(2));
		}
		else
		{
			damaged_refused++;
			if (allocated - before > 8 * (size_t) bytes.len + 4096)
				most_memory = Max(most_memory, (allocated - before) / (bytes.len + 1));
		}
		forget_all();
	}
	printf("# %d read, %d refused, %zu bytes of memory a byte at most\n",
		   damaged_read, damaged_refused, most_memory);
	ok(usable, "what is read of damaged bytes can be used");
	ok(damaged_refused > 0, "and some is refused");
	ok(most_memory <= 8, "memory is a small multiple of the bytes");
}

/*
 * Write a file with these contents in both halves and, as a program would, the right
 * headers, in which then one bit is wrong; -1: none.
 */
static void
write_state(const char *payload, int length, int wrong)
{
	FILE	   *file = fopen(EVPUB_STATE_FILE, "w");
	StringInfoData data;

	evpub_halves_begin(&data);
	appendBinaryStringInfo(&data, payload, length);
	put_header(&data, STATE_MAGIC, 1, data.len);
	if (wrong >= 0)
		data.data[wrong / 8] ^= (char) (1 << (wrong % 8));
	if (file == NULL)
		abort();
	for (int half = 0; half < 2; half++)
		fwrite(data.data, 1, data.len, file);
	fclose(file);
	pfree(data.data);
}

static void
test_file(double seconds)
{
	double		end = seconds_now() + seconds;
	bool		usable = true;
	bool		refused = true;
	char	   *problem;

	while (usable && refused && seconds_now() < end)
	{
		EvpubPosition position = random_position();
		EvpubPosition read;
		StringInfoData bytes;

		evpub_statefile_write(&position);
		usable = evpub_statefile_read(&read, &problem) == EVPUB_STATEFILE_FOUND;

		/* damaged, under a checksum that fits */
		bytes = serialized(&position, EVPUB_POSITION_FILE);
		damage(&bytes);
		write_state(bytes.data, bytes.len, -1);
		if (evpub_statefile_read(&read, &problem) == EVPUB_STATEFILE_FOUND)
			usable = usable && is_usable(&read);

		/* and under one that does not */
		write_state(bytes.data, bytes.len, (int) below(8 * HALF_HEADER_LENGTH));
		refused = evpub_statefile_read(&read, &problem) == EVPUB_STATEFILE_DAMAGED &&
			problem != NULL;
		if (truncate(EVPUB_STATE_FILE, below(HALF_HEADER_LENGTH)) != 0)
			abort();
		refused = refused &&
			evpub_statefile_read(&read, &problem) == EVPUB_STATEFILE_DAMAGED;
		forget_all();
	}
	ok(usable, "a state file is read, or what is read of it can be used");
	ok(refused, "a state file with a wrong checksum or length is damaged");
}

/* A worker must not act on a role that it does not know. */
static void
test_roles(void)
{
	EvpubPosition position = random_position();
	EvpubPosition none;
	bool		right = true;
	bool		nothing_left = true;
	char	   *problem;

	memset(&none, 0, sizeof(none));
	position.gap.reason = NULL;
	for (int role = 0; role < 256; role++)
	{
		bool		known = role != 0 && strchr("cafxr", role) != NULL;
		EvpubPosition read;

		position.role = role;
		evpub_statefile_write(&position);
		if ((evpub_statefile_read(&read, &problem) == EVPUB_STATEFILE_FOUND) != known)
			right = false;
		if (!known && memcmp(&read, &none, sizeof(none)) != 0)
			nothing_left = false;
	}
	position.role = EVPUB_ROLE_GAP;
	position.gap.reason = pstrdup("why");
	evpub_statefile_write(&position);
	right = right && evpub_statefile_read(&position, &problem) == EVPUB_STATEFILE_FOUND;
	forget_all();
	ok(right, "a role that does not exist, or a gap without a reason, is damage");
	ok(nothing_left, "of a damaged state file nothing is left in memory");
}

/* A gap is found by its end and its number, in whatever order gaps end. */
static void
test_gap_numbers(void)
{
	static const XLogRecPtr ends[] = {500, 900, 500, 700, 900, 500};
	static const uint32 numbers[] = {0, 0, 1, 0, 1, 2};
	EvpubPosition position = {0};
	bool		right = true;

	for (size_t i = 0; i < lengthof(ends); i++)
	{
		EvpubGap	gap = random_gap(0);

		gap.to_lsn = ends[i];
		gap.announced = false;
		evpub_position_add_gap(&position, &gap);
	}
	for (size_t i = 0; i < lengthof(ends); i++)
		right = right && position.gaps[i].repeat == numbers[i] &&
			evpub_position_find_gap(&position, ends[i], numbers[i]) == &position.gaps[i];
	ok(right, "each of the gaps that end at the same place has a number of its own");
	ok(evpub_position_find_gap(&position, 700, 1) == NULL &&
	   evpub_position_find_gap(&position, 600, 0) == NULL, "and no other is found");

	/* the oldest ones, which are announced, are forgotten; their numbers are not used again */
	for (int i = 0; i < 3 * EVPUB_GAPS_KEPT; i++)
	{
		EvpubGap	gap = random_gap(0);

		for (int j = 0; j < position.ngaps; j++)
			position.gaps[j].announced = true;
		gap.to_lsn = 500;
		evpub_position_add_gap(&position, &gap);
		right = right && position.gaps[position.ngaps - 1].repeat == 3 + (uint32) i;
	}
	ok(right && position.ngaps == EVPUB_GAPS_KEPT, "nor is a number used again");
	forget_all();
}

int
main(void)
{
	double		seconds = fuzz_seconds();
	char		directory[] = "/tmp/evpub-position.XXXXXX";

	if (mkdtemp(directory) == NULL || chdir(directory) != 0 ||
		mkdir(EVPUB_STATE_DIRECTORY, 0700) != 0)
		abort();
	test_round_trip(seconds / 4);
	test_every_cut();
	test_damage(seconds / 2);
	test_file(seconds / 4);
	test_roles();
	test_gap_numbers();
	(void) unlink(EVPUB_STATE_FILE);
	(void) rmdir(EVPUB_STATE_DIRECTORY);
	(void) rmdir(directory);
	return done_testing();
}
