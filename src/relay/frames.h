/*
 * frames.h
 *		Frames over the socket pair to the worker, without ever blocking.
 */
#ifndef EVPUB_RELAY_FRAMES_H
#define EVPUB_RELAY_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

typedef struct Frame
{
	EvpubFrameType type;
	const char *payload;		/* in the input buffer; it may move when more is
								 * received */
	uint32_t	length;
} Frame;

/* fd: a connected stream socket; it is made non-blocking and close-on-exec. */
extern void frames_open(int fd);

/* Reads what is there; false when the worker has gone. */
extern bool frames_receive(void);

/* The next complete frame; false when more has to be received first. */
extern bool frames_next(Frame *frame);

/* Where the payload of the frame from frames_next() is now. */
extern const char *frames_current(void);

/*
 * The next complete frame behind the one in hand that was not looked at yet.
 * It stays in the stream, and comes by frames_next() in its turn;
 * frames_taken() says then that it was looked at.
 */
extern bool frames_ahead(Frame *frame);
extern bool frames_taken(void);

/* Bytes received and not done with. */
extern size_t frames_unread(void);

/* The frame from frames_next() is not needed any more. */
extern void frames_done(void);

/* Puts a frame of up to two pieces in the output buffer. */
extern void frames_send(EvpubFrameType type, const void *data, size_t len,
						const void *more, size_t more_len);

/* A line for the server's log about what the relay has done. */
extern void frames_note(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));

/* Writes what the socket takes; false when the worker has gone. */
extern bool frames_flush(void);

/* Bytes that wait for frames_flush(). */
extern size_t frames_unsent(void);

#endif							/* EVPUB_RELAY_FRAMES_H */
