/*
 * main.c
 *		evpub-relay: hands records from evpub's background worker to Kafka.
 *
 * A program of its own, so that a crash in librdkafka, OpenSSL or SASL costs a
 * replay and not a restart of the database.  It is started by the worker with
 * one end of a socket pair at descriptor 3 and must never outlive it: a relay
 * that goes on sending beside its successor would break the order of events.
 * So it ends at once, without a farewell to the brokers, when the worker's end
 * of the socket closes; the kernel kills it when the worker dies.  It leaves
 * quietly (frame.h) when the worker only stops sending, and ignores all signals
 * by which the worker is ended: they reach its whole process group, but the
 * relay is needed until the worker has its acknowledgements.
 *
 * One event loop; no sleeps.  Whatever may block is done by librdkafka's
 * threads or in lookup.c.
 */
#define _GNU_SOURCE				/* POLLRDHUP, ppoll() */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "frames.h"
#include "lookup.h"
#include "producer.h"
#include "lookback.h"
#include "relay.h"
#include "sizes.h"
#include "survey.h"
#include "topics.h"
#include "trouble.h"

#define RELAY_VERSION "1.0"

/* How long a FAILED frame may take to reach the worker. */
#define FAREWELL_MS 5000

/* How late librdkafka's threads may wake, in ns; see start(). */
#define CLIENT_TIMER_SLACK 1000000UL

/*
 * What is received behind a batch that waits, at most.  A worker sends far less
 * (EVPUB_FRAME_AHEAD and a batch, which has one record too many at most); one
 * that does not keep to that must not take the memory of the machine.
 */
#define UNREAD_MAX ((size_t) 2 * EVPUB_FRAME_MAX)

/* Bytes: larger allocations are mapped alone; what is free is kept up to so much. */
#define MAPPED_ALONE (4 * 1024 * 1024)
#define FREE_KEPT (8 * 1024 * 1024)

/* The wall clock is taken for set back when it was by more than this. */
#define CLOCK_STEP_MS 1000

static bool started;			/* there is a producer */
static int64_t leaving_since;	/* the worker sends no more; 0: it does */
static int64_t next_heartbeat;
static int64_t wall_ahead;		/* of the monotonic clock, in ms */
static bool reports;			/* librdkafka may have events */
static int64_t set_back;		/* the wall clock was, by so many ms; 0: not */

/* Writes what waits to be written, for as long as that may take. */
static void
flush_farewell(int64_t deadline)
{
	while (frames_flush() && frames_unsent() > 0 && relay_now() < deadline)
	{
		struct pollfd fd = {.fd = EVPUB_RELAY_FD, .events = POLLOUT};

		poll(&fd, 1, (int) (deadline - relay_now()));
	}
}

/*
 * What the worker gets before the relay ends: acknowledgements first, since it
 * resumes at the first record that is not acknowledged.  They are held back
 * while much is unsent.
 */
static void
farewell(const EvpubFrameFailed *failed, char *text)
{
	int64_t		deadline = relay_now() + FAREWELL_MS;

	config_redact(text);
	if (started)
	{
		flush_farewell(deadline);
		(void) producer_report(relay_now(), true);
	}
	frames_send(EVPUB_FRAME_FAILED, failed, sizeof(*failed), text, strlen(text));
	flush_farewell(deadline);
	if (frames_unsent() > 0)
		fprintf(stderr, "evpub-relay: %s\n", text);
}

/* The worker must know which files were read, and what they were like then. */
static void
send_hello(void)
{
	const char *version = rd_kafka_version_str();
	int			count;
	const ConfigFile *files = config_files(&count);
	char	   *texts = NULL;
	size_t		length = 0;

	for (int i = 0; i < count; i++)
	{
		size_t		path_len = strlen(files[i].path) + 1;
		size_t		mark_len = strlen(files[i].mark) + 1;

		texts = relay_realloc(texts, length + path_len + mark_len);
		memcpy(texts + length, files[i].path, path_len);
		memcpy(texts + length + path_len, files[i].mark, mark_len);
		length += path_len + mark_len;
	}
	/* with the NUL of the version, if something follows */
	frames_send(EVPUB_FRAME_HELLO, version, strlen(version) + (count > 0),
				texts, length);
	free(texts);
}

static void
start(const char *payload, uint32_t length)
{
	const RelaySettings *settings = config_parse(payload, length);
	rd_kafka_conf_t *conf = config_build(settings);
	rd_kafka_conf_t *copy = rd_kafka_conf_dup(conf);
	rd_kafka_conf_t *another = rd_kafka_conf_dup(conf);
	rd_kafka_t *client;

	/*
	 * librdkafka 2.0 waits for its timers in whole milliseconds, rounded down,
	 * and spins for the rest: most of the CPU of an idle relay.  Its threads
	 * inherit that they may wake a little late, and then have nothing to spin
	 * for.  What is urgent does not come by a timer.
	 */
	prctl(PR_SET_TIMERSLACK, CLIENT_TIMER_SLACK);
	client = producer_start(conf);
	prctl(PR_SET_TIMERSLACK, 0);	/* the event loop itself wakes in time */

	trouble_start(settings->bootstrap_servers);
	topics_start(client);
	survey_start(client, settings);
	lookup_start(client, copy);
	lookback_start(another);
	started = true;
	send_hello();
}

/* Takes a frame that need not wait for its turn; false: it is another one. */
static bool
take_topic(const Frame *frame)
{
	switch (frame->type)
	{
		case EVPUB_FRAME_TOPIC:
			lookback_counted(topics_announce(frame->payload, frame->length));
			return true;
		case EVPUB_FRAME_OFFSET:
			topics_set_offset(frame->payload, frame->length);
			return true;
		case EVPUB_FRAME_READ_BACK:
			lookback_topic(frame->payload, frame->length);
			return true;
		case EVPUB_FRAME_TAIL:
			lookback_tail(frame->payload, frame->length);
			return true;
		default:
			return false;
	}
}

/*
 * The batch in hand waits for a topic or a partition.  What it waits for may have
 * come behind it: the count that the worker has made durable, or the tail.  Frames
 * about topics are taken in at once, so that the cluster is asked for all of them
 * early.  That is no change of order for the records between: a count that has grown
 * is sent by the worker only when no records are on their way, and of a partition
 * whose tail is on its way none was sent, or none but those below the one that waits.
 * True: there was such a frame.
 */
static bool
look_ahead(void)
{
	Frame frame;
	bool		any = false;

	while (frames_ahead(&frame))
		any = take_topic(&frame) || any;
	return any;
}

static void
take_frame(const Frame *frame)
{
	if (started == (frame->type == EVPUB_FRAME_CONFIG))
		relay_fail(EVPUB_FAILURE_RETRY, "unexpected frame of type %d from the server",
				   frame->type);
	switch (frame->type)
	{
		case EVPUB_FRAME_CONFIG:
			start(frame->payload, frame->length);
			break;
		case EVPUB_FRAME_ORIGIN:
			lookback_origin(frame->payload, frame->length);
			break;
		case EVPUB_FRAME_TOPIC:
		case EVPUB_FRAME_OFFSET:
		case EVPUB_FRAME_READ_BACK:
		case EVPUB_FRAME_TAIL:
			/* it may have been taken before its turn */
			if (!frames_taken())
				(void) take_topic(frame);
			break;
		case EVPUB_FRAME_LIMIT:
			topics_set_limit(frame->payload, frame->length);
			break;
		case EVPUB_FRAME_BATCH:
			producer_begin_batch(frame->payload, frame->length);
			break;
		default:
			relay_fail(EVPUB_FAILURE_RETRY,
					   "unexpected frame of type %d from the server", frame->type);
	}
}

/*
 * Handles frames until a batch cannot go on or no frame is left.  True: there
 * is more to do at once.
 */
static bool
take_frames(int64_t now)
{
	Frame frame;

	for (;;)
	{
		if (producer_has_batch())
		{
			bool		more = producer_produce(now);

			if (producer_head() != NULL || producer_closed() != NULL)
				more = look_ahead() || more;
			if (producer_has_batch())
				return more;
			frames_done();
			/* delivery reports are due before the next batch */
			return frames_unread() > 0;
		}
		if (!frames_next(&frame))
			return false;
		take_frame(&frame);
		if (!producer_has_batch())
			frames_done();
	}
}

/*
 * Is what the batch in hand waits for to be looked for behind it?  For a count or a
 * tail that the worker owes, what stands in between is bounded by the worker.  For
 * others this only lets the cluster be asked early.
 */
static bool
may_look_ahead(void)
{
	const Topic *topic = producer_head();
	const Topic *closed = producer_closed();
	bool		owed = (topic != NULL && topic->pinned == 0) ||
		(closed != NULL && producer_tail_owed());

	if (topic == NULL)
		topic = closed;
	if (frames_unread() > UNREAD_MAX)
		relay_fail(EVPUB_FAILURE_RETRY,
				   "the server sends records without end before the partition count or a tail of topic \"%s\"",
				   topic == NULL ? "" : topic->name);
	return topic != NULL && (owed || frames_unread() < EVPUB_FRAME_AHEAD);
}

static void
wait_for_events(int64_t until)
{
	struct pollfd fds[4] = {
		{.fd = EVPUB_RELAY_FD, .events = POLLRDHUP},
		{.fd = started ? producer_fd() : -1, .events = POLLIN},
		{.fd = started ? lookup_fd() : -1, .events = POLLIN},
		{.fd = lookback_fd(), .events = POLLIN}
	};
	struct timespec timeout;
	int64_t		collects = started ? producer_collects() : 0;
	int64_t		wait = INT64_MAX;	/* in microseconds */

	if (leaving_since != 0)
	{
		fds[0].events = 0;		/* it stays at the end of file */
		/* answers are not taken any more, so they would wake us for ever */
		fds[2].fd = fds[3].fd = -1;
	}
	else if (!producer_has_batch() || may_look_ahead())
		fds[0].events |= POLLIN;
	if (frames_unsent() > 0)
		fds[0].events |= POLLOUT;
	if (until != RELAY_NEVER)
	{
		wait = until - relay_now();
		wait = wait < 0 ? 0 : wait > 60000 ? 60000000 : wait * 1000;
	}
	if (collects > 0)
	{
		fds[1].fd = -1;
		wait = relay_earlier(wait, collects);
	}
	timeout.tv_sec = wait / 1000000;
	timeout.tv_nsec = wait % 1000000 * 1000;
	/* poll() takes no more entries than this process may have files open */
	if (ppoll(fds, lookback_fd() < 0 ? 3 : 4, wait == INT64_MAX ? NULL : &timeout, NULL) < 0 &&
		errno != EINTR)
	{
		fprintf(stderr, "evpub-relay: poll: %s\n", strerror(errno));
		_exit(1);
	}
	reports = fds[1].revents != 0 || (collects > 0 && producer_collects() == 0);
	if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
		_exit(0);
	if (leaving_since == 0 &&
		((fds[0].revents & POLLRDHUP) ||
		 ((fds[0].revents & POLLIN) && !frames_receive())))
		leaving_since = relay_now();
}

/*
 * Asks the cluster what there is to ask, and reports to the worker how far that
 * is.  Returns when there is more to do.
 */
static int64_t
look_after_topics(int64_t now)
{
	int64_t		waiting_since = producer_waiting_since();
	bool		stuck = waiting_since != RELAY_NEVER &&
		now - waiting_since >= TROUBLE_STUCK_MS;
	int64_t		until = relay_earlier(survey_work(now, producer_head(), stuck),
									  sizes_work(now));
	const Topic *cause = producer_head();
	const Topic *closed = producer_closed();
	const char *text = "";

	/* an answer may just have made it ready */
	if (cause != NULL && cause->state == TOPIC_READY)
		until = now;
	until = relay_earlier(until, lookback_work(now));
	if (cause == NULL && waiting_since != RELAY_NEVER)
		cause = survey_vanished();
	if (cause != NULL)
		text = cause->trouble;
	if (text[0] == '\0')
		text = lookback_trouble(closed != NULL ? closed : cause,
								producer_closed_partition(), now);
	until = relay_earlier(until, producer_report(now, false));
	if (waiting_since != RELAY_NEVER && now - waiting_since > PRODUCER_GIVE_UP_MS)
		relay_fail(EVPUB_FAILURE_RETRY, "no acknowledgement for an hour: beginning anew");
	return relay_earlier(until,
						 trouble_report(now, text, waiting_since));
}

static int64_t
wall_clock_ahead(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000 - relay_now();
}

/*
 * librdkafka's threads wait until a time of the wall clock.  When that is set
 * back, they sleep for as long in addition, and do not connect again, for example.
 * No call wakes them.  So the relay begins anew.  A clock that is set forward only
 * ends such waits early.
 */
static void
look_at_clock(int64_t now)
{
	int64_t		ahead = wall_clock_ahead();

	if (started && leaving_since == 0 && wall_ahead - ahead > CLOCK_STEP_MS)
	{
		set_back = wall_ahead - ahead;
		leaving_since = now;
	}
	wall_ahead = ahead;
}

/*
 * The worker must not take a relay for hung because it has much to do, nor for
 * alive because one of its threads is: so the event loop sends this.  It need not
 * be sent while the worker has not read what was sent before, since that shows as
 * well that the relay lives.
 */
static int64_t
heartbeat(int64_t now)
{
	if (now >= next_heartbeat)
	{
		if (frames_unsent() == 0)
			frames_send(EVPUB_FRAME_HEARTBEAT, "", 0, NULL, 0);
		next_heartbeat = now + EVPUB_HEARTBEAT_MS;
		look_at_clock(now);
	}
	return next_heartbeat;
}

static void __attribute__((noreturn))
go(void)
{
	if (set_back != 0)
		relay_fail(EVPUB_FAILURE_RETRY,
				   "the wall clock was set back by %lld s: the relay begins anew\nNothing: it goes on by itself. Look at what sets this machine's clock.",
				   (long long) (set_back / 1000));
	_exit(0);
}

/*
 * A turn of the event loop on the way out: nothing more is sent.  Ends the
 * process when all that was sent is acknowledged and reported, or nothing more
 * comes; else returns when to look again.
 */
static int64_t
leave(void)
{
	int64_t		now = relay_now();
	int64_t		progress = leaving_since;
	int64_t		deadline;
	bool		in_flight;

	if (!started)
		_exit(0);
	(void) producer_report(now, true);
	in_flight = producer_waiting_since() != RELAY_NEVER;
	if (in_flight && producer_waiting_since() > progress)
		progress = producer_waiting_since();
	deadline = relay_earlier(leaving_since + EVPUB_QUIET_LONGEST_MS,
							 progress + EVPUB_QUIET_MS);
	if (!frames_flush() || now >= deadline ||
		(!in_flight && frames_unsent() == 0))
		go();
	return deadline;
}

static void __attribute__((noreturn))
run(void)
{
	for (;;)
	{
		int64_t		now = relay_now();
		int64_t		until = heartbeat(now);

		if (started)
			until = relay_earlier(until, producer_serve(now, reports));
		if (leaving_since != 0)
		{
			wait_for_events(relay_earlier(until, leave()));
			continue;
		}
		if (take_frames(now))
			until = now;
		if (started)
			until = relay_earlier(until, look_after_topics(now));
		if (!frames_flush())
			_exit(0);
		wait_for_events(until);
	}
}

/*
 * Passwords are in memory.  The worker has set the limit of core files to 0,
 * which does not hold where cores are piped to a program: so there is nothing
 * in them.
 */
static void
keep_memory_out_of_cores(void)
{
	FILE	   *filter = fopen("/proc/self/coredump_filter", "w");

	if (filter == NULL)
		return;
	fputs("0", filter);
	fclose(filter);
}

/*
 * librdkafka allocates a megabyte for each request that it builds and frees it when
 * it is answered.  malloc() would give such memory back to the kernel at once, and the
 * kernel would clear the same pages again for the next request.  So that much of what
 * is free is kept.
 */
static void
keep_memory(void)
{
	/* librdkafka's threads free what others allocated: more arenas, more waste */
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_MMAP_THRESHOLD, MAPPED_ALONE);
	mallopt(M_TRIM_THRESHOLD, FREE_KEPT);
	mallopt(M_TOP_PAD, 1024 * 1024);
}

static void
check_socket(void)
{
	struct stat st;
	struct pollfd fd = {.fd = EVPUB_RELAY_FD, .events = 0};

	if (fstat(EVPUB_RELAY_FD, &st) != 0 || !S_ISSOCK(st.st_mode))
	{
		fprintf(stderr,
				"evpub-relay: descriptor %d is not a socket: this program is started by evpub's background worker\n",
				EVPUB_RELAY_FD);
		exit(2);
	}
	/* the worker may have died before the prctl */
	if (poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP))
		exit(0);
}

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--version") == 0)
	{
		printf("evpub-relay %s (librdkafka %s)\n", RELAY_VERSION,
			   rd_kafka_version_str());
		return 0;
	}
	if (argc > 1)
	{
		fprintf(stderr, "usage: evpub-relay [--version]\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	check_socket();
	keep_memory_out_of_cores();

	/* sent to the worker's process group, but not for us */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGALRM, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);

	keep_memory();

	frames_open(EVPUB_RELAY_FD);
	relay_at_failure(farewell);
	wall_ahead = wall_clock_ahead();
	run();
}
