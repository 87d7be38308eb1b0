/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets, and the loop.
 *
 * Model. One client at a time; others wait in the listening socket's queue. A client that comes
 * finds the device as the last one left it; while there is none, the device does not move. The
 * loop waits for a request, for the timer by which the device moves, and for the stop fd; after
 * each wait it serves at most one of each, so neither starves the other. What a client does wrong
 * costs at most its connection.
 */
#include "sim/server.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "sim/listen.h"
#include "sim/serve.h"

#define SOCKET_BUFFER (4 << 20) /* asked for, so that a transfer goes in few portions */

void sim_server_options_init(struct sim_server_options *options)
{
	*options = (struct sim_server_options){
		.fd = -1,
		.stop_fd = -1,
		.extension = VFM_VFIO_USER_EXT_ALL,
		.max_transfer = VFM_VFIO_USER_XFER_DEFAULT,
		.tick_us = 1000,
	};
}

static int refuse(char *why, int err, const char *what)
{
	snprintf(why, SIM_WHY_MAX, "%s: %s", what, strerror(err));
	return -err;
}

/* ---- the timer ---- */

static void set_timer(struct server *s, uint32_t us)
{
	struct itimerspec spec = {
		.it_interval = {us / 1000000, (long)(us % 1000000) * 1000},
		.it_value = {us / 1000000, (long)(us % 1000000) * 1000},
	};

	timerfd_settime(s->timer_fd, 0, &spec, NULL);
}

/* Only a device that moves needs the timer; its clock starts when it begins to. */
static void update_timer(struct server *s)
{
	bool wanted = s->conn.fd >= 0 && sim_needs_ticks(s->sim);

	if (wanted == s->ticking)
		return;
	if (wanted)
		sim_clock_start(s->sim, clock_ns());
	set_timer(s, wanted ? s->opts->tick_us : 0);
	s->ticking = wanted;
}

static void tick(struct server *s)
{
	uint64_t expirations;

	if (read(s->timer_fd, &expirations, sizeof(expirations)) == sizeof(expirations))
		sim_tick(s->sim, clock_ns());
}

/* ---- the client ---- */

static void grow_buffers(int fd)
{
	int bytes = SOCKET_BUFFER;

	/* Beyond the system's limit where we may, else up to it. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static void begin_client(struct server *s, int fd)
{
	uint32_t message_max = (uint32_t)sizeof(struct vfm_vfio_user_header) +
			       VFM_VFIO_USER_FIXED_MAX + s->opts->max_transfer;

	grow_buffers(fd);
	conn_init(&s->conn, fd, s->opts->stop_fd, message_max);
	s->negotiated = false;
	s->extension = 0;
	update_timer(s);
}

static void end_client(struct server *s)
{
	conn_close(&s->conn);
	dma_map_clear(&s->dma);
	serve_irqs_clear(s);
	if (s->opts->reset_on_disconnect)
		sim_reset(s->sim);
	update_timer(s);
}

/* False: the last client that can come has left. */
static bool drop_client(struct server *s)
{
	end_client(s);
	return s->listen_fd >= 0 && !s->opts->once;
}

/* A client that was gone before it was accepted is no reason to stop. */
static void accept_client(struct server *s)
{
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0)
		begin_client(s, fd);
}

/* ---- the loop ---- */

enum { AT_STOP, AT_SOCKET, AT_TIMER, AT_COUNT };

static int wait_for_work(struct server *s, struct pollfd fds[AT_COUNT])
{
	int ret;

	fds[AT_STOP] = (struct pollfd){.fd = s->opts->stop_fd, .events = POLLIN};
	fds[AT_SOCKET] = (struct pollfd){.fd = s->conn.fd >= 0 ? s->conn.fd : s->listen_fd,
					 .events = POLLIN};
	fds[AT_TIMER] = (struct pollfd){.fd = s->timer_fd, .events = POLLIN};
	do
		ret = poll(fds, AT_COUNT, conn_has_kept(&s->conn) ? 0 : -1);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

static bool has_request(const struct server *s, const struct pollfd *fd)
{
	return s->conn.fd >= 0 && (fd->revents || conn_has_kept(&s->conn));
}

static int loop(struct server *s)
{
	struct pollfd fds[AT_COUNT];
	bool failed;
	int ret;

	for (;;) {
		ret = wait_for_work(s, fds);
		if (ret || fds[AT_STOP].revents)
			return ret;
		if (s->conn.fd < 0) {
			accept_client(s);
			continue;
		}
		if (fds[AT_TIMER].revents)
			tick(s);
		failed = s->conn.dead;
		if (!failed && has_request(s, &fds[AT_SOCKET]))
			failed = serve_request(s) != 0;
		if (!failed)
			update_timer(s);
		else if (!drop_client(s))
			return 0;
	}
}

/* ---- start and end ---- */

static bool is_listening(int fd)
{
	socklen_t len = sizeof(int);
	int value = 0;

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) && value;
}

static int open_socket(struct server *s, char *why)
{
	const struct sim_server_options *o = s->opts;
	struct sockaddr addr;
	socklen_t len = sizeof(addr);

	if (o->socket_path) {
		s->listen_fd = listen_unix(o->socket_path, why);
		return MIN(s->listen_fd, 0);
	}
	if (getsockname(o->fd, &addr, &len))
		return refuse(why, errno, "the file descriptor is no socket");
	if (is_listening(o->fd))
		s->listen_fd = o->fd;
	else
		begin_client(s, o->fd);
	return 0;
}

static void announce(const struct server *s)
{
	const struct sim_server_options *o = s->opts;
	char name[32];

	snprintf(name, sizeof(name), "fd %d", o->fd);
	if (o->ready)
		o->ready(o->opaque, o->socket_path ? o->socket_path : name);
}

static int prepare(struct server *s, const struct sim_options *device, char *why)
{
	int ret = sim_create(device, &host_ops, s, &s->sim);

	if (ret)
		return refuse(why, -ret, "cannot make the device");
	s->bitmap = calloc(1, s->opts->max_transfer);
	if (!s->bitmap)
		return refuse(why, ENOMEM, "cannot make the device");
	s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (s->timer_fd < 0)
		return refuse(why, errno, "cannot make a timer");
	return open_socket(s, why);
}

static void release(struct server *s)
{
	if (s->sim && s->conn.fd >= 0)
		end_client(s);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	if (s->opts->socket_path && s->listen_fd >= 0)
		unlink(s->opts->socket_path);
	if (s->timer_fd >= 0)
		close(s->timer_fd);
	free(s->bitmap);
	sim_destroy(s->sim);
	free(s);
}

static struct server *new_server(const struct sim_server_options *options)
{
	struct server *s = calloc(1, sizeof(*s));
	unsigned i;

	if (!s)
		return NULL;
	s->opts = options;
	s->listen_fd = -1;
	s->timer_fd = -1;
	s->conn.fd = -1;
	for (i = 0; i < SIM_MSIX_VECTORS_MAX; i++)
		s->irq_fds[i] = -1;
	return s;
}

int sim_server_run(const struct sim_options *device, const struct sim_server_options *options,
		   char *why)
{
	struct server *s = new_server(options);
	int ret;

	if (!s)
		return refuse(why, ENOMEM, "cannot make the server");
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* ns: a latency is to be what the option said */
	ret = prepare(s, device, why);
	if (!ret) {
		announce(s);
		ret = loop(s);
		if (ret)
			refuse(why, -ret, "cannot wait for requests");
	}
	release(s);
	return ret;
}
