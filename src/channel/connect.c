/* SPDX-License-Identifier: BSD-3-Clause */
/* vfm_connect: a connected socket from an address. */
#include <vfio-migrate/connect.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/unix-path.h"
#include "channel/address.h"
#include "channel/socket.h"

/* When a call is over. */
struct deadline {
	bool never;
	uint64_t at_ns;
};

static struct deadline deadline_in(int timeout_ms)
{
	if (timeout_ms < 0)
		return (struct deadline){.never = true};
	return (struct deadline){.at_ns = clock_ns() + (uint64_t)timeout_ms * NS_PER_MSEC};
}

/* What poll takes: -1 for ever, 0 when it is over; rounded up, so that it never spins. */
static int deadline_left_ms(const struct deadline *deadline)
{
	uint64_t now = clock_ns();

	if (deadline->never)
		return -1;
	if (now >= deadline->at_ns)
		return 0;
	return (int)div_round_up(deadline->at_ns - now, NS_PER_MSEC);
}

/* 0, or -errno of a connect that was begun. */
static int finish_connect(int fd, const struct deadline *deadline)
{
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};
	int err;
	socklen_t size = sizeof(err);
	int ready;

	do {
		ready = poll(&pfd, 1, deadline_left_ms(deadline));
	} while (ready < 0 && errno == EINTR);
	if (ready < 0)
		return -errno;
	if (ready == 0)
		return -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0)
		return -errno;
	return -err;
}

/* One of the addresses that a name has. The fd or -errno. */
static int connect_one(const struct addrinfo *to, const struct deadline *deadline)
{
	CLEANUP(cleanup_close) int fd = -1;
	bool begun;
	int ret = 0;

	fd = socket(to->ai_family, to->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to->ai_protocol);
	if (fd < 0)
		return -errno;
	if (connect(fd, to->ai_addr, to->ai_addrlen) < 0) {
		/* Interrupted, it goes on behind our back as well. */
		begun = errno == EINPROGRESS || errno == EINTR;
		ret = begun ? finish_connect(fd, deadline) : -errno;
	}
	if (!ret)
		ret = socket_set_blocking(fd, 1);
	if (ret)
		return ret;
	return take_fd(&fd);
}

static int connect_tcp(const struct address *address, const struct deadline *deadline, char *why,
		       size_t size)
{
	struct addrinfo *list;
	int ret;

	if (!address->port)
		return address_fail(EINVAL, why, size, "nobody can be reached at port 0");
	ret = address_resolve(address, 0, &list, why, size);
	if (ret)
		return ret;
	ret = -EADDRNOTAVAIL;
	for (const struct addrinfo *to = list; to; to = to->ai_next) {
		ret = connect_one(to, deadline);
		if (ret >= 0 || !deadline_left_ms(deadline))
			break;
	}
	freeaddrinfo(list);
	if (ret < 0)
		return address_fail(-ret, why, size, "%s port %u: %s", address->host, address->port,
				    strerror(-ret));
	return ret;
}

/* How long a connect on a unix socket may wait for room in the listener's queue. A non-blocking one
 * would answer EAGAIN, and there is nothing to poll for. */
static int set_send_timeout(int fd, int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ? -errno : 0;
}

static int connect_path(int fd, const struct sockaddr_un *path, const struct deadline *deadline)
{
	int left, ret;

	for (;;) {
		left = deadline_left_ms(deadline);
		/* 0 would be no limit; -1 has none. */
		ret = set_send_timeout(fd, left < 0 ? 0 : MAX(left, 1));
		if (ret)
			return ret;
		if (connect(fd, (const struct sockaddr *)path, sizeof(*path)) == 0)
			return set_send_timeout(fd, 0);
		if (errno == EAGAIN)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
		if (!deadline_left_ms(deadline))
			return -ETIMEDOUT;
	}
}

static int connect_unix(const struct address *address, const struct deadline *deadline, char *why,
			size_t size)
{
	CLEANUP(cleanup_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int ret = fd < 0 ? -errno : connect_path(fd, &address->path, deadline);

	ret = unix_path_explain(address->path.sun_path, ret);
	if (ret)
		return address_fail(-ret, why, size, "%s: %s", address->path.sun_path,
				    strerror(-ret));
	return take_fd(&fd);
}

/* An inherited socket, as it is: connected, we hope, and from now on not inherited further. */
static int connect_fd(const struct address *address, char *why, size_t size)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	int ret = socket_check_stream(address->fd);

	if (!ret && getpeername(address->fd, (struct sockaddr *)&peer, &length) < 0)
		ret = -errno;
	if (!ret && fcntl(address->fd, F_SETFD, FD_CLOEXEC) < 0)
		ret = -errno;
	if (ret)
		return address_fail(-ret, why, size, "fd %d is no connected stream socket: %s",
				    address->fd, strerror(-ret));
	return address->fd;
}

static int connect_any(const struct address *address, const struct deadline *deadline, char *why,
		       size_t size)
{
	switch (address->kind) {
	case ADDRESS_TCP:
		return connect_tcp(address, deadline, why, size);
	case ADDRESS_UNIX:
		return connect_unix(address, deadline, why, size);
	case ADDRESS_FD:
		return connect_fd(address, why, size);
	}
	return -EINVAL;
}

VFM_API int vfm_connect(const char *address, int timeout_ms, char *why, size_t size)
{
	struct deadline deadline = deadline_in(timeout_ms);
	struct address parsed;
	int fd;

	fd = address_parse(address, &parsed, why, size);
	if (fd)
		return fd;
	fd = connect_any(&parsed, &deadline, why, size);
	if (fd < 0)
		return fd;
	socket_set_nodelay(fd);
	socket_set_keepalive(fd);
	return fd;
}
