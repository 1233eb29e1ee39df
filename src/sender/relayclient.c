/*
 * relayclient.c
 *		Starts, feeds and ends evpub-relay.
 *
 * librdkafka, OpenSSL and SASL live in a program of their own: a crash in a
 * background worker restarts every session of the cluster, a crash in the
 * relay costs one replay.  It must die with the worker, or two of them could
 * write: the kernel kills it when its parent ends (PR_SET_PDEATHSIG), and it
 * ends itself at the end of file of its socket.
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "miscadmin.h"
#include "port.h"
#include "utils/memutils.h"

#include "sender/relayclient.h"
#include "sender/relayplace.h"

#define RELAY_PROGRAM_NAME "evpub-relay"
#define SOCKET_BUFFER (512 * 1024)
#define READ_CHUNK (64 * 1024)

/* The relay sends nothing longer: names of some hundred topics are the most. */
#define LONGEST_REPLY (1024 * 1024)

/* More than the relay takes for a quiet end, so that its last words come. */
#define LEAVE_MS (EVPUB_QUIET_LONGEST_MS + 250)

/*
 * A worker that was busy elsewhere, or stopped, has not listened meanwhile: so
 * much of the time between two looks, in ms, counts as silence.
 */
#define SILENCE_STEP 1500

/*
 * What the relay gets of the server's environment, a "*" for any ending: how
 * programs are found and loaded, locale and time zone, and what librdkafka's
 * libraries look at (Kerberos, SASL, OpenSSL, libcurl's proxies, the
 * resolver).  Nothing else: there may be other programs' passwords in it.
 */
static const char *const environment[] = {
	"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LD_*", "GLIBC_TUNABLES",
	"MALLOC_*", "LANG", "LANGUAGE", "LC_*", "TZ", "TZDIR",
	"KRB5*", "GSS_*", "SASL_*", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"SSLKEYLOGFILE", "OPENSSL_*", "CURL_CA_BUNDLE",
	"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
	"no_proxy", "NO_PROXY", "RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES"
};

extern char **environ;

void
evpub_relay_init(EvpubRelay *relay)
{
	memset(relay, 0, sizeof(*relay));
	relay->socket = PGINVALID_SOCKET;
	relay->context = AllocSetContextCreate(CurrentMemoryContext, "evpub relay",
										   ALLOCSET_DEFAULT_SIZES);
}

static void
close_from(int first)
{
#ifdef SYS_close_range
	if (syscall(SYS_close_range, first, ~0U, 0) == 0)
		return;
#endif
	for (int fd = first; fd < 65536; fd++)
		close(fd);
}

/* Is this "NAME=value" for the relay? */
static bool
passes(const char *variable)
{
	const char *end = strchr(variable, '=');

	for (int i = 0; end && i < (int) lengthof(environment); i++)
	{
		size_t		length = strlen(environment[i]);

		if (environment[i][length - 1] == '*' ?
			strncmp(variable, environment[i], length - 1) == 0 :
			(size_t) (end - variable) == length &&
			strncmp(variable, environment[i], length) == 0)
			return true;
	}
	return false;
}

/* Before fork(): the child must not allocate. */
static char **
choose_environment(void)
{
	char	  **chosen;
	int			n = 0;

	while (environ[n])
		n++;
	chosen = palloc(sizeof(char *) * (n + 1));
	n = 0;
	for (char **variable = environ; *variable; variable++)
	{
		if (passes(*variable))
			chosen[n++] = *variable;
	}
	chosen[n] = NULL;
	return chosen;
}

/*
 * In the child.  Only calls that are safe after fork(): nothing that
 * allocates, logs or runs exit handlers, which are the worker's.  Signals are
 * blocked, since their handlers are the worker's, too; the program ignores
 * from its first moment on what ends the worker's process group.
 */
static void
run_child(const char *path, char **variables, int socket, pid_t worker)
{
	static const int ignored[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGPIPE
	};
	const struct rlimit no_core = {0, 0};
	sigset_t	none;
	char	   *arguments[] = {RELAY_PROGRAM_NAME, NULL};
	int			null;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != worker)
		_exit(0);				/* the worker ended before the call above */
	null = open("/dev/null", O_RDWR);
	if (null >= 0)
	{
		dup2(null, 0);
		dup2(null, 1);
	}
	if (socket != EVPUB_RELAY_FD)
		dup2(socket, EVPUB_RELAY_FD);
	else
		fcntl(socket, F_SETFD, 0);
	close_from(EVPUB_RELAY_FD + 1);

	/* a core would show passwords */
	(void) setrlimit(RLIMIT_CORE, &no_core);
	for (int i = 0; i < (int) lengthof(ignored); i++)
		(void) signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(path, arguments, variables);
	_exit(127);
}

/* Can the program be executed?  If not, errno says why. */
static bool
executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return false;
	if (!S_ISREG(st.st_mode))
	{
		errno = EACCES;
		return false;
	}
	return access(path, X_OK) == 0;
}

/* fork(), with all signals blocked in the child. */
static pid_t
fork_blocked(void)
{
	sigset_t	all;
	sigset_t	old;
	pid_t		pid;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid != 0)
	{
		int			saved_errno = errno;

		sigprocmask(SIG_SETMASK, &old, NULL);
		errno = saved_errno;
	}
	return pid;
}

bool
evpub_relay_start(EvpubRelay *relay, char **error, char **hint)
{
	char		path[MAXPGPATH];
	int			pair[2];
	int			size = SOCKET_BUFFER;
	MemoryContext old;
	pid_t		pid;
	pid_t		worker = getpid();
	char	  **variables = choose_environment();

	Assert(relay->pid == 0);
	evpub_relay_place(path);
	*hint = EVPUB_RELAY_PLACE_HINT;
	if (!executable(path))
	{
		*error = psprintf("could not execute \"%s\": %m", path);
		return false;
	}
	*hint = "";
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
	{
		*error = psprintf("could not create a socket pair: %m");
		return false;
	}
	(void) fcntl(pair[0], F_SETFD, FD_CLOEXEC);
	(void) setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (!pg_set_noblock(pair[0]) || (pid = fork_blocked()) < 0)
	{
		*error = psprintf("could not start the relay: %m");
		close(pair[0]);
		close(pair[1]);
		return false;
	}
	if (pid == 0)
		run_child(path, variables, pair[1], worker);
	close(pair[1]);
	pfree(variables);

	MemoryContextReset(relay->context);
	old = MemoryContextSwitchTo(relay->context);
	initStringInfo(&relay->out);
	initStringInfo(&relay->in);
	MemoryContextSwitchTo(old);
	relay->sent = 0;
	relay->put = 0;
	relay->reads_back = false;
	relay->awaited = 0;
	relay->pid = pid;
	relay->socket = pair[0];
	relay->leaving = false;
	relay->unasked = false;
	relay->looked_at = 0;
	relay->silent = 0;
	return true;
}

void
evpub_relay_stop(EvpubRelay *relay)
{
	if (relay->socket != PGINVALID_SOCKET)
		close(relay->socket);
	relay->socket = PGINVALID_SOCKET;
	relay->leaving = false;
	relay->silent = 0;
	if (relay->pid > 0)
		kill(relay->pid, SIGKILL);
}

void
evpub_relay_leave(EvpubRelay *relay)
{
	if (relay->socket == PGINVALID_SOCKET || relay->leaving)
		return;

	/* the rest of a frame that was begun is missing, so it is not taken */
	resetStringInfo(&relay->out);
	relay->sent = 0;
	(void) shutdown(relay->socket, SHUT_WR);
	relay->leaving = true;
	relay->leave_until = evpub_clock_now() + LEAVE_MS;
}

bool
evpub_relay_gone(EvpubRelay *relay, int *status)
{
	int			child_status;
	pid_t		reaped;

	/* any child: a program that the relay ran (kinit) is ours when the relay ends */
	while ((reaped = waitpid(-1, &child_status, WNOHANG)) > 0)
	{
		if (reaped != relay->pid)
			continue;
		relay->pid = 0;
		*status = child_status;
	}
	if (reaped < 0 && errno == ECHILD)
		relay->pid = 0;
	return relay->pid == 0;
}

void
evpub_relay_put(EvpubRelay *relay, EvpubFrameType type, const void *data,
				uint32 length)
{
	EvpubFrameHeader header;

	if (relay->leaving)
		return;					/* it takes nothing any more */
	memset(&header, 0, sizeof(header));
	header.length = length;
	header.type = type;
	header.version = EVPUB_PROTOCOL_VERSION;
	appendBinaryStringInfo(&relay->out, (char *) &header, sizeof(header));
	appendBinaryStringInfo(&relay->out, data, length);
	if (type == EVPUB_FRAME_BATCH)
		relay->put += length;
}

bool
evpub_relay_may_put(const EvpubRelay *relay)
{
	return relay->awaited == 0 ||
		relay->put - relay->awaited_since < EVPUB_FRAME_AHEAD;
}

bool
evpub_relay_flush(EvpubRelay *relay)
{
	while (relay->sent < relay->out.len)
	{
		ssize_t		n = send(relay->socket, relay->out.data + relay->sent,
							 relay->out.len - relay->sent, MSG_NOSIGNAL);

		if (n < 0)
		{
			/* a broken pipe is noticed, and handled, when reading */
			if (errno == EINTR)
				continue;
			return false;
		}
		relay->sent += n;
	}
	resetStringInfo(&relay->out);
	relay->sent = 0;
	return true;
}

/* Nothing is there to be read: has it been silent while we listened? */
static void
count_silence(EvpubRelay *relay)
{
	EvpubMsec	now = evpub_clock_now();

	if (relay->looked_at != 0)
		relay->silent += Min(now - relay->looked_at, SILENCE_STEP);
	relay->looked_at = now;
}

EvpubRelayInput
evpub_relay_receive(EvpubRelay *relay, EvpubFrame *frame)
{
	StringInfo	in = &relay->in;

	for (;;)
	{
		EvpubFrameHeader header;
		ssize_t		n;

		if (in->len - in->cursor >= (int) sizeof(header))
		{
			memcpy(&header, in->data + in->cursor, sizeof(header));
			if (header.version != EVPUB_PROTOCOL_VERSION ||
				header.length > LONGEST_REPLY)
				return EVPUB_RELAY_GARBLED;
			if ((uint32) (in->len - in->cursor) >= sizeof(header) + header.length)
			{
				frame->type = header.type;
				frame->data = in->data + in->cursor + sizeof(header);
				frame->length = header.length;
				in->cursor += sizeof(header) + header.length;
				return EVPUB_RELAY_FRAME;
			}
		}

		/* keep the incomplete frame only */
		if (in->cursor > 0)
		{
			memmove(in->data, in->data + in->cursor, in->len - in->cursor);
			in->len -= in->cursor;
			in->cursor = 0;
		}
		enlargeStringInfo(in, READ_CHUNK);
		n = recv(relay->socket, in->data + in->len, READ_CHUNK, 0);
		if (n == 0)
			return EVPUB_RELAY_CLOSED;
		if (n < 0)
		{
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN || errno == EWOULDBLOCK)
			{
				count_silence(relay);
				return EVPUB_RELAY_NOTHING;
			}
			return EVPUB_RELAY_CLOSED;
		}
		in->len += n;
		relay->silent = 0;
	}
}
