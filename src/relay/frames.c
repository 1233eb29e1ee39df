/*
 * frames.c
 *		Frames over the socket pair to the worker, without ever blocking.
 *
 * Input is read into one buffer and handed out in place, so a batch is copied
 * only once, by librdkafka.  A batch that does not fit into librdkafka's queue
 * is taken up again later, and meanwhile nothing more is read, which holds the
 * worker back.
 *
 * There is one exception: a batch that waits for the partition count of a topic
 * waits for a frame that stands behind it.  Then the caller reads on, looks
 * through the frames that have come, and takes that one out of its turn.  The
 * buffer may move meanwhile, so the frame in hand is found by frames_current().
 *
 * The buffer grows to the largest frame and shrinks back after it.  Output is
 * short frames, a few for each turn of the event loop, or one for each change from
 * records that are dropped to records that are sent; the caller looks at
 * frames_unsent() before it adds what can wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames.h"
#include "relay.h"

/* Usual size of the input buffer: a batch of the usual size and its header. */
#define INPUT_SIZE (256 * 1024)

static int	sock = -1;

static char *input;
static size_t input_size;
static size_t input_start;		/* first byte that is not consumed */
static size_t input_end;		/* first free byte */
static size_t current;			/* length of the frame handed out, or 0 */
static size_t looked_at;		/* end of what frames_ahead() has looked at,
								 * from input_start; 0: nothing yet */

static char *output;
static size_t output_size;
static size_t output_start;
static size_t output_end;

void
frames_open(int fd)
{
	sock = fd;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	/* a kinit that outlives us must not hold the worker's socket open */
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	input_size = INPUT_SIZE;
	input = relay_realloc(NULL, input_size);
}

/* Length of the frame that begins at "at" with its header; 0: not known yet. */
static size_t
frame_size(size_t at)
{
	EvpubFrameHeader header;

	if (input_end - at < sizeof(header))
		return 0;
	memcpy(&header, input + at, sizeof(header));
	if (header.version != EVPUB_PROTOCOL_VERSION)
		relay_fail(EVPUB_FAILURE_CONFIG,
				   "the server speaks version %d of the relay protocol, evpub-relay speaks %d",
				   header.version, EVPUB_PROTOCOL_VERSION);
	if (header.length > EVPUB_FRAME_MAX)
		relay_fail(EVPUB_FAILURE_RETRY,
				   "frame of %u bytes from the server is too long", header.length);
	return sizeof(header) + header.length;
}

/* Is there a whole frame that was not handed out? */
static bool
frame_waits(void)
{
	size_t		size = frame_size(input_start);

	return size > 0 && input_end - input_start >= size;
}

/*
 * Makes room for the rest of the frame that is being received; behind one that
 * is in hand, for as much as the worker sends ahead.
 */
static void
make_room(void)
{
	size_t		need = frame_size(input_start);

	if (need < INPUT_SIZE)
		need = INPUT_SIZE;
	if (current > 0)
		need = input_end - input_start + INPUT_SIZE;
	if (input_start > 0)
	{
		memmove(input, input + input_start, input_end - input_start);
		input_end -= input_start;
		input_start = 0;
	}
	if (need > input_size || (need < input_size && input_end <= need))
	{
		input = relay_realloc(input, need);
		input_size = need;
	}
}

bool
frames_receive(void)
{
	ssize_t		got;

	if (input_start == input_end)
		input_start = input_end = 0;

	/*
	 * A frame that is there is handed out first: to make room in front of it would
	 * move what waits once for each batch.  When it is done, the rest of the buffer
	 * is less than a frame, mostly.  (Behind a frame in hand, the caller looks for
	 * another one, so then more is received whatever it costs.)
	 */
	if (current == 0 && input_end == input_size && frame_waits())
		return true;
	if (input_end == input_size || (input_size > INPUT_SIZE && current == 0))
		make_room();
	if (input_end == input_size)
		return true;
	got = recv(sock, input + input_end, input_size - input_end, 0);
	if (got == 0)
		return false;
	if (got < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
	input_end += (size_t) got;
	return true;
}

bool
frames_next(Frame *frame)
{
	EvpubFrameHeader header;
	size_t		size = frame_size(input_start);

	if (size == 0 || input_end - input_start < size)
	{
		/* the rest of this frame must fit behind what is there */
		if (size > input_size - input_start)
			make_room();
		return false;
	}
	memcpy(&header, input + input_start, sizeof(header));
	frame->type = (EvpubFrameType) header.type;
	frame->payload = input + input_start + sizeof(header);
	frame->length = header.length;
	current = size;
	return true;
}

const char *
frames_current(void)
{
	return input + input_start + sizeof(EvpubFrameHeader);
}

bool
frames_ahead(Frame *frame)
{
	EvpubFrameHeader header;
	size_t		at;
	size_t		size;

	if (looked_at < current)
		looked_at = current;
	at = input_start + looked_at;
	size = frame_size(at);
	if (size == 0 || input_end - at < size)
		return false;
	memcpy(&header, input + at, sizeof(header));
	frame->type = (EvpubFrameType) header.type;
	frame->payload = input + at + sizeof(header);
	frame->length = header.length;
	looked_at += size;
	return true;
}

bool
frames_taken(void)
{
	return looked_at > 0;
}

size_t
frames_unread(void)
{
	return input_end - input_start;
}

void
frames_done(void)
{
	input_start += current;
	looked_at = looked_at > current ? looked_at - current : 0;
	current = 0;
}

void
frames_send(EvpubFrameType type, const void *data, size_t len,
			const void *more, size_t more_len)
{
	EvpubFrameHeader header = {
		.length = (uint32_t) (len + more_len),
		.type = (uint8_t) type,
		.version = EVPUB_PROTOCOL_VERSION
	};
	size_t		need = sizeof(header) + len + more_len;

	if (output_start == output_end)
		output_start = output_end = 0;
	if (output_end + need > output_size)
	{
		output_size = (output_end + need) * 2;
		output = relay_realloc(output, output_size);
	}
	memcpy(output + output_end, &header, sizeof(header));
	output_end += sizeof(header);
	if (len > 0)
		memcpy(output + output_end, data, len);
	output_end += len;
	if (more_len > 0)
		memcpy(output + output_end, more, more_len);
	output_end += more_len;
}

void
frames_note(const char *fmt, ...)
{
	char		text[RELAY_TEXT_MAX];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	frames_send(EVPUB_FRAME_NOTE, text, strlen(text), NULL, 0);
}

bool
frames_flush(void)
{
	while (output_start < output_end)
	{
		ssize_t		put = send(sock, output + output_start,
							   output_end - output_start, MSG_NOSIGNAL);

		if (put < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
		output_start += (size_t) put;
	}
	return true;
}

size_t
frames_unsent(void)
{
	return output_end - output_start;
}
