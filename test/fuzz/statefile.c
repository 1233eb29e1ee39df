/*
 * statefile.c
 *		Fuzzes reading the state file: it is found as it was written, or damaged.
 *
 * The input is the file; and once more what stands behind the headers of a file
 * whose lengths and checksums are right, since few inputs would get past those.
 */
#define main unit_main
#include "../unit/position.c"
#undef main

#include "lib/fuzz.h"

static void
read_state(bool intact)
{
	EvpubPosition position;
	EvpubPosition again;
	EvpubPosition none;
	char	   *problem = NULL;

	memset(&none, 0, sizeof(none));
	switch (evpub_statefile_read(&position, &problem))
	{
		case EVPUB_STATEFILE_ABSENT:
			FUZZ_EXPECT(!"there is a file");
			break;
		case EVPUB_STATEFILE_DAMAGED:
			FUZZ_EXPECT(problem != NULL && problem[0] != '\0');
			/* nothing of what was parsed may be believed */
			FUZZ_EXPECT(memcmp(&position, &none, sizeof(none)) == 0);
			break;
		case EVPUB_STATEFILE_FOUND:
			FUZZ_EXPECT(is_usable(&position));
			(void) evpub_statefile_moved(&position);
			evpub_statefile_write(&position);
			FUZZ_EXPECT(evpub_statefile_read(&again, &problem) == EVPUB_STATEFILE_FOUND);
			FUZZ_EXPECT(problem == NULL);
			position.restart_lsn++;
			FUZZ_EXPECT(evpub_statefile_advance(&position) == position.restart_lsn - 1);
			FUZZ_EXPECT(evpub_statefile_read(&again, &problem) == EVPUB_STATEFILE_FOUND);
			FUZZ_EXPECT(again.restart_lsn == position.restart_lsn);
			return;
	}
	FUZZ_EXPECT(!intact);
}

static void
write_whole(const uint8_t *data, size_t size)
{
	int			fd = open(EVPUB_STATE_FILE, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, data, size) != (ssize_t) size || close(fd) != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void) mkdir(EVPUB_STATE_DIRECTORY, 0700);
	write_whole(data, size);
	read_state(false);
	if (size >= HALF_HEADER_LENGTH)
	{
		write_state((const char *) data + HALF_HEADER_LENGTH,
					(int) (size - HALF_HEADER_LENGTH), -1);
		read_state(false);
	}
	forget_all();
	return 0;
}

static void
fuzz_samples(void)
{
	(void) mkdir(EVPUB_STATE_DIRECTORY, 0700);
	for (random_state = 7; fuzz_samples_count < 40;)
	{
		EvpubPosition position = random_position();
		StringInfoData payload = serialized(&position, EVPUB_POSITION_FILE);
		char		bytes[4096];
		ssize_t		length;
		int			fd;

		/* as the worker writes it, and without the room behind the states */
		evpub_statefile_write(&position);
		position.next_event++;
		(void) evpub_statefile_advance(&position);
		read_state(true);
		write_state(payload.data, payload.len, -1);
		fd = open(EVPUB_STATE_FILE, O_RDONLY);
		length = read(fd, bytes, sizeof(bytes));
		if (fd < 0 || length < 0 || close(fd) != 0)
			abort();
		if (length < (ssize_t) sizeof(bytes))
			fuzz_sample(bytes, (size_t) length);
		read_state(true);
		forget_all();
	}
}
