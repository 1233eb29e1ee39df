/*
 * track.h
 *		The topics that were published to, with their pinned partition counts
 *		and last acknowledged offsets; kept in the state file.
 */
#ifndef EVPUB_TRACK_H
#define EVPUB_TRACK_H

#include "postgres.h"

#include "publisher/position.h"
#include "publisher/relayclient.h"

/*
 * The number of a topic, which is announced to the relay if it does not know
 * it yet.  Adds the topic when it is new.
 */
extern uint32 evpub_track_topic(EvpubPosition *position, EvpubRelay *relay,
								const char *name, uint32 length);

/* It will find out by itself which topics were made again. */
extern void evpub_track_start_relay(EvpubPosition *position);

/* A new relay knows no topic. */
extern void evpub_track_forget_relay(EvpubPosition *position);

/*
 * Counts that the relay has reported and waits for: are there any that are not
 * durable yet?  They are in the position already, so whoever writes that calls
 * the second function when it is durable: then the relay is told, and sends
 * the first records.
 */
extern bool evpub_track_pins_wanted(const EvpubPosition *position);
extern void evpub_track_pins_durable(EvpubPosition *position, EvpubRelay *relay);

/* Take in what the relay says; false if it makes no sense. */
extern bool evpub_track_partitions(EvpubPosition *position, const EvpubFrame *frame);
extern bool evpub_track_offset(EvpubPosition *position, const EvpubFrame *frame);

/* The largest batch that a topic takes; *topic gets which it is. */
extern bool evpub_track_size(EvpubPosition *position, const EvpubFrame *frame,
							 const EvpubTopic **topic);

/*
 * Growth, step by step.  The relay reports it.  A position message says so: what
 * commits behind its end goes by the new count, so everybody who reads this WAL
 * draws the same line.  (Were the line drawn where the worker happens to be, a
 * promoted standby, which is elsewhere, would send a key to another partition
 * than its old primary did.)  The place of the message is written to the file;
 * a crash before that meets the message again when WAL is read.  When the first
 * transaction behind the line is about to be sent, and all before it is
 * confirmed, the count is adopted: a key is never in two partitions at a time.
 */

/* Is there growth that no message has brought yet? */
extern bool evpub_track_growth_wanted(const EvpubPosition *position);

/* Or whose line is not in the file? */
extern bool evpub_track_growth_pending(const EvpubPosition *position);

/* The file was written with all that is known. */
extern void evpub_track_written(EvpubPosition *position);

/* A position message that ends there has brought all that has changed. */
extern void evpub_track_told(EvpubPosition *position, XLogRecPtr end);

/* One was met while reading WAL; it ends there. */
extern void evpub_track_message(EvpubPosition *position,
								const EvpubPosition *message, XLogRecPtr end);

/* Does a transaction that commits there lie behind a line? */
extern bool evpub_track_growth_due(const EvpubPosition *position,
								   XLogRecPtr commit_lsn);

/* Cross it.  Only while nothing is in flight. */
extern void evpub_track_adopt_growth(EvpubPosition *position, XLogRecPtr commit_lsn);

/*
 * Topics were deleted and made again, and a person said to go on: take those
 * that the relay has found to be so as they are now.  All others keep their
 * counts: what happened to one of them must be seen, too.  Nothing is in flight
 * then, since the relay has ended.  True if there were any.
 */
extern bool evpub_track_accept_remade(EvpubPosition *position);

/*
 * Take a topic out of the position; false if it is not there.  The old array
 * stays as it was, for who goes back to it.
 */
extern bool evpub_track_forget_topic(EvpubPosition *position, const char *name);

#endif							/* EVPUB_TRACK_H */
