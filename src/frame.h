/*
 * frame.h
 *		The protocol between the publisher (a PostgreSQL background worker)
 *		and evpub-relay (a program of its own), over one stream socket pair.
 *
 * Both ends run on the same machine and come from the same build, so integers
 * are in native byte order; the version in the first frame guards against a
 * relay of another build.  This header is plain C: the relay must not include
 * PostgreSQL's headers, the worker must not include librdkafka's.
 *
 * A frame is an EvpubFrameHeader and then "length" bytes.  The structs below are
 * what is sent: they have no padding of the compiler's, which is asserted, and
 * since a frame may begin anywhere in a buffer, they are copied in and out.
 *
 * Ends.  When the worker shuts down its sending side (shutdown(SHUT_WR)), the
 * relay leaves quietly: it hands nothing more to librdkafka, waits until what is
 * in flight is acknowledged (500 ms without any acknowledgement, 1 s in all, at
 * most), reports that, and exits.  When the
 * worker closes the socket, the relay exits at once.
 */
#ifndef EVPUB_FRAME_H
#define EVPUB_FRAME_H

#include <stdint.h>

#define EVPUB_PROTOCOL_VERSION 5

/* Whoever changes what is sent raises the version. */
#define EVPUB_FRAME_HAS_SIZE(type, size) \
	_Static_assert(sizeof(type) == (size), #type " is what is sent")

/* The descriptor at which the relay finds its end of the socket pair. */
#define EVPUB_RELAY_FD 3

/* The longest payload either side accepts, in bytes. */
#define EVPUB_FRAME_MAX (64 * 1024 * 1024)

/* The relay shows this often that it lives. */
#define EVPUB_HEARTBEAT_MS 2000

/* A quiet end: without an acknowledgement for so long; and in all. */
#define EVPUB_QUIET_MS 500
#define EVPUB_QUIET_LONGEST_MS 1000

typedef struct EvpubFrameHeader
{
	uint32_t	length;			/* of the payload, this header excluded */
	uint8_t		type;			/* EvpubFrameType */
	uint8_t		version;		/* EVPUB_PROTOCOL_VERSION */
	uint16_t	zero;
} EvpubFrameHeader;

EVPUB_FRAME_HAS_SIZE(EvpubFrameHeader, 8);

typedef enum EvpubFrameType
{
	/* ---- worker to relay ---- */

	/*
	 * First frame.  Payload: pairs of NUL-terminated strings, name and value,
	 * of EVPUB_RELAY_SETTINGS (relaysettings.h), in any order.
	 */
	EVPUB_FRAME_CONFIG = 'C',

	/*
	 * Records are read back (evpub.delivery = 'deduplicated').  Payload:
	 * EvpubFrameOrigin with the root of publisher ids; records whose id begins
	 * with it are evpub's own.  Then "count" EvpubFrameEntry: publisher ids whose
	 * history was left at an LSN.  Comes right after CONFIG, or never: then nothing
	 * is read back.
	 */
	EVPUB_FRAME_ORIGIN = 'R',

	/*
	 * A topic that records will name by its number.  Payload: EvpubFrameTopic
	 * with the pinned partition count, then the name without a NUL.  Comes
	 * before the first record that uses the number.
	 *
	 * A count of 0 (EVPUB_FRAME_TOPIC_NEW): never published to, so it may be
	 * created.  -1 (EVPUB_FRAME_TOPIC_UNPINNED): it was published to, so it is
	 * never created, but a person has accepted that it was made again.  In both
	 * cases the relay reports the count that it finds and sends no record of
	 * the topic before this frame comes again with that count: by then the
	 * worker has made it durable.  That second frame may stand behind records
	 * that wait for it, so the relay looks ahead for it; the worker sends no
	 * more than EVPUB_FRAME_AHEAD bytes, and the batch that exceeds them,
	 * before it.
	 *
	 * After ORIGIN: before the first record goes to a partition, the relay reads
	 * what is in it behind the offset that the worker has given (OFFSET; none:
	 * from its beginning) and reports that (FOUND); it waits for TAIL.  It begins
	 * when READ_BACK says that all offsets of the topic have come.  A topic
	 * that was new or unpinned, and has its count now for the first time, need not
	 * be read: READ_BACK does not come, mostly.
	 *
	 * The frame comes again, too, when a grown count is to be adopted; the
	 * worker sends that only while nothing is in flight.
	 */
	EVPUB_FRAME_TOPIC = 'T',

	/*
	 * The last acknowledged offset of a partition, from before this relay.
	 * Payload: EvpubFrameOffset.  An acknowledgement below it means that the
	 * topic was deleted and made again.  For a partition that was never written
	 * to it is the one in front of its end when the topic was pinned.
	 */
	EVPUB_FRAME_OFFSET = 'O',

	/*
	 * All OFFSET frames of a topic have come, behind a TOPIC frame with a count:
	 * its partitions are to be read back, those that were not yet.  Payload:
	 * EvpubFramePartition with partition -1.  Comes only after ORIGIN.  A partition
	 * of a topic for which it has not come is written to without being read.
	 *
	 * Behind a TOPIC frame without a count it means that the topic is read from its
	 * beginning as soon as it has its count, and no ends of its partitions are
	 * reported.  That must not wait until the count has come: the batch in hand could
	 * go out between the TOPIC frame with the count and this one.  (Where a count
	 * grows, nothing is on its way.)
	 */
	EVPUB_FRAME_READ_BACK = 'r',

	/*
	 * The answer to FOUND.  Payload: EvpubFrameFound with the ids that are
	 * dropped: one of kind EVPUB_FOUND_TAIL at most, and then any number of kind
	 * EVPUB_FOUND_EXACT.  Records of this partition from now on:
	 *
	 * - Whose id is exactly one of those is dropped.
	 * - With a tail: whose number is below EVPUB_FRAME_GAP_NUMBERS, and whose LSN
	 *   and number (EVPUB_FRAME_ID_ORDER_AT) are not above those of the tail, is
	 *   dropped.  The one that has exactly the id of the tail meets it (MET).  One
	 *   with such a number and above the tail, while that is not met, is not sent:
	 *   the relay reports PASSED, once, and waits for another TAIL frame of this
	 *   partition.
	 *
	 * What is dropped counts as acknowledged, without an offset.
	 *
	 * The frame may stand behind records.  So from FOUND or PASSED on, the relay
	 * takes frames in ahead of their turn until it comes.  That is bounded by the
	 * worker, which takes in what the relay has sent after each
	 * EVPUB_FRAME_TURN bytes of records, and answers at once: what stands before
	 * the answer is so much, and a batch, and what the socket holds.
	 */
	EVPUB_FRAME_TAIL = 't',

	/*
	 * Records.  Payload: EvpubFrameBatch, then the records, each an
	 * EvpubFrameRecord, the event id (EVPUB_FRAME_ID_LENGTH bytes), the key,
	 * the value and the encoded headers (each: uint32 length, name, uint32
	 * length, value), unpadded.
	 * The relay adds the header "evpub-id" with the event id.
	 */
	EVPUB_FRAME_BATCH = 'B',

	/*
	 * How many bytes may be in flight to a partition, since its broker has
	 * refused larger batches.  Payload: EvpubFrameOffset, whose offset is the
	 * number of bytes; 0: as many as there are.  One record may always be in
	 * flight, however large.  Comes after the topic's TOPIC frame.
	 */
	EVPUB_FRAME_LIMIT = 'L',

	/* ---- relay to worker ---- */

	/*
	 * First frame.  Payload: version of librdkafka as text.  If the Kafka
	 * settings name files: then a NUL, and for each file its path and its
	 * evpub_filemark() from before it was read, each with a NUL.  Sent as soon
	 * as the producer exists, whether or not a broker answers.
	 */
	EVPUB_FRAME_HELLO = 'H',

	/*
	 * A broker has answered for the first time.  No payload.
	 */
	EVPUB_FRAME_ANSWERED = 'b',

	/*
	 * The partition count of a topic, learned from the cluster.  Payload:
	 * EvpubFrameTopic, without a name.  For a topic without a pinned count the
	 * relay waits until a TOPIC frame brings this count; for a pinned one it
	 * goes on with the pinned count and only reports that the topic has grown.
	 * EVPUB_FRAME_TOPIC_UNPINNED: the topic was deleted and made again; comes
	 * before the FAILED frame.
	 *
	 * After ORIGIN, behind the first count of a topic that is new or unpinned: an
	 * ACKED_OFFSET frame without an id for each partition that is not empty, with
	 * the offset in front of its end.
	 */
	EVPUB_FRAME_PARTITIONS = 'P',

	/*
	 * Acknowledgement.  Payload: EvpubFrameAck.  The records that it adds to those
	 * of the last one were all dropped, or none of them was.
	 */
	EVPUB_FRAME_ACK = 'A',

	/*
	 * Newest acknowledged offset of a partition, and the id of its record.
	 * Payload: EvpubFrameAcked.  Comes before the ACK that covers it, but behind the
	 * ACK that covers what was dropped of the partition; not more than one a partition
	 * for each ACK.  One that was not settled then comes when it is, without an ACK.
	 */
	EVPUB_FRAME_ACKED_OFFSET = 'o',

	/*
	 * What was read back of a partition.  Payload: EvpubFrameFound.  Of evpub's
	 * own records: for each publisher id the one with the highest LSN and number
	 * (EVPUB_FOUND_EVENT), and if ORIGIN says that its history was left, that of
	 * those whose LSN is not above that place, and that of the others; each
	 * announcement of a gap, whose number is not below EVPUB_FRAME_GAP_NUMBERS,
	 * the newest EVPUB_FOUND_MOST of them (EVPUB_FOUND_GAP); each dead letter,
	 * which has the header "evpub-error-code", the newest EVPUB_FOUND_MOST
	 * (EVPUB_FOUND_DEAD_LETTER).
	 */
	EVPUB_FRAME_FOUND = 'f',

	/*
	 * The tail of a partition was met; and: it was passed without being met.
	 * Payload: EvpubFramePartition.
	 */
	EVPUB_FRAME_MET = 'm',
	EVPUB_FRAME_PASSED = 'p',

	/*
	 * What hinders publishing right now, for evpub.status.  Payload: text, with
	 * a hint after a line feed where there is one,
	 * empty when the hindrance is over.  The relay goes on trying.
	 */
	EVPUB_FRAME_TROUBLE = 'S',

	/*
	 * The largest batch that a topic takes, its max.message.bytes.  Payload:
	 * EvpubFrameOffset with partition -1, whose offset is the number of bytes.
	 * Comes when it becomes known and when it changes; never, if the user may
	 * not ask for it.
	 */
	EVPUB_FRAME_TOPIC_SIZE = 's',

	/*
	 * What the relay has done, for the server's log.  Payload: text.
	 */
	EVPUB_FRAME_NOTE = 'N',

	/*
	 * The relay's event loop runs: every EVPUB_HEARTBEAT_MS, whatever else it
	 * does.  No payload.
	 */
	EVPUB_FRAME_HEARTBEAT = 'h',

	/*
	 * The relay cannot go on and exits after this frame.  Payload:
	 * EvpubFrameFailed, then text as of TROUBLE.  All acknowledgements that
	 * the relay has got come before it.
	 */
	EVPUB_FRAME_FAILED = 'F'
} EvpubFrameType;

typedef enum EvpubFrameFailure
{
	EVPUB_FAILURE_RETRY = 'r',	/* a new relay may help: replay after a pause */
	EVPUB_FAILURE_CONFIG = 'c', /* settings or file refused: wait for a change,
								 * but try again now and then */
	EVPUB_FAILURE_TOPIC = 't',	/* topic was deleted and made again: wait for
								 * evpub.resume() */
	EVPUB_FAILURE_RECORD = 'e'	/* records were refused for what they are, by
								 * size or as invalid */
} EvpubFrameFailure;

#define EVPUB_FRAME_ID_LENGTH 51

/* Of an id: the root, where LSN and number begin, and where the number does. */
#define EVPUB_FRAME_ROOT_LENGTH 8
#define EVPUB_FRAME_ID_ORDER_AT 26
#define EVPUB_FRAME_ID_NUMBER_AT 43

/* Numbers from here on are those of evpub.gap events. */
#define EVPUB_FRAME_GAP_NUMBERS 0xF0000000U

/* More partitions no topic has: a larger count is nonsense. */
#define EVPUB_FRAME_PARTITIONS_MAX 1000000

/*
 * No partition has records up to here.  Who takes an offset from a file, from WAL, from
 * a frame or from a broker refuses a larger one, so that one can be added to each.
 */
#define EVPUB_FRAME_OFFSET_MAX (INT64_MAX / 2)

/* Counts of a TOPIC frame that say that there is none. */
#define EVPUB_FRAME_TOPIC_NEW 0
#define EVPUB_FRAME_TOPIC_UNPINNED (-1)

/* Bytes of records that the worker sends ahead of a count that is waited for. */
#define EVPUB_FRAME_AHEAD (512 * 1024)

/* Bytes of records that the worker sends before it looks at what the relay says. */
#define EVPUB_FRAME_TURN (1024 * 1024)

/* EvpubFrameFailed.topic when the failure is not about a topic */
#define EVPUB_FRAME_NO_TOPIC UINT32_MAX

/*
 * Why the relay ends.  A broker refuses a whole batch, so several records may
 * have failed together, and only one of them may be to blame: count and bytes
 * are about the records of one partition that were refused together, and the
 * failed records are among those from first to last, also of other partitions.
 */
typedef struct EvpubFrameFailed
{
	uint8_t		kind;			/* EvpubFrameFailure */
	uint8_t		size;			/* 1: the records, or their batch, are too large */
	uint16_t	zero;
	int32_t		code;			/* librdkafka's; 0: none */
	uint32_t	topic;			/* number, or EVPUB_FRAME_NO_TOPIC */
	int32_t		partition;		/* -1: none */
	uint64_t	bytes;			/* about how large they are together */
	uint64_t	first;			/* sequence numbers; 0: no record has failed */
	uint64_t	last;
	uint32_t	count;			/* of records that were refused together */
	char		first_id[EVPUB_FRAME_ID_LENGTH];	/* all zero: none */
	char		last_id[EVPUB_FRAME_ID_LENGTH];
	uint16_t	also_zero[3];
} EvpubFrameFailed;

EVPUB_FRAME_HAS_SIZE(EvpubFrameFailed, 152);

typedef struct EvpubFrameTopic
{
	uint32_t	number;
	int32_t		partitions;		/* or one of the counts above */
} EvpubFrameTopic;

EVPUB_FRAME_HAS_SIZE(EvpubFrameTopic, 8);

typedef struct EvpubFrameRecord
{
	uint32_t	topic;			/* number from EVPUB_FRAME_TOPIC */
	int32_t		partition;		/* -1: by the key, and without one by the id */
	int32_t		key_len;		/* -1: no key */
	int32_t		value_len;		/* -1: tombstone */
	uint32_t	headers_len;
} EvpubFrameRecord;

EVPUB_FRAME_HAS_SIZE(EvpubFrameRecord, 20);

typedef struct EvpubFrameBatch
{
	uint64_t	first;			/* sequence number of the first record: they count
								 * up by one, across batches too, from 1 */
	uint32_t	count;
	uint32_t	zero;
} EvpubFrameBatch;

EVPUB_FRAME_HAS_SIZE(EvpubFrameBatch, 16);

typedef struct EvpubFrameAck
{
	uint64_t	sequence;		/* all records up to and including this one are in
								 * Kafka (acks=all) */
	uint64_t	dropped;		/* so many of them were dropped, since they were
								 * in Kafka before this relay began */
} EvpubFrameAck;

EVPUB_FRAME_HAS_SIZE(EvpubFrameAck, 16);

typedef struct EvpubFrameOffset
{
	uint32_t	topic;
	int32_t		partition;
	int64_t		offset;
} EvpubFrameOffset;

EVPUB_FRAME_HAS_SIZE(EvpubFrameOffset, 16);

typedef struct EvpubFrameOrigin
{
	char		root[EVPUB_FRAME_ROOT_LENGTH];	/* hexadecimal digits */
	uint32_t	count;
	uint32_t	zero;
} EvpubFrameOrigin;

EVPUB_FRAME_HAS_SIZE(EvpubFrameOrigin, 16);

typedef struct EvpubFrameEntry
{
	uint64_t	publisher_id;	/* the first 16 digits of an id */
	uint64_t	left_lsn;		/* its history was left there */
} EvpubFrameEntry;

EVPUB_FRAME_HAS_SIZE(EvpubFrameEntry, 16);

typedef struct EvpubFrameAcked
{
	uint32_t	topic;
	int32_t		partition;
	int64_t		offset;
	char		id[EVPUB_FRAME_ID_LENGTH];	/* all zero: none */
	char		zero[5];
} EvpubFrameAcked;

EVPUB_FRAME_HAS_SIZE(EvpubFrameAcked, 72);

typedef struct EvpubFramePartition
{
	uint32_t	topic;
	int32_t		partition;
} EvpubFramePartition;

EVPUB_FRAME_HAS_SIZE(EvpubFramePartition, 8);

/* What an id in a FOUND or TAIL frame is. */
typedef enum EvpubFoundKind
{
	EVPUB_FOUND_EVENT = 'e',
	EVPUB_FOUND_GAP = 'g',
	EVPUB_FOUND_DEAD_LETTER = 'd',
	EVPUB_FOUND_TAIL = 't',
	EVPUB_FOUND_EXACT = 'x'
} EvpubFoundKind;

typedef struct EvpubFrameFoundId
{
	char		kind;			/* EvpubFoundKind */
	char		id[EVPUB_FRAME_ID_LENGTH];
} EvpubFrameFoundId;

EVPUB_FRAME_HAS_SIZE(EvpubFrameFoundId, 52);

/* So many ids of one kind are reported of a partition, at most. */
#define EVPUB_FOUND_MOST 64

/* Behind it stand "count" EvpubFrameFoundId. */
typedef struct EvpubFrameFound
{
	uint32_t	topic;
	int32_t		partition;
	int64_t		end;			/* FOUND: the partition was read up to here, the
								 * offset of the next record; TAIL: 0 */
	uint32_t	count;
	uint32_t	again;			/* FOUND: 1 if the partition was read again, behind the
								 * first record that went there; TAIL: 1 if it answers
								 * that; else 0 */
} EvpubFrameFound;

EVPUB_FRAME_HAS_SIZE(EvpubFrameFound, 24);

#endif							/* EVPUB_FRAME_H */
