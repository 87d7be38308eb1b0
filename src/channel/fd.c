/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel over a connected stream socket.
 *
 * Each call loops over sendmsg or recvmsg until all bytes went, so a caller sees whole calls only.
 * shutdown(2) is what wakes both threads: it ends a blocked sendmsg with EPIPE, a blocked recvmsg
 * with 0 and a poll with POLLHUP. The flag is set before it and looked at after every wake-up and
 * before every system call, since a socket goes on giving what had arrived before.
 *
 * The descriptor may be non-blocking (a VMM's choice, shared with whoever else holds it): EAGAIN
 * is then waited out with poll.
 */
#include "channel/channel.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/compiler.h"
#include "channel/iov.h"
#include "channel/socket.h"

struct fd_channel {
	struct channel ch;
	int fd;
	atomic_bool down; /* channel_shutdown was called */
};

typedef ssize_t transfer_fn(int fd, struct msghdr *msg);

static ssize_t transfer_send(int fd, struct msghdr *msg)
{
	return sendmsg(fd, msg, MSG_NOSIGNAL);
}

/* WAITALL spares wake-ups where the socket blocks; a short count is fine all the same. */
static ssize_t transfer_recv(int fd, struct msghdr *msg)
{
	ssize_t ret = recvmsg(fd, msg, MSG_WAITALL);

	if (ret == 0) {
		errno = ECONNRESET;
		return -1;
	}
	return ret;
}

static void wait_for(int fd, short events)
{
	struct pollfd pfd = {.fd = fd, .events = events};

	/* Whatever comes of it, the next system call tells. */
	(void)poll(&pfd, 1, -1);
}

/* 0: try again. Otherwise the channel is dead: -ECANCELED by our own will, -ECONNRESET: the peer
 * or the way to it is gone, or another -errno. */
static int digest_errno(struct fd_channel *fch, int err, short events)
{
	if (atomic_load(&fch->down))
		return -ECANCELED;
	if (err == EINTR)
		return 0;
	if (err == EAGAIN || err == EWOULDBLOCK) {
		wait_for(fch->fd, events);
		return 0;
	}
	return err == EPIPE ? -ECONNRESET : -err;
}

static int transfer(struct fd_channel *fch, struct iov_rest rest, transfer_fn *fn, short events)
{
	iov_skip_empty(&rest);
	while (rest.count) {
		struct msghdr msg = {
			.msg_iov = rest.iov,
			.msg_iovlen = (size_t)MIN(rest.count, IOV_MAX),
		};
		ssize_t done;
		int ret;

		if (atomic_load(&fch->down))
			return -ECANCELED;
		done = fn(fch->fd, &msg);
		if (done >= 0) {
			iov_advance(&rest, (size_t)done);
			continue;
		}
		ret = digest_errno(fch, errno, events);
		if (ret)
			return ret;
	}
	return 0;
}

static int fd_send(struct channel *ch, struct iovec *iov, int count)
{
	struct fd_channel *fch = container_of(ch, struct fd_channel, ch);

	return transfer(fch, (struct iov_rest){iov, count}, transfer_send, POLLOUT);
}

static int fd_recv(struct channel *ch, struct iovec *iov, int count)
{
	struct fd_channel *fch = container_of(ch, struct fd_channel, ch);

	return transfer(fch, (struct iov_rest){iov, count}, transfer_recv, POLLIN);
}

static void fd_drain(struct channel *ch)
{
	/* ENOTCONN: there is nothing to wait for. */
	(void)shutdown(container_of(ch, struct fd_channel, ch)->fd, SHUT_RD);
}

static void fd_shutdown(struct channel *ch)
{
	struct fd_channel *fch = container_of(ch, struct fd_channel, ch);

	atomic_store(&fch->down, true);
	/* ENOTCONN: the peer was faster; nobody is blocked then. */
	(void)shutdown(fch->fd, SHUT_RDWR);
}

static void fd_close(struct channel *ch)
{
	struct fd_channel *fch = container_of(ch, struct fd_channel, ch);

	close(fch->fd);
	free(fch);
}

static const struct channel_ops fd_ops = {
	.send = fd_send,
	.recv = fd_recv,
	.drain = fd_drain,
	.shutdown = fd_shutdown,
	.close = fd_close,
};

int channel_new_fd(int fd, struct channel **ch)
{
	struct fd_channel *fch = NULL;
	int ret;

	ret = socket_check_stream(fd);
	if (ret)
		goto fail;
	fch = calloc(1, sizeof(*fch));
	if (!fch) {
		ret = -ENOMEM;
		goto fail;
	}
	/* The VMM may have connected it without a thought of small frames. */
	socket_set_nodelay(fd);
	fch->ch.ops = &fd_ops;
	fch->fd = fd;
	atomic_init(&fch->down, false);
	*ch = &fch->ch;
	return 0;
fail:
	if (fd >= 0)
		close(fd);
	return ret;
}
