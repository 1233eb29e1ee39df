/*
 * stream.h
 *		Frames over the socket pair to the worker, without ever blocking.
 */
#ifndef EVPUB_RELAY_STREAM_H
#define EVPUB_RELAY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

typedef struct StreamFrame
{
	EvpubFrameType type;
	const char *payload;		/* in the input buffer; it may move when more is
								 * received */
	uint32_t	length;
} StreamFrame;

/* fd: a connected stream socket; it is made non-blocking and close-on-exec. */
extern void stream_open(int fd);

/* Reads what is there; false when the worker has gone. */
extern bool stream_receive(void);

/* The next complete frame; false when more has to be received first. */
extern bool stream_next(StreamFrame *frame);

/* Where the payload of the frame from stream_next() is now. */
extern const char *stream_current(void);

/*
 * The next complete frame behind the one in hand that was not looked at yet.
 * It stays in the stream, and comes by stream_next() in its turn;
 * stream_taken() says then that it was looked at.
 */
extern bool stream_ahead(StreamFrame *frame);
extern bool stream_taken(void);

/* Bytes received and not done with. */
extern size_t stream_unread(void);

/* The frame from stream_next() is not needed any more. */
extern void stream_done(void);

/* Puts a frame of up to two pieces in the output buffer. */
extern void stream_send(EvpubFrameType type, const void *data, size_t len,
						const void *more, size_t more_len);

/* Writes what the socket takes; false when the worker has gone. */
extern bool stream_flush(void);

/* Bytes that wait for stream_flush(). */
extern size_t stream_unsent(void);

#endif							/* EVPUB_RELAY_STREAM_H */
