/*
 * halves.c
 *		The state file under crashes, damage and copies (src/position/halves.c): it
 *		says one of the states that were written, in its order, or that it is damaged.
 *
 * Files are made byte by byte as a crash, a disk or a base backup may leave them.  The
 * test of positions has what makes positions and what stands in for the server.
 */
#define main unit_main
#include "position.c"
#undef main

#define STATES 5
#define SECTOR 512

static EvpubHalves here;

/* ---- states, and files that have them ---- */

typedef struct State
{
	char		text[4000];
	int			length;
} State;

static State states[STATES];

/* Each fills a few sectors, and differs from the others in all of them, or in few. */
static void
make_states(int length, int differ)
{
	for (int i = 0; i < STATES; i++)
	{
		states[i].length = length;
		for (int c = 0; c < length; c++)
			states[i].text[c] = (char) (c % 100 < differ ? 'a' + i : '.');
	}
}

static StringInfoData
data_of(const State *state)
{
	StringInfoData data;

	evpub_halves_begin(&data);
	appendBinaryStringInfo(&data, state->text, state->length);
	return data;
}

static uint64
all_of_it(int fd, uint64 size, const void *arg)
{
	(void) fd;
	(void) arg;
	return size;
}

static StringInfoData
slurp(void)
{
	StringInfoData file;
	char	   *problem;

	if (evpub_checkedfile_load(EVPUB_STATE_FILE, all_of_it, NULL, &file, &problem) != EVPUB_CHECKEDFILE_FOUND)
		abort();
	return file;
}

/* In place, so that what was written is written over, and not replaced. */
static void
spew(const char *bytes, int length)
{
	int			fd = open(EVPUB_STATE_FILE, O_WRONLY | O_CREAT, 0600);

	if (fd < 0 || write(fd, bytes, length) != length || ftruncate(fd, length) != 0 ||
		close(fd) != 0)
		abort();
}

/* The file after each write; the first one replaces, the others go in place. */
static void
write_states(StringInfoData *files)
{
	memset(&here, 0, sizeof(here));
	for (int i = 0; i < STATES; i++)
	{
		StringInfoData data = data_of(&states[i]);

		if (i == 0)
			evpub_halves_replace(&here, EVPUB_STATE_FILE, STATE_MAGIC, &data);
		else if (!evpub_halves_advance(&here, EVPUB_STATE_FILE, STATE_MAGIC, &data))
			abort();
		files[i] = slurp();
	}
}

#define DAMAGED (-1)
#define NONSENSE (-2)

static char *last_problem;

/* Which state the file says. */
static int
reads_as(const char *bytes, int length)
{
	StringInfoData data = bytes_of(bytes, length);
	char	   *whole = data.data;
	Half		found[2];
	int			says = NONSENSE;

	last_problem = NULL;
	look_at_both(&data, STATE_MAGIC, found);
	switch (take_newest(EVPUB_STATE_FILE, STATE_MAGIC, found, &data, &last_problem))
	{
		case EVPUB_CHECKEDFILE_DAMAGED:
			says = last_problem ? DAMAGED : NONSENSE;
			break;
		case EVPUB_CHECKEDFILE_FOUND:
			for (int i = 0; i < STATES; i++)
				if (data.len - data.cursor == states[i].length &&
					memcmp(data.data + data.cursor, states[i].text, states[i].length) == 0)
					says = i;
			break;
		default:
			break;
	}
	pfree(whole);
	return says;
}

/* ---- crashes ---- */

static int	tried;
static int	wrong;

/*
 * An image of the crash in which write "to" was cut.  It says that state if all bytes
 * of it have arrived, else the state before.
 */
static void
expect_cut(const char *image, const StringInfoData *files, int to)
{
	int			expected = memcmp(image, files[to].data, files[to].len) == 0 ? to : to - 1;

	tried++;
	if (reads_as(image, files[to].len) != expected)
		wrong++;
}

/* The write of state "to" is cut at each byte, from the front and from behind. */
static void
cut_at_each_byte(const StringInfoData *files, int to)
{
	int			length = files[to].len;
	char	   *image = palloc(length);

	for (int at = 0; at <= length; at++)
	{
		/* beyond what is written nothing differs */
		if (at % 7 != 0 && at % (length / 2) > states[to].length + 100)
			continue;
		memcpy(image, files[to].data, at);
		memcpy(image + at, files[to - 1].data + at, length - at);
		expect_cut(image, files, to);
		memcpy(image, files[to - 1].data, at);
		memcpy(image + at, files[to].data + at, length - at);
		expect_cut(image, files, to);
	}
	pfree(image);
}

/* Each set of sectors has arrived, and the others have not. */
static void
tear_at_sectors(const StringInfoData *files, int to, int sector)
{
	int			length = files[to].len;
	int			begin = to % 2 * (length / 2);
	int			n = (states[to].length + SECTOR) / sector + 1;
	char	   *image = palloc(length);

	for (uint32 set = 0; set < 1u << n; set++)
	{
		memcpy(image, files[to - 1].data, length);
		for (int i = 0; i < n; i++)
			if (set & (1u << i) && begin + (i + 1) * sector <= length)
				memcpy(image + begin + i * sector, files[to].data + begin + i * sector, sector);
		expect_cut(image, files, to);
	}
	pfree(image);
}

static void
test_crashes(void)
{
	static const int lengths[] = {0, 1, 460, 484, 485, 2000, 3300};

	for (size_t l = 0; l < lengthof(lengths); l++)
		for (int differ = 1; differ <= 100; differ += 99)
		{
			StringInfoData files[STATES];

			make_states(lengths[l], differ);
			/* one that is shorter, and one that is longer than what it goes over */
			states[2].length = lengths[l] / 2;
			states[3].length = lengths[l] + lengths[l] / 10;
			memset(states[3].text, 'X', states[3].length);
			write_states(files);
			for (int to = 1; to < STATES; to++)
			{
				if (lengths[l] == 0)
					continue;
				cut_at_each_byte(files, to);
				tear_at_sectors(files, to, SECTOR);
				tear_at_sectors(files, to, 4096);
			}
			forget_all();
		}
	printf("# %d ways in which a crash cuts a write\n", tried);
	ok(wrong == 0, "a crash at any byte, with any set of sectors: this state or the one before");
}

/* ---- damage ---- */

static void
test_bits(void)
{
	StringInfoData files[STATES];
	int			newest = STATES - 1;
	int			half;
	bool		right = true;
	bool		said = true;

	make_states(700, 100);
	write_states(files);
	half = files[newest].len / 2;
	for (int bit = 0; bit < 8 * files[newest].len; bit++)
	{
		StringInfoData *file = &files[newest];
		int			in_half = bit / 8 % half;
		bool		means = in_half < (int) HALF_HEADER_LENGTH + states[newest].length;
		bool		of_newest = (bit / 8 >= half) == (newest % 2 == 1);

		/* what means nothing need not be tried at each bit */
		if (!means && bit % 61 != 0)
			continue;
		file->data[bit / 8] ^= (char) (1 << (bit % 8));
		if (reads_as(file->data, file->len) != newest - (means && of_newest))
			right = false;
		if ((last_problem != NULL) != means)
			said = false;
		file->data[bit / 8] ^= (char) (1 << (bit % 8));
	}
	ok(right, "a bit that is flipped: the newest state, or the one before");
	ok(said, "and that a half is damaged is said");

	for (int i = 0; i < 20000 && right; i++)
	{
		StringInfoData *file = &files[newest];
		int			at[2];

		for (int h = 0; h < 2; h++)
		{
			at[h] = h * half + (int) below(HALF_HEADER_LENGTH + states[newest].length);
			file->data[at[h]] ^= (char) (1 << (i % 8));
		}
		right = reads_as(file->data, file->len) == DAMAGED;
		for (int h = 0; h < 2; h++)
			file->data[at[h]] ^= (char) (1 << (i % 8));
	}
	ok(right, "a bit in both halves: damaged, whatever else is there");
	forget_all();
}

static void
test_lengths(void)
{
	StringInfoData files[STATES];
	bool		right = true;

	make_states(700, 100);
	write_states(files);
	for (int newest = STATES - 2; newest < STATES; newest++)
	{
		StringInfoData *file = &files[newest];
		int			whole[2] = {HALF_HEADER_LENGTH + 700, file->len / 2 + HALF_HEADER_LENGTH + 700};
		int			says[2] = {newest - newest % 2, newest - (newest + 1) % 2};

		for (int length = 0; length <= file->len; length++)
		{
			int			expected = length < whole[0] ? DAMAGED :
				length < whole[1] ? says[0] : newest;

			if (reads_as(file->data, length) != expected)
				right = false;
		}
		enlargeStringInfo(file, 5000);
		memset(file->data + file->len, 0, 5000);
		right = right && reads_as(file->data, file->len + 5000) == newest;

		/* what was cut is zeros */
		for (int length = 0; length <= file->len; length += 13)
		{
			char	   *image = palloc0(file->len);
			int			expected = length < whole[0] ? DAMAGED :
				length < whole[1] ? says[0] : newest;

			memcpy(image, file->data, length);
			if (reads_as(image, file->len) != expected)
				right = false;
			pfree(image);
		}
	}
	ok(right, "a file that is cut, or longer, or ends in zeros: what is whole counts");
	forget_all();
}

static void
test_other_formats(void)
{
	char		bytes[100];
	StringInfoData file;

	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, "evpubst8", 8);
	ok(reads_as(bytes, sizeof(bytes)) == DAMAGED &&
	   strstr(last_problem, "it has format 8, and not 9") != NULL,
	   "a file of an older format is refused, and why");
	memcpy(bytes, "something", 9);
	ok(reads_as(bytes, sizeof(bytes)) == DAMAGED &&
	   strstr(last_problem, "not one of this version") != NULL, "and a file of another kind");

	/* of a format to come, though all else fits */
	make_states(100, 100);
	file = data_of(&states[0]);
	put_header(&file, "evpubsta", 5, 4096);
	ok(reads_as(file.data, file.len) == DAMAGED, "and a half of a format to come");

	/* all of the above as the reader of a file has it */
	spew(bytes, sizeof(bytes));
	ok(evpub_halves_read(EVPUB_STATE_FILE, STATE_MAGIC, &file, &last_problem) ==
	   EVPUB_CHECKEDFILE_DAMAGED, "the same in a file");
	forget_all();
}

/* ---- a file that is too large for memory ---- */

/* What the file says, and no more than this was read of it. */
static int
large_reads_as(int most)
{
	StringInfoData file;
	char	   *problem;

	if (truncate(EVPUB_STATE_FILE, 900 * 1024 * 1024) != 0)
		abort();
	if (evpub_halves_read(EVPUB_STATE_FILE, STATE_MAGIC, &file, &problem) !=
		EVPUB_CHECKEDFILE_FOUND)
		return file.maxlen <= most ? DAMAGED : -2;
	if (file.maxlen > most)
		return -2;
	for (int i = 0; i < STATES; i++)
		if (file.len - file.cursor == states[i].length &&
			memcmp(file.data + file.cursor, states[i].text, states[i].length) == 0)
			return i;
	return -2;
}

static void
test_large(void)
{
	StringInfoData files[STATES];
	int			half;

	make_states(3000, 100);
	write_states(files);
	half = files[STATES - 1].len / 2;
	ok(large_reads_as(6 * half) == STATES - 1, "a file with 900 MB behind its end: its newest state");

	/* the first half is the newest one of these */
	memset(files[STATES - 1].data + HALF_HEADER_LENGTH, 0, 10);
	spew(files[STATES - 1].data, 2 * half);
	ok(large_reads_as(6 * half) == STATES - 2, "... and the other one, if that is damaged");
	spew("", 0);
	ok(large_reads_as(1024) == DAMAGED, "900 MB of zeros are damaged, and not read");
	forget_all();
}

/* ---- copies ---- */

/* The file in the middle of each write, and between them, in the order of time. */
static int
moments(const StringInfoData *files, char **images, int *newest)
{
	int			length = files[0].len;
	int			n = 0;

	for (int to = 1; to < STATES; to++)
		for (int part = 0; part <= 8; part++)
		{
			int			begin = to % 2 * (length / 2);
			int			written = (HALF_HEADER_LENGTH + states[to].length) * part / 8;

			images[n] = palloc(length);
			memcpy(images[n], files[to - 1].data, length);
			memcpy(images[n] + begin, files[to].data + begin, written);
			newest[n++] = part == 8 ? to : to - 1;
		}
	return n;
}

/*
 * A copy of which the first part is of one moment, and the rest of a later one.  It says
 * a state that was the newest when the first part was read, or the one before that, or a
 * newer one.  It is damaged only if one of the moments is in the middle of a write, and
 * there was another write between them.
 */
static void
test_copies(void)
{
	StringInfoData files[STATES];
	char	   *images[STATES * 9];
	int			newest[STATES * 9];
	bool		right = true;
	int			n;

	make_states(900, 100);
	write_states(files);
	n = moments(files, images, newest);
	for (int first = 0; first < n; first++)
		for (int second = first; second < n; second++)
			for (int at = 0; at < files[0].len; at += at % 4096 < 1000 ? 40 : 500)
			{
				char	   *copy = palloc(files[0].len);
				int			says;

				memcpy(copy, images[first], at);
				memcpy(copy + at, images[second] + at, files[0].len - at);
				says = reads_as(copy, files[0].len);
				if (says == DAMAGED)
					right = right && (first % 9 % 8 != 0 || second % 9 % 8 != 0) &&
						first / 9 != second / 9;
				else
					right = right && says >= newest[first] - 1 && says <= newest[second];
				tried++;
				pfree(copy);
			}
	ok(right, "a copy in two pieces says a state of its time, or that it is damaged");
	forget_all();
}

/* ---- writing ---- */

static void
test_writing(void)
{
	StringInfoData data;
	StringInfoData files[STATES];
	volatile bool threw = false;
	ino_t		inode;
	struct stat st;

	make_states(1000, 100);
	write_states(files);
	if (stat(EVPUB_STATE_FILE, &st) != 0)
		abort();
	inode = st.st_ino;
	ok(files[0].len == files[STATES - 1].len && inode == here.inode,
	   "a state is written in place");

	/* what cannot be made durable is not written in place again */
	data = data_of(&states[0]);
	sync_error = EIO;
	PG_TRY();
	{
		(void) evpub_halves_advance(&here, EVPUB_STATE_FILE, STATE_MAGIC, &data);
	}
	PG_CATCH();
	{
		threw = strstr(error_text, "could not") != NULL;
	}
	PG_END_TRY();
	sync_error = 0;
	ok(threw && !evpub_halves_advance(&here, EVPUB_STATE_FILE, STATE_MAGIC, &data),
	   "after a failed flush the file is replaced");

	/* a replacement that fails leaves the file as it was, which is still known */
	write_states(files);
	if (mkdir(EVPUB_STATE_FILE ".tmp", 0700) != 0)
		abort();
	threw = false;
	PG_TRY();
	{
		evpub_halves_replace(&here, EVPUB_STATE_FILE, STATE_MAGIC, &data);
	}
	PG_CATCH();
	{
		threw = strstr(error_text, "could not create") != NULL;
	}
	PG_END_TRY();
	if (rmdir(EVPUB_STATE_FILE ".tmp") != 0)
		abort();
	ok(threw && evpub_halves_advance(&here, EVPUB_STATE_FILE, STATE_MAGIC, &data),
	   "after a failed replacement the old file is written in place");

	/* somebody else's file under the name */
	write_states(files);
	if (rename(EVPUB_STATE_FILE, EVPUB_STATE_FILE ".old") != 0)
		abort();
	spew(files[1].data, files[1].len);
	ok(!evpub_halves_advance(&here, EVPUB_STATE_FILE, STATE_MAGIC, &data),
	   "a file that this process has not written is not written in place");
	write_states(files);
	spew(files[1].data, files[1].len - 1);
	ok(!evpub_halves_advance(&here, EVPUB_STATE_FILE, STATE_MAGIC, &data),
	   "nor one that was cut");
	write_states(files);
	if (unlink(EVPUB_STATE_FILE) != 0 || unlink(EVPUB_STATE_FILE ".old") != 0)
		abort();
	ok(!evpub_halves_advance(&here, EVPUB_STATE_FILE, STATE_MAGIC, &data), "nor one that is gone");

	/* until it does not fit */
	write_states(files);
	while (evpub_halves_advance(&here, EVPUB_STATE_FILE, STATE_MAGIC, &data))
		appendStringInfoString(&data, "more and more");
	ok((uint32) data.len > here.size && here.known, "a state that does not fit is not written in place");
	evpub_halves_replace(&here, EVPUB_STATE_FILE, STATE_MAGIC, &data);
	ok((uint32) data.len <= here.size &&
	   evpub_halves_advance(&here, EVPUB_STATE_FILE, STATE_MAGIC, &data), "it gets a larger file");
	forget_all();
}

/* ---- what is decided, and what is progress ---- */

static EvpubPosition
with_everything(void)
{
	EvpubPosition position = random_position();

	while (position.ntopics < 2 || position.topics[1].partitions < 2 || position.ngaps == 0 ||
		   position.nskips == 0 || position.paused || position.nlineage == 0)
		position = random_position();
	position.topics[1].grown = 0;
	position.topics[1].grown_from = InvalidXLogRecPtr;
	return position;
}

static int	moved_from;

/* Writes a change, and says whether that was in place. */
static bool
in_place(const EvpubPosition *position)
{
	XLogRecPtr	kept = evpub_statefile_advance(position);
	EvpubPosition read;
	char	   *problem;

	if (evpub_statefile_read(&read, &problem) != EVPUB_STATEFILE_FOUND || problem ||
		read.restart_lsn != position->restart_lsn)
		abort();
	if (kept != InvalidXLogRecPtr && kept > position->restart_lsn)
		abort();
	moved_from++;
	return kept != InvalidXLogRecPtr;
}

#define PROGRESS(change) \
	do { \
		EvpubPosition position = with_everything(); \
\
		evpub_statefile_write(&position); \
		change; \
		if (!in_place(&position)) \
		{ \
			printf("# a decision: %s\n", #change); \
			right = false; \
		} \
		forget_all(); \
	} while (0)

#define DECISION(change) \
	do { \
		EvpubPosition position = with_everything(); \
\
		evpub_statefile_write(&position); \
		if (!in_place(&position)) \
			right = false; \
		change; \
		if (in_place(&position)) \
		{ \
			printf("# no decision: %s\n", #change); \
			right = false; \
		} \
		forget_all(); \
	} while (0)

static void
test_progress(void)
{
	bool		right = true;

	PROGRESS(position.restart_lsn++);
	PROGRESS(position.confirmed_lsn++);
	PROGRESS(position.next_event++);
	PROGRESS(position.sequence++);
	PROGRESS(position.topics[1].last[1].offset++);
	PROGRESS(position.topics[1].last[0].id.lsn++; position.topics[1].last[0].id.publisher_id++);
	PROGRESS(position.topics[1].last[0].replaces ^= true);
	PROGRESS(position.topics[1].letters++);
	PROGRESS(position.gaps[0].announced ^= true);
	PROGRESS(position.gaps[0].next_number++);
	ok(right, "progress is written in place");
}

static void
test_decisions(void)
{
	bool		right = true;

	DECISION(position.system_identifier++);
	DECISION(position.timeline++);
	DECISION(position.role = EVPUB_ROLE_RETIRED);
	DECISION(position.paused = true);
	DECISION(position.directory_inode++);
	DECISION(position.delivery = EVPUB_DELIVERY_DEDUPLICATED);
	DECISION(evpub_position_add_lineage(&position, 5, 5, 5));
	DECISION(position.lineage[0].publisher_id++);
	DECISION(evpub_position_add_replaced(&position, 7));
	DECISION(position.fenced_reason = pstrdup("why"));
	DECISION(position.gap.reason = pstrdup("another"));
	DECISION(position.gaps[0].to_lsn++);
	DECISION(position.gaps[0].horizon++);
	DECISION(position.ngaps--);
	DECISION(position.nskips--);
	DECISION(position.skips[0].silent ^= true);
	DECISION(position.next_topic++);
	DECISION(position.next_number++);
	DECISION(position.ntopics--);
	DECISION(position.topics[1].partitions--);
	DECISION(position.topics[1].name = pstrdup("other"));
	DECISION(position.topics[1].grown = position.topics[1].partitions + 1);
	DECISION(position.topics[1].numbers[0]++);
	ok(right, "a decision replaces the file");
}

/* A growth that was adopted follows progress; the next one is a decision as the first was. */
static void
test_growth(void)
{
	EvpubPosition position = with_everything();
	EvpubTopic *topic = &position.topics[1];
	bool		right;

	topic->before = topic->partitions - 1;
	topic->before_line = 5;
	topic->before_until = ++position.confirmed_lsn + 1;
	evpub_statefile_write(&position);
	position.confirmed_lsn++;
	right = in_place(&position);
	topic->grown = topic->partitions + 1;
	right = right && !in_place(&position) && in_place(&position);
	topic->grown_from = position.confirmed_lsn;
	right = right && !in_place(&position) && in_place(&position);
	ok(right, "a topic that grows again replaces the file again");
	forget_all();
}

/* After any damage of one half: the same decisions, and the WAL that is needed is there. */
static void
test_going_back(double seconds)
{
	double		end = seconds_now() + seconds;
	bool		decisions = true;
	bool		kept_enough = true;
	bool		found = true;
	int			times = 0;

	while (found && decisions && kept_enough && seconds_now() < end)
	{
		EvpubPosition position = with_everything();

		evpub_statefile_write(&position);
		for (int i = 0; i < 10; i++)
		{
			StringInfoData file;
			StringInfoData whole;
			StringInfoData then;
			StringInfoData now;
			EvpubPosition read;
			char	   *problem;
			XLogRecPtr	kept;

			position.restart_lsn += below(3) == 0 ? 0 : below(1000);
			position.confirmed_lsn = position.restart_lsn + below(1000);
			position.sequence++;
			if (below(4) == 0)
				position.paused ^= true;
			kept = evpub_statefile_advance(&position);
			if (kept == InvalidXLogRecPtr)
				kept = position.restart_lsn;
			file = slurp();
			whole = bytes_of(file.data, file.len);
			memset(file.data + halves.newest * halves.size + below(HALF_HEADER_LENGTH + 200), '~', 20);
			spew(file.data, file.len);
			found = evpub_statefile_read(&read, &problem) == EVPUB_STATEFILE_FOUND && problem;
			if (!found)
				break;
			then = as_decided(&position);
			now = as_decided(&read);
			decisions = decisions && same_bytes(&then, &now);
			kept_enough = kept_enough && read.restart_lsn >= kept;
			times++;
			spew(whole.data, whole.len);

			/* the worker goes on, or ends and starts */
			if (below(2) == 0)
				memset(&halves, 0, sizeof(halves));
		}
		forget_all();
	}
	printf("# went back %d times\n", times);
	ok(found, "when a half has rotted, the other one is found");
	ok(decisions, "when a half has rotted, no decision is taken back");
	ok(kept_enough, "and the slot still keeps what the other half needs");
}

int
main(void)
{
	char		directory[] = "/tmp/evpub-halves.XXXXXX";

	if (mkdtemp(directory) == NULL || chdir(directory) != 0 ||
		mkdir(EVPUB_STATE_DIRECTORY, 0700) != 0)
		abort();
	test_crashes();
	test_bits();
	test_lengths();
	test_large();
	test_other_formats();
	test_copies();
	test_writing();
	test_progress();
	test_decisions();
	test_growth();
	test_going_back(fuzz_seconds() / 4);
	(void) unlink(EVPUB_STATE_FILE);
	(void) rmdir(EVPUB_STATE_DIRECTORY);
	(void) rmdir(directory);
	return done_testing();
}
