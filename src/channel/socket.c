/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/*
 * A net below the session's peer timeout, for a peer host that is gone without a word: the kernel's
 * own patience would be two hours on an idle connection and a quarter of one on a busy one.
 * Probes start after IDLE; USER_TIMEOUT ends the connection, in both cases. It also counts while a
 * peer that lives keeps its window closed, so it is well above what a receiver may be busy for.
 */
#define KEEPALIVE_IDLE_S     15
#define KEEPALIVE_INTERVAL_S 5
#define USER_TIMEOUT_MS      60000

int socket_check_stream(int fd)
{
	int type;
	socklen_t size = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
		return -errno;
	return type == SOCK_STREAM ? 0 : -EPROTOTYPE;
}

static void set_tcp(int fd, int option, int value)
{
	/* ENOTSUP and the like on other sockets, which have no need of it. */
	(void)setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value));
}

void socket_set_nodelay(int fd)
{
	set_tcp(fd, TCP_NODELAY, 1);
}

void socket_set_keepalive(int fd)
{
	int on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	set_tcp(fd, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	set_tcp(fd, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
	set_tcp(fd, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
}

int socket_set_blocking(int fd, int blocking)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}
