/*
 * relay.h
 *		What the relay's files get instead of the system and a cluster: included in
 *		front of each of them (relayworld.c).
 *
 * The relay is a program that lives once.  Here it begins anew for each input:
 * its end is a jump, its memory is given back, its variables are put back, its
 * clock goes forward as it waits, and no thread runs.
 */
#ifndef EVPUB_FUZZ_RELAY_H
#define EVPUB_FUZZ_RELAY_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

extern void *world_realloc(void *old, size_t size);
extern void world_free(void *pointer);
extern char *world_strdup(const char *text);
extern void world_exit(int code) __attribute__((noreturn));
extern int	world_poll(struct pollfd *fds, nfds_t count, int timeout);
extern int	world_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
						const sigset_t *mask);
extern ssize_t world_recv(int fd, void *buffer, size_t size, int flags);
extern ssize_t world_send(int fd, const void *data, size_t size, int flags);
extern int	world_clock_gettime(clockid_t clock, struct timespec *now);
extern int	world_open(const char *path, int flags);
extern FILE *world_fdopen(int fd, const char *mode);
extern int	world_fclose(FILE *file);
extern int	world_eventfd(unsigned int count, int flags);

extern void world_metadata_destroy(const struct rd_kafka_metadata *metadata);
extern rd_kafka_conf_t *world_conf_new(void);
extern rd_kafka_conf_t *world_conf_dup(const rd_kafka_conf_t *conf);
extern void world_conf_destroy(rd_kafka_conf_t *conf);
extern rd_kafka_t *world_new(rd_kafka_type_t type, rd_kafka_conf_t *conf,
							 char *why, size_t size);
extern rd_kafka_queue_t *world_queue(rd_kafka_t *client);
extern rd_kafka_event_t *world_queue_poll(rd_kafka_queue_t *queue, int timeout);
extern void world_topic_conf_set_opaque(rd_kafka_topic_conf_t *conf, void *opaque);
extern rd_kafka_topic_t *world_topic_new(rd_kafka_t *client, const char *name,
										 rd_kafka_topic_conf_t *conf);
extern void *world_topic_opaque(const rd_kafka_topic_t *topic);
extern const char *world_topic_name(const rd_kafka_topic_t *topic);
extern rd_kafka_headers_t *world_headers_new(size_t count);
extern void world_headers_destroy(rd_kafka_headers_t *headers);
extern rd_kafka_resp_err_t world_producev(rd_kafka_t *client,...);
extern rd_kafka_event_type_t world_event_type(const rd_kafka_event_t *event);
extern const rd_kafka_message_t *world_event_message_next(rd_kafka_event_t *event);
extern rd_kafka_resp_err_t world_event_error(rd_kafka_event_t *event);
extern const char *world_event_error_string(rd_kafka_event_t *event);
extern int	world_event_log(rd_kafka_event_t *event, const char **facility,
							const char **text, int *level);
extern void world_event_destroy(rd_kafka_event_t *event);
extern rd_kafka_resp_err_t world_message_headers(const rd_kafka_message_t *message,
												 rd_kafka_headers_t **headers);
extern void world_describe(rd_kafka_t *client, rd_kafka_ConfigResource_t **resources,
						   size_t count, const rd_kafka_AdminOptions_t *options,
						   rd_kafka_queue_t *queue);

#ifndef EVPUB_FUZZ_RELAYWORLD

/* the system */
#define realloc(old, size) world_realloc(old, size)
#define free(pointer) world_free(pointer)
#undef strdup
#define strdup(text) world_strdup(text)
#define _exit(code) world_exit(code)
#define exit(code) world_exit(code)
#define poll(fds, count, timeout) world_poll(fds, count, timeout)
#define ppoll(fds, count, timeout, mask) world_ppoll(fds, count, timeout, mask)
#define recv(fd, buffer, size, flags) world_recv(fd, buffer, size, flags)
#define send(fd, data, size, flags) world_send(fd, data, size, flags)
#define clock_gettime(clock, now) world_clock_gettime(clock, now)
#define open(path, flags) world_open(path, flags)
#define fdopen(fd, mode) world_fdopen(fd, mode)
#define fclose(file) world_fclose(file)
#define eventfd(count, flags) world_eventfd(count, flags)
#define prctl(...) ((void) 0)
#define signal(number, handler) ((void) 0)
#define mallopt(name, value) ((void) 0)
#define fopen(path, mode) NULL	/* of /proc/self/coredump_filter alone */

/* the cluster */
#define rd_kafka_metadata_destroy(metadata) world_metadata_destroy(metadata)
#define rd_kafka_conf_new() world_conf_new()
#define rd_kafka_conf_dup(conf) world_conf_dup(conf)
#define rd_kafka_conf_destroy(conf) world_conf_destroy(conf)
#define rd_kafka_new(type, conf, why, size) world_new(type, conf, why, size)
#define rd_kafka_queue_get_main(client) world_queue(client)
#define rd_kafka_queue_poll(queue, timeout) world_queue_poll(queue, timeout)
#define rd_kafka_topic_conf_set_opaque(conf, opaque) world_topic_conf_set_opaque(conf, opaque)
#define rd_kafka_topic_new(client, name, conf) world_topic_new(client, name, conf)
#define rd_kafka_topic_opaque(topic) world_topic_opaque(topic)
#define rd_kafka_topic_name(topic) world_topic_name(topic)
#define rd_kafka_headers_new(count) world_headers_new(count)
#define rd_kafka_headers_destroy(headers) world_headers_destroy(headers)
#define rd_kafka_producev(...) world_producev(__VA_ARGS__)
#define rd_kafka_event_type(event) world_event_type(event)
#define rd_kafka_event_message_next(event) world_event_message_next(event)
#define rd_kafka_event_error(event) world_event_error(event)
#define rd_kafka_event_error_string(event) world_event_error_string(event)
#define rd_kafka_event_log(event, facility, text, level) \
	world_event_log(event, facility, text, level)
#define rd_kafka_event_destroy(event) world_event_destroy(event)
#define rd_kafka_message_headers(message, headers) world_message_headers(message, headers)
#define rd_kafka_DescribeConfigs(client, resources, count, options, queue) \
	world_describe(client, resources, count, options, queue)

#endif

#endif							/* EVPUB_FUZZ_RELAY_H */
