/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: a unix socket that only its owner can open, and a bounded number of clients.
 * Nothing here blocks: a client that does not read is dropped when its backlog is full.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <vfio-migrate/connect.h>
#include "vmm/qmp.h"

#define READ_SIZE 16384

struct client {
	int fd; /* -1: free */
	struct qmp_session session;
};

struct qmp_server {
	struct app *app;
	char path[512];
	int fd;
	struct client client[QMP_CLIENTS_MAX];
};

int qmp_server_new(const char *path, struct app *app, struct qmp_server **out, char *why)
{
	struct qmp_server *s = calloc(1, sizeof(*s));
	char address[520];
	unsigned i;

	*out = NULL;
	if (!s || strlen(path) >= sizeof(s->path)) {
		snprintf(why, VMM_WHY_MAX, "control socket: %s", s ? "name too long" : "no memory");
		free(s);
		return -EINVAL;
	}
	s->app = app;
	for (i = 0; i < QMP_CLIENTS_MAX; i++)
		s->client[i].fd = -1;
	snprintf(s->path, sizeof(s->path), "%s", path);
	snprintf(address, sizeof(address), "unix:%s", path);
	s->fd = vfm_listen(address, why, VMM_WHY_MAX);
	if (s->fd < 0) {
		int ret = s->fd;

		free(s);
		return ret;
	}
	*out = s;
	return 0;
}

static void drop(struct client *c)
{
	qmp_session_free(&c->session);
	close(c->fd);
	c->fd = -1;
}

void qmp_server_free(struct qmp_server *s)
{
	unsigned i;

	if (!s)
		return;
	for (i = 0; i < QMP_CLIENTS_MAX; i++)
		if (s->client[i].fd >= 0)
			drop(&s->client[i]);
	close(s->fd);
	unlink(s->path);
	free(s);
}

unsigned qmp_server_fds(struct qmp_server *s, struct pollfd *fds)
{
	unsigned i;

	fds[0] = (struct pollfd){.fd = s->fd, .events = POLLIN};
	for (i = 0; i < QMP_CLIENTS_MAX; i++) {
		struct client *c = &s->client[i];
		short events = POLLIN;

		if (c->fd >= 0 && c->session.out_size)
			events |= POLLOUT;
		fds[1 + i] = (struct pollfd){.fd = c->fd, .events = events};
	}
	return 1 + QMP_CLIENTS_MAX;
}

static void take_client(struct qmp_server *s)
{
	int fd = vfm_accept(s->fd);
	unsigned i;

	if (fd < 0)
		return;
	for (i = 0; i < QMP_CLIENTS_MAX; i++)
		if (s->client[i].fd < 0)
			break;
	if (i == QMP_CLIENTS_MAX) {
		app_log(s->app, VFM_LOG_WARN, "control socket: too many clients");
		close(fd);
		return;
	}
	s->client[i].fd = fd;
	if (qmp_session_init(&s->client[i].session, s->app) < 0)
		drop(&s->client[i]);
}

/* False: the client is gone. */
static bool write_some(struct client *c)
{
	ssize_t n;

	while (c->session.out_size) {
		n = send(c->fd, c->session.out, c->session.out_size, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		qmp_session_sent(&c->session, (size_t)n);
	}
	return true;
}

static bool read_some(struct qmp_server *s, struct client *c)
{
	char data[READ_SIZE];
	ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);
	int ret;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (!n)
		return false;
	ret = qmp_session_feed(&c->session, data, (size_t)n);
	if (ret < 0)
		app_log(s->app, VFM_LOG_WARN,
			ret == -EMSGSIZE ? "control socket: a request without an end"
					 : "control socket: a client that does not read");
	return ret == 0;
}

void qmp_server_handle(struct qmp_server *s, const struct pollfd *fds, unsigned count)
{
	unsigned i;
	bool ok;

	for (i = 1; i < count; i++) {
		struct client *c = &s->client[i - 1];

		if (c->fd < 0 || c->fd != fds[i].fd)
			continue;
		ok = true;
		if (fds[i].revents & (POLLIN | POLLHUP | POLLERR))
			ok = read_some(s, c);
		if (!ok) {
			write_some(c); /* what it asked for before it went wrong */
			drop(c);
		}
	}
	if (fds[0].revents & POLLIN)
		take_client(s);
	qmp_server_flush(s);
}

void qmp_server_flush(struct qmp_server *s)
{
	unsigned i;

	for (i = 0; i < QMP_CLIENTS_MAX; i++)
		if (s->client[i].fd >= 0 && !write_some(&s->client[i]))
			drop(&s->client[i]);
}

/* A client with a full backlog loses the connection, not the event: it would not know. */
void qmp_server_event(struct qmp_server *s, struct json_object *event)
{
	unsigned i;

	for (i = 0; i < QMP_CLIENTS_MAX; i++) {
		struct client *c = &s->client[i];

		if (c->fd >= 0 && c->session.negotiated &&
		    qmp_session_send(&c->session, event) < 0)
			shutdown(c->fd, SHUT_RDWR);
	}
}
