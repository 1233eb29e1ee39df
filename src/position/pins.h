/*
 * pins.h
 *		The topics that were published to, with their pinned partition counts;
 *		kept in the state file.
 */
#ifndef EVPUB_PINS_H
#define EVPUB_PINS_H

#include "postgres.h"

#include "position/position.h"

/* The topic of this name; it is added when it is new. */
extern EvpubTopic *evpub_pins_topic(EvpubPosition *position, const char *name);

/* The topic of this number; NULL: there is none. */
extern EvpubTopic *evpub_pins_topic_of_number(EvpubPosition *position, uint32 number);

/* Use this count from now on.  Each new partition gets a number of its own. */
extern void evpub_pins_set(EvpubPosition *position, EvpubTopic *topic,
							 int32 partitions);

/*
 * Has the relay reported counts that are not durable yet?  It waits for them.  They
 * are in the position already; whoever has made the position durable calls
 * evpub_relaytopics_pins_durable().
 */
extern bool evpub_pins_wanted(const EvpubPosition *position);

/*
 * A topic's count or growth has changed, or there is another array of topics: what
 * is asked here and below is looked at anew.
 */
extern void evpub_pins_changed(void);

/*
 * Growth, step by step.  The relay reports it.  A position message says so: what
 * commits behind its end goes by the new count, so everybody who reads this WAL
 * draws the same line.  (Were the line drawn where the worker happens to be, a
 * promoted standby, which is elsewhere, would send a key to another partition
 * than its old primary did.)  The place of the message is written to the file;
 * a crash before that meets the message again when WAL is read.  When the first
 * transaction behind the line is about to be sent, and all before it is
 * in Kafka, the count is adopted: a key is never in two partitions at a time.
 */

/* Is there growth that no message has brought yet? */
extern bool evpub_pins_growth_wanted(const EvpubPosition *position);

/* Is there growth whose line is not in the file yet? */
extern bool evpub_pins_growth_pending(const EvpubPosition *position);

/* The file was written with all that is known. */
extern void evpub_pins_written(EvpubPosition *position);

/* A position message that ends there has brought all that has changed. */
extern void evpub_pins_logged(EvpubPosition *position, XLogRecPtr end);

/* A position message was met while reading WAL; it ends at "end". */
extern void evpub_pins_message(EvpubPosition *position,
								const EvpubPosition *message, XLogRecPtr end);

/*
 * The first line, in the file or not, of growth that is not adopted.  What commits
 * up to there has nothing to do with growth; the two questions that follow look at
 * all topics.
 */
extern XLogRecPtr evpub_pins_growth_from(const EvpubPosition *position);

/*
 * Does it lie behind a line that is not in the file yet?  It waits for that: sent by the
 * old count, it would be sent by the new one after a crash, to another partition.
 */
extern bool evpub_pins_growth_undecided(const EvpubPosition *position,
										XLogRecPtr commit_lsn);

/* Does a transaction that commits there lie behind a line? */
extern bool evpub_pins_growth_due(const EvpubPosition *position,
								   XLogRecPtr commit_lsn);

/*
 * Adopt the growth whose line lies before commit_lsn.  Only while nothing is under
 * way: all that commits up to put_lsn is in Kafka.
 */
extern void evpub_pins_adopt_growth(EvpubPosition *position, XLogRecPtr commit_lsn,
									XLogRecPtr put_lsn);

/*
 * Topics were deleted and made again, and a person said to go on: take those
 * that the relay has found to be so as they are now.  All others keep their
 * counts: what happened to one of them must be seen, too.  Nothing is in flight
 * then, since the relay has ended.  True if there were any.
 */
extern bool evpub_pins_accept_remade(EvpubPosition *position);

/*
 * Take a topic out of the position; false if it is not there.  The old array
 * stays as it was, for who goes back to it.
 */
extern bool evpub_pins_forget_topic(EvpubPosition *position, const char *name);

#endif							/* EVPUB_PINS_H */
