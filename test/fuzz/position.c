/*
 * position.c
 *		Fuzzes the decoder of positions, and what is done with one that was read.
 *
 * The unit test of the same name has the functions that make positions, and that
 * say whether one can be used; this is the same test with input that libFuzzer
 * finds by itself.
 */
#define main unit_main
#include "../unit/position.c"
#undef main

#include "common/hashfn.h"

#include "lib/fuzz.h"
#include "lib/restore.h"
#include "lib/tested.h"
#include "../../src/position/pins.c"
#include "../../src/position/skips.c"
#include "lib/not_tested.h"

/* More partitions are only more of the same, and slow. */
#define PARTITIONS_MAX 5000

/* What the worker does with a position, one after the other. */
static void
use(EvpubPosition *position)
{
	EvpubPosition message = *position;

	(void) evpub_position_publisher(position);
	(void) evpub_position_publisher_at(position, position->confirmed_lsn);
	for (int i = 0; i < position->ngaps; i++)
		FUZZ_EXPECT(evpub_position_find_gap(position, position->gaps[i].to_lsn,
											position->gaps[i].repeat) != NULL);
	for (int i = 0; i < position->nskips; i++)
		FUZZ_EXPECT(evpub_skips_find(position, position->skips[i].id) != NULL);
	evpub_skips_prune(position);
	for (int i = 0; i < position->ntopics; i++)
	{
		FUZZ_EXPECT(evpub_pins_topic_of_number(position, position->topics[i].number) ==
					&position->topics[i]);
		if (position->topics[i].grown > PARTITIONS_MAX)
			return;
	}
	evpub_pins_message(position, &message, position->confirmed_lsn);
	evpub_pins_logged(position, position->confirmed_lsn + 8);
	evpub_pins_written(position);
	if (evpub_pins_growth_due(position, PG_UINT64_MAX))
		evpub_pins_adopt_growth(position, PG_UINT64_MAX, position->confirmed_lsn);
	(void) evpub_pins_topic(position, "one that is new");
	FUZZ_EXPECT(evpub_pins_forget_topic(position, "one that is new"));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	StringInfoData bytes = bytes_of(data, (int) size);
	EvpubPosition position;
	size_t		before = allocated;

	fuzz_restore();
	if (evpub_position_parse(&bytes, &position))
	{
		static const EvpubPositionForm forms[] = {
			EVPUB_POSITION_FILE, EVPUB_POSITION_FULL, EVPUB_POSITION_CHANGES
		};

		FUZZ_EXPECT(allocated - before <= 8 * size + 4096);
		FUZZ_EXPECT(is_usable(&position));
		for (size_t i = 0; i < lengthof(forms); i++)
		{
			StringInfoData message = serialized(&position, forms[i]);
			EvpubPosition read;
			EvpubPosition merged;

			/* a state file and a message that tells of what comes behind it */
			FUZZ_EXPECT(evpub_position_parse(&message, &read));
			random_state = size;
			merged = random_position();
			evpub_position_merge(&merged, &read, forms[i] == EVPUB_POSITION_FULL);
			FUZZ_EXPECT(is_usable(&merged));
			use(&merged);
		}
		use(&position);
	}
	FUZZ_EXPECT(allocated - before <= 8 * size + 4096 || bytes.cursor == bytes.len);
	forget_memory();
	return 0;
}

/* ---- inputs that are positions with one number changed ---- */

extern size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t		LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
									unsigned int seed);

static void
change(EvpubPosition *position)
{
	EvpubTopic *topic = position->ntopics > 0 ?
		&position->topics[below(position->ntopics)] : NULL;
	uint32		number = below(2) ? below(8) : edge(1000);

	switch (topic ? below(8) : below(2))
	{
		case 0:
			position->next_topic = number;
			break;
		case 1:
			position->role = below(256);
			break;
		case 2:
			topic->number = number;
			break;
		case 3:
			/* no more than there are */
			topic->partitions = (int32) below(topic->partitions + 2) - 1;
			break;
		case 4:
			topic->nnumbers = below(topic->nnumbers + 1);
			break;
		case 5:
			topic->grown = (int32) number;
			break;
		case 6:
			topic->grown_from = below(2) ? InvalidXLogRecPtr : next_random();
			break;
		case 7:
			topic->name = random_text(300);
			break;
	}
}

/*
 * Two counts and what they count have to change together for most of what the
 * decoder refuses, which bytes that change by chance hardly do.
 */
size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	StringInfoData bytes = bytes_of(data, (int) size);
	EvpubPosition position;

	random_state = seed;
	if (below(3) && evpub_position_parse(&bytes, &position))
	{
		change(&position);
		bytes = serialized(&position, random_form());
		size = Min((size_t) bytes.len, max_size);
		memcpy(data, bytes.data, size);
	}
	else
		size = LLVMFuzzerMutate(data, size, max_size);
	forget_memory();
	return size;
}

static void
fuzz_samples(void)
{
	for (random_state = 1; fuzz_samples_count < 60;)
	{
		EvpubPosition position = random_position();
		StringInfoData bytes = serialized(&position, random_form());

		/* the whole of libFuzzer's inputs is as long as the longest of these */
		if (bytes.len < 2000)
			fuzz_sample(bytes.data, bytes.len);
		forget_memory();
	}
}
