/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/relay.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vfio-migrate/connect.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "wire/wire.h"

#define BUFFER_SIZE (1u << 16)
#define CONNECT_MS  10000

enum end { SOURCE, TARGET, ENDS };

struct passing {
	struct relay *relay;
	int fd[ENDS];
	bool held;
	uint64_t rest;                  /* bytes of the frame under way behind its header */
	size_t got;                     /* bytes of a header */
	uint8_t header[WIRE_HEADER_SIZE];
	uint8_t buffer[BUFFER_SIZE];
};

static void tell(struct relay *relay, bool *what)
{
	pthread_mutex_lock(&relay->lock);
	*what = true;
	pthread_cond_broadcast(&relay->change);
	pthread_mutex_unlock(&relay->lock);
}

static bool send_all(int fd, const uint8_t *data, size_t size)
{
	while (size) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		size -= (size_t)n;
	}
	return true;
}

static uint32_t little(const uint8_t *bytes)
{
	return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* A header is complete: pass it on, or hold from here on. */
static bool take_header(struct passing *p)
{
	if ((p->header[2] | p->header[3] << 8) == p->relay->hold) {
		p->held = true;
		tell(p->relay, &p->relay->held);
		return true;
	}
	p->got = 0;
	p->rest = (uint64_t)little(p->header + 12) + little(p->header + 16);
	return send_all(p->fd[SOURCE], p->header, WIRE_HEADER_SIZE);
}

/* What the target says, frame by frame. */
static bool pass_frames(struct passing *p, const uint8_t *data, size_t size)
{
	bool ok = true;

	while (ok && size && !p->held) {
		size_t n = p->rest ? MIN(size, p->rest) : MIN(size, WIRE_HEADER_SIZE - p->got);

		if (p->rest) {
			ok = send_all(p->fd[SOURCE], data, n);
			p->rest -= n;
		} else {
			memcpy(p->header + p->got, data, n);
			p->got += n;
			ok = p->got < WIRE_HEADER_SIZE || take_header(p);
		}
		data += n;
		size -= n;
	}
	return ok;
}

/* False: this end has hung up. */
static bool pass(struct passing *p, enum end from)
{
	ssize_t n = recv(p->fd[from], p->buffer, sizeof(p->buffer), 0);

	if (n <= 0)
		return n < 0 && errno == EINTR;
	return from == TARGET ? pass_frames(p, p->buffer, (size_t)n)
			      : send_all(p->fd[TARGET], p->buffer, (size_t)n);
}

static void pass_on(struct passing *p)
{
	struct pollfd fds[ENDS] = {{p->fd[SOURCE], POLLIN, 0}, {p->fd[TARGET], POLLIN, 0}};
	bool ok = true;
	unsigned end;

	while (ok && poll(fds, ENDS, -1) > 0)
		for (end = 0; ok && end < ENDS; end++)
			if (fds[end].revents)
				ok = pass(p, end);
}

static int accept_one(struct relay *relay)
{
	struct pollfd pollfd = {relay->listener, POLLIN, 0};

	while (poll(&pollfd, 1, -1) < 0 && errno == EINTR)
		continue;
	return vfm_accept(relay->listener);
}

/* Ends when one end has hung up, or the listener was shut down. */
static void *run(void *arg)
{
	struct relay *relay = arg;
	struct passing *p = calloc(1, sizeof(*p));

	if (p) {
		p->relay = relay;
		p->fd[SOURCE] = accept_one(relay);
		p->fd[TARGET] = p->fd[SOURCE] < 0 ? -1 :
						    vfm_connect(relay->target, CONNECT_MS, NULL, 0);
		if (p->fd[TARGET] >= 0)
			pass_on(p);
		if (p->fd[TARGET] >= 0)
			close(p->fd[TARGET]);
		if (p->fd[SOURCE] >= 0)
			close(p->fd[SOURCE]);
		free(p);
	}
	tell(relay, &relay->ended);
	return NULL;
}

static void init_lock(struct relay *relay)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&relay->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&relay->change, &attr);
	pthread_condattr_destroy(&attr);
}

int relay_start(struct relay *relay, const char *target, uint16_t hold)
{
	int ret;

	memset(relay, 0, sizeof(*relay));
	relay->hold = hold;
	snprintf(relay->target, sizeof(relay->target), "%s", target);
	relay->listener = vfm_listen("tcp:127.0.0.1:0", NULL, 0);
	if (relay->listener < 0)
		return relay->listener;
	init_lock(relay);
	ret = vfm_listen_address(relay->listener, relay->address, sizeof(relay->address));
	if (!ret)
		ret = -pthread_create(&relay->thread, NULL, run, relay);
	if (ret)
		close(relay->listener);
	return ret;
}

int relay_await_hold(struct relay *relay, int timeout_ms)
{
	uint64_t until = clock_ns() + (uint64_t)timeout_ms * NS_PER_MSEC;
	struct timespec ts = {(time_t)(until / NS_PER_SEC), (long)(until % NS_PER_SEC)};
	int ret = 0;

	pthread_mutex_lock(&relay->lock);
	while (!relay->held && !relay->ended && !ret)
		ret = -pthread_cond_timedwait(&relay->change, &relay->lock, &ts);
	if (!ret && !relay->held)
		ret = -ECONNRESET;
	pthread_mutex_unlock(&relay->lock);
	return ret;
}

void relay_stop(struct relay *relay)
{
	shutdown(relay->listener, SHUT_RDWR); /* wakes accept_one */
	pthread_join(relay->thread, NULL);
	close(relay->listener);
	pthread_cond_destroy(&relay->change);
	pthread_mutex_destroy(&relay->lock);
}
