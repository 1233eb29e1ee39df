/*
 * readtask.c
 *		Partitions to be read back: from the event loop to the reader's thread, and
 *		back when they are read.
 */
#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "readtask.h"
#include "relay.h"

static int	answer_fd = -1;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked;	/* on the clock of relay_now() */
static ReaderTask *questions;	/* guarded by lock */
static ReaderTask *answers;		/* guarded by lock */

void
readtask_start(void *(*run) (void *))
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&asked, &attributes);
	pthread_condattr_destroy(&attributes);
	answer_fd = relay_start_thread(run);
}

int
readtask_fd(void)
{
	return answer_fd;
}

void
readtask_ask(ReaderTask *tasks)
{
	ReaderTask *last = tasks;

	if (tasks == NULL)
		return;
	while (last->next != NULL)
		last = last->next;
	pthread_mutex_lock(&lock);
	last->next = questions;
	questions = tasks;
	pthread_cond_signal(&asked);
	pthread_mutex_unlock(&lock);
}

ReaderTask *
readtask_take(void)
{
	uint64_t	count;
	ReaderTask *result;

	if (answer_fd < 0 || read(answer_fd, &count, sizeof(count)) < 0)
		return NULL;
	pthread_mutex_lock(&lock);
	result = answers;
	answers = NULL;
	pthread_mutex_unlock(&lock);
	return result;
}

ReaderTask *
readtask_await(int64_t until)
{
	struct timespec time = {
		.tv_sec = until / 1000,
		.tv_nsec = until % 1000 * 1000000
	};
	ReaderTask *result;

	pthread_mutex_lock(&lock);
	while (questions == NULL && relay_now() < until)
	{
		if (until == RELAY_NEVER)
			pthread_cond_wait(&asked, &lock);
		else
			pthread_cond_timedwait(&asked, &lock, &time);
	}
	result = questions;
	questions = NULL;
	pthread_mutex_unlock(&lock);
	return result;
}

void
readtask_answer(ReaderTask *task)
{
	static const uint64_t one = 1;

	pthread_mutex_lock(&lock);
	task->next = answers;
	answers = task;
	pthread_mutex_unlock(&lock);
	if (write(answer_fd, &one, sizeof(one)) < 0)
		_exit(1);				/* cannot be: it holds as much as a counter */
}
