/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfm_listen, vfm_accept, vfm_listen_address: listening sockets from an address.
 *
 * A unix socket is its owner's alone from the first moment: bind() makes the file with the mode of
 * the socket's inode, which fchmod() narrows before (umask would do it for the whole process), and
 * nobody can connect before listen() anyway. Should a file system not keep the mode, we do not
 * listen there.
 *
 * A stale socket file is one that no socket is bound to. To find out without making a connection
 * that a living listener would have to accept and turn away, we try to connect with a datagram
 * socket: ECONNREFUSED means that nobody is there, EPROTOTYPE that a stream socket is. Between that
 * look, unlink() and bind() another process could do the same, and we would take its fresh socket
 * away; all of us hold a lock (flock) on the directory meanwhile, which leaves no file behind.
 */
#include <vfio-migrate/connect.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/compiler.h"
#include "base/unix-path.h"
#include "channel/address.h"
#include "channel/socket.h"

#define BACKLOG       16
#define LOCK_TRIES    200 /* others hold it for microseconds */
#define LOCK_PAUSE_MS 5

static int listen_one(const struct addrinfo *at)
{
	CLEANUP(cleanup_close) int fd = -1;
	int on = 1;

	fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, at->ai_addr, at->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return take_fd(&fd);
}

static int listen_tcp(const struct address *address, char *why, size_t size)
{
	struct addrinfo *list;
	int ret = address_resolve(address, AI_PASSIVE, &list, why, size);

	if (ret)
		return ret;
	ret = -EADDRNOTAVAIL;
	for (const struct addrinfo *at = list; at && ret < 0; at = at->ai_next)
		ret = listen_one(at);
	freeaddrinfo(list);
	if (ret < 0)
		return address_fail(-ret, why, size, "%s port %u: %s", address->host, address->port,
				    strerror(-ret));
	return ret;
}

/* The directory of @path, locked; the fd or -errno. */
static int lock_directory(const char *path)
{
	CLEANUP(cleanup_close) int fd = -1;
	char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return take_fd(&fd);
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		(void)poll(NULL, 0, LOCK_PAUSE_MS);
	}
	return -EBUSY;
}

/* A socket file that nothing is bound to? */
static bool is_stale(const struct sockaddr_un *path)
{
	CLEANUP(cleanup_close) int probe = -1;
	struct stat st;

	if (lstat(path->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return false;
	return connect(probe, (const struct sockaddr *)path, sizeof(*path)) < 0 &&
	       errno == ECONNREFUSED;
}

/* Did bind make the file as we wanted it? */
static int check_mode(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	if (st.st_mode & (S_IRWXG | S_IRWXO)) {
		unlink(path);
		return -EPERM;
	}
	return 0;
}

static int bind_path(int fd, const struct sockaddr_un *path)
{
	const struct sockaddr *sa = (const struct sockaddr *)path;

	if (fchmod(fd, S_IRUSR | S_IWUSR) < 0)
		return -errno;
	if (is_stale(path) && unlink(path->sun_path) < 0)
		return -errno;
	if (bind(fd, sa, sizeof(*path)) < 0)
		return -errno;
	return check_mode(path->sun_path);
}

static int listen_path(const struct sockaddr_un *path)
{
	CLEANUP(cleanup_close) int fd = -1;
	CLEANUP(cleanup_close) int lock = -1;
	int ret;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	lock = lock_directory(path->sun_path);
	if (lock < 0)
		return lock;
	ret = bind_path(fd, path);
	if (ret)
		return ret;
	if (listen(fd, BACKLOG) < 0)
		return -errno;
	return take_fd(&fd);
}

static int listen_unix(const struct address *address, char *why, size_t size)
{
	int ret = listen_path(&address->path);

	if (ret == -EADDRINUSE && unix_path_is_other(address->path.sun_path))
		return address_fail(-ret, why, size, "%s: a file of that name is there, and is no "
						     "socket", address->path.sun_path);
	if (ret < 0)
		return address_fail(-ret, why, size, "%s: %s", address->path.sun_path,
				    strerror(-ret));
	return ret;
}

/* An inherited socket that listens. */
static int check_listening(int fd)
{
	int listens = 0;
	socklen_t size = sizeof(listens);
	int ret = socket_check_stream(fd);

	if (ret)
		return ret;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0)
		return -errno;
	if (!listens)
		return -EINVAL;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return socket_set_blocking(fd, 0);
}

static int listen_fd(const struct address *address, char *why, size_t size)
{
	int ret = check_listening(address->fd);

	if (ret)
		return address_fail(-ret, why, size, "fd %d is no listening stream socket: %s",
				    address->fd, strerror(-ret));
	return address->fd;
}

VFM_API int vfm_listen(const char *address, char *why, size_t size)
{
	struct address parsed;
	int ret = address_parse(address, &parsed, why, size);

	if (ret)
		return ret;
	switch (parsed.kind) {
	case ADDRESS_TCP:
		return listen_tcp(&parsed, why, size);
	case ADDRESS_UNIX:
		return listen_unix(&parsed, why, size);
	case ADDRESS_FD:
		return listen_fd(&parsed, why, size);
	}
	return -EINVAL;
}

VFM_API int vfm_accept(int listener)
{
	int fd;

	/* A connection that died in the queue is not the listener's trouble. */
	do {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	} while (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO));
	if (fd < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	socket_set_nodelay(fd);
	socket_set_keepalive(fd);
	return fd;
}

static int print_inet(const struct sockaddr *sa, socklen_t length, char *address, size_t size)
{
	const char *format = sa->sa_family == AF_INET6 ? "tcp:[%s]:%s" : "tcp:%s:%s";
	char host[NI_MAXHOST], port[NI_MAXSERV];
	int ret;

	ret = getnameinfo(sa, length, host, sizeof(host), port, sizeof(port),
			  NI_NUMERICHOST | NI_NUMERICSERV);
	if (ret)
		return ret == EAI_SYSTEM ? -errno : -EIO;
	ret = snprintf(address, size, format, host, port);
	return ret >= 0 && (size_t)ret < size ? 0 : -ENOSPC;
}

/* The kernel need not end a path with a NUL. */
static int print_unix(const struct sockaddr_un *sun, socklen_t length, char *address, size_t size)
{
	size_t most = length - offsetof(struct sockaddr_un, sun_path);
	int used, ret;

	if (length <= offsetof(struct sockaddr_un, sun_path) || !sun->sun_path[0])
		return -EAFNOSUPPORT;
	used = (int)strnlen(sun->sun_path, most);
	ret = snprintf(address, size, "unix:%.*s", used, sun->sun_path);
	return ret >= 0 && (size_t)ret < size ? 0 : -ENOSPC;
}

VFM_API int vfm_listen_address(int listener, char *address, size_t size)
{
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_storage storage;
	} sa;
	socklen_t length = sizeof(sa);

	if (getsockname(listener, &sa.any, &length) < 0)
		return -errno;
	switch (sa.any.sa_family) {
	case AF_INET:
	case AF_INET6:
		return print_inet(&sa.any, length, address, size);
	case AF_UNIX:
		return print_unix(&sa.un, MIN(length, (socklen_t)sizeof(sa)), address, size);
	default:
		return -EAFNOSUPPORT;
	}
}
