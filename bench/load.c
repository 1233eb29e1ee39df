/*
 * load.c
 *		Writers whose CPU is known.
 *
 *	load CONNINFO CONNECTIONS TRANSACTIONS RATE STATEMENT [UNCOUNTED]
 *
 * Runs STATEMENT TRANSACTIONS times, each a transaction of its own, over so many
 * connections; every {n} in it becomes the running number of the transaction,
 * and {n%1000} that number modulo 1000.  RATE is transactions a second over all
 * connections, 0: as fast as they go.  UNCOUNTED transactions (one for each
 * connection, if that is more) come before those that are counted, so that
 * caches are filled.  Prints "TRANSACTIONS seconds microseconds": how long it
 * took, and the CPU of all backends for one transaction, from their schedstat,
 * which counts in nanoseconds.  The server has to be on this machine.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

#define PROGRAM "load"
#include "common.h"

#define MOST 1024

static PGconn *conns[MOST];
static struct pollfd fds[MOST];
static int	busy[MOST];
static int	connections;
static long number;				/* of the last transaction that was sent */
static const char *statement;

/* CPU of all backends, in seconds.  They are idle, so the figure is exact. */
static double
backends_cpu(void)
{
	double		sum = 0;

	for (int i = 0; i < connections; i++)
	{
		char		path[64];
		double		ns;
		FILE	   *file;

		snprintf(path, sizeof(path), "/proc/%d/schedstat", PQbackendPID(conns[i]));
		file = fopen(path, "r");
		if (!file || fscanf(file, "%lf", &ns) != 1)
			die(path, "cannot be read");
		fclose(file);
		sum += ns / 1e9;
	}
	return sum;
}

static void
send_next(int i)
{
	char		sql[8192];
	size_t		used = 0;

	number++;
	for (const char *at = statement; *at;)
	{
		if (used + 24 > sizeof(sql))
			die("statement", "too long");
		if (strncmp(at, "{n}", 3) == 0)
		{
			used += (size_t) snprintf(sql + used, 24, "%ld", number);
			at += 3;
		}
		else if (strncmp(at, "{n%", 3) == 0)
		{
			char	   *end;
			long		modulus = strtol(at + 3, &end, 10);

			if (modulus < 1 || *end != '}')
				die("statement", "{n% without a number and a brace");
			used += (size_t) snprintf(sql + used, 24, "%ld", number % modulus);
			at = end + 1;
		}
		else
			sql[used++] = *at++;
	}
	sql[used] = '\0';
	if (!PQsendQuery(conns[i], sql))
		die("query", PQerrorMessage(conns[i]));
	busy[i] = 1;
}

static void
receive(int i)
{
	PGresult   *result;

	if (!PQconsumeInput(conns[i]))
		die("connection", PQerrorMessage(conns[i]));
	while (busy[i] && !PQisBusy(conns[i]))
	{
		result = PQgetResult(conns[i]);
		if (!result)
			busy[i] = 0;
		else if (PQresultStatus(result) != PGRES_COMMAND_OK &&
				 PQresultStatus(result) != PGRES_TUPLES_OK)
			die("statement", PQerrorMessage(conns[i]));
		PQclear(result);
	}
}

/* "wait" in seconds; below 0: until something comes */
static void
wait_for_answers(double wait)
{
	struct timespec ts = {(time_t) wait, (long) ((wait - (double) (time_t) wait) * 1e9)};

	for (int i = 0; i < connections; i++)
	{
		fds[i].fd = busy[i] ? PQsocket(conns[i]) : -1;
		fds[i].events = POLLIN;
	}
	if (ppoll(fds, (nfds_t) connections, wait < 0 ? NULL : &ts, NULL) < 0)
		die("ppoll", "failed");
	for (int i = 0; i < connections; i++)
		if (fds[i].fd >= 0 && fds[i].revents)
			receive(i);
}

static void
run(long transactions, double rate)
{
	double		start = seconds();
	long		sent = 0;

	for (;;)
	{
		double		wait = -1;
		int			running = 0;

		for (int i = 0; i < connections; i++)
		{
			if (!busy[i] && sent < transactions)
			{
				double		due = rate > 0 ? start + (double) sent / rate - seconds() : 0;

				if (due <= 0)
				{
					send_next(i);
					sent++;
				}
				else if (wait < 0 || due < wait)
					wait = due;
			}
			running += busy[i];
		}
		if (!running && sent == transactions)
			return;
		wait_for_answers(wait);
	}
}

int
main(int argc, char **argv)
{
	long		transactions;
	long		uncounted;
	double		cpu;
	double		start;

	if (argc != 6 && argc != 7)
		die("usage", "load CONNINFO CONNECTIONS TRANSACTIONS RATE STATEMENT [UNCOUNTED]");
	connections = atoi(argv[2]);
	transactions = atol(argv[3]);
	statement = argv[5];
	if (connections < 1 || connections > MOST || transactions < 1)
		die("arguments", "not usable");
	for (int i = 0; i < connections; i++)
	{
		conns[i] = PQconnectdb(argv[1]);
		if (PQstatus(conns[i]) != CONNECTION_OK)
			die("connection", PQerrorMessage(conns[i]));
	}
	for (int i = 0; i < connections; i++)
	{
		send_next(i);
		while (busy[i])
			wait_for_answers(-1);
	}
	uncounted = argc == 7 ? atol(argv[6]) - connections : 0;
	if (uncounted > 0)
		run(uncounted, 0);

	cpu = backends_cpu();
	start = seconds();
	run(transactions, atof(argv[4]));
	printf("%ld %.3f %.3f\n", transactions, seconds() - start,
		   (backends_cpu() - cpu) * 1e6 / (double) transactions);
	for (int i = 0; i < connections; i++)
		PQfinish(conns[i]);
	return 0;
}
