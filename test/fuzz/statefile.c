/*
 * statefile.c
 *		Fuzzes reading the state file: it is found as it was written, or damaged.
 *
 * The input is the file; and once more what stands behind the header of a file
 * whose length and checksum are right, since few inputs would get past those.
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
	if (size >= HEADER_LENGTH)
	{
		int			length = (int) (size - HEADER_LENGTH);
		const char *payload = (const char *) data + HEADER_LENGTH;
		uint32		header[2] = {pg_hton32(length), pg_hton32(checksum(payload, length))};

		write_state(payload, length, header);
		read_state(false);
	}
	forget_memory();
	return 0;
}

static void
fuzz_samples(void)
{
	(void) mkdir(EVPUB_STATE_DIRECTORY, 0700);
	for (random_state = 7; fuzz_samples_count < 40;)
	{
		EvpubPosition position = random_position();
		char		bytes[2000];
		ssize_t		length;
		int			fd;

		evpub_statefile_write(&position);
		read_state(true);
		fd = open(EVPUB_STATE_FILE, O_RDONLY);
		length = read(fd, bytes, sizeof(bytes));
		if (fd < 0 || length < 0 || close(fd) != 0)
			abort();
		if (length < (ssize_t) sizeof(bytes))
			fuzz_sample(bytes, (size_t) length);
		forget_memory();
	}
}
