/* SPDX-License-Identifier: BSD-3-Clause */
#include "sim/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/compiler.h"

void conn_init(struct conn *conn, int fd, int stop_fd, uint32_t message_max)
{
	*conn = (struct conn){.fd = fd, .stop_fd = stop_fd, .message_max = message_max};
}

static void close_fds(struct msg *msg)
{
	unsigned i;

	for (i = 0; i < msg->nfds; i++)
		if (msg->fds[i] >= 0)
			close(msg->fds[i]);
	msg->nfds = 0;
}

static void free_msg(struct msg *msg)
{
	close_fds(msg);
	free(msg->buffer);
	free(msg);
}

void conn_close(struct conn *conn)
{
	struct msg *msg;

	while ((msg = QUEUE_ENTRY(queue_pop(&conn->kept), struct msg, node)))
		free_msg(msg);
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
}

static int die(struct conn *conn, int err)
{
	conn->dead = true;
	return err;
}

/* ---- bytes ---- */

union control {
	char bytes[CMSG_SPACE(sizeof(int) * VFM_VFIO_USER_FDS_LIMIT)];
	struct cmsghdr align;
};

static int wait_for(struct conn *conn, short events)
{
	struct pollfd fds[2] = {{.fd = conn->fd, .events = events},
				{.fd = conn->stop_fd, .events = POLLIN}};
	int ret;

	do
		ret = poll(fds, 2, CONN_STALL_MS);
	while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return die(conn, -errno);
	if (ret == 0)
		return die(conn, -ETIMEDOUT);
	return fds[1].revents ? die(conn, -ECANCELED) : 0;
}

/* After a call that said @ret: go on (0), or -errno. */
static int after_io(struct conn *conn, ssize_t ret, short events)
{
	if (ret > 0 || (ret < 0 && errno == EINTR))
		return 0;
	if (ret < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return wait_for(conn, events);
	return die(conn, -ECONNRESET);
}

static int recv_all(struct conn *conn, void *buf, size_t len)
{
	uint8_t *at = buf;
	ssize_t got;
	int ret;

	while (len) {
		got = recv(conn->fd, at, len, MSG_DONTWAIT);
		ret = after_io(conn, got, POLLIN);
		if (ret)
			return ret;
		if (got > 0) {
			at += got;
			len -= (size_t)got;
		}
	}
	return 0;
}

static void skip_sent(struct iovec **iov, int *count, size_t sent)
{
	while (*count && sent >= (*iov)->iov_len) {
		sent -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (*count) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + sent;
		(*iov)->iov_len -= sent;
	}
}

static void attach_fd(struct msghdr *mh, union control *control, int fd)
{
	struct cmsghdr *c;

	memset(control, 0, sizeof(*control));
	mh->msg_control = control;
	mh->msg_controllen = CMSG_SPACE(sizeof(fd));
	c = CMSG_FIRSTHDR(mh);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
}

/* @fd, unless it is -1, goes with the first byte. */
static int send_all(struct conn *conn, struct iovec *iov, int count, int fd)
{
	union control control;
	struct msghdr mh = {0};
	ssize_t sent;
	int ret;

	if (fd >= 0)
		attach_fd(&mh, &control, fd);
	while (count) {
		mh.msg_iov = iov;
		mh.msg_iovlen = (size_t)count;
		sent = sendmsg(conn->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
		ret = after_io(conn, sent, POLLOUT);
		if (ret)
			return ret;
		if (sent <= 0)
			continue;
		skip_sent(&iov, &count, (size_t)sent);
		mh.msg_control = NULL;
		mh.msg_controllen = 0;
	}
	return 0;
}

/* ---- heads ---- */

static void collect_fds(struct msghdr *mh, struct msg *msg)
{
	struct cmsghdr *c;
	size_t count;

	for (c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		/* The control buffer holds no more than the limit, in one piece. */
		count = MIN(count, VFM_VFIO_USER_FDS_LIMIT - msg->nfds);
		memcpy(msg->fds + msg->nfds, CMSG_DATA(c), count * sizeof(int));
		msg->nfds += (unsigned)count;
	}
}

/* The first bytes of a message, which carry its fds. */
static int recv_first(struct conn *conn, struct msg *msg, size_t *got)
{
	union control control;
	struct iovec iov = {&msg->header, sizeof(msg->header)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes)};
	ssize_t ret = recvmsg(conn->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int err = after_io(conn, ret, POLLIN);

	if (err)
		return err;
	*got = ret > 0 ? (size_t)ret : 0;
	if (ret <= 0)
		return 0;
	collect_fds(&mh, msg);
	return mh.msg_flags & MSG_CTRUNC ? die(conn, -EPROTO) : 0;
}

static int recv_head(struct conn *conn, struct msg *msg)
{
	struct vfm_vfio_user_header *h = &msg->header;
	size_t got = 0;
	int ret;

	*msg = (struct msg){.nfds = 0};
	do
		ret = recv_first(conn, msg, &got);
	while (!ret && !got);
	if (!ret)
		ret = recv_all(conn, (uint8_t *)h + got, sizeof(*h) - got);
	if (!ret && (h->size < sizeof(*h) || h->size > conn->message_max))
		ret = die(conn, -EPROTO);
	if (ret) {
		close_fds(msg);
		return ret;
	}
	msg->left = h->size - sizeof(*h);
	return 0;
}

static bool is_reply(const struct msg *msg)
{
	return (msg->header.flags & VFM_VFIO_USER_TYPE_MASK) == VFM_VFIO_USER_TYPE_REPLY;
}

int conn_next(struct conn *conn, struct msg *msg)
{
	struct msg *kept = QUEUE_ENTRY(queue_pop(&conn->kept), struct msg, node);
	int ret;

	if (kept) {
		conn->kept_bytes -= kept->left;
		*msg = *kept;
		free(kept);
		return 0;
	}
	ret = recv_head(conn, msg);
	if (ret)
		return ret;
	if ((msg->header.flags & VFM_VFIO_USER_TYPE_MASK) != VFM_VFIO_USER_TYPE_REQUEST) {
		close_fds(msg);
		return die(conn, -EPROTO); /* an answer to nothing */
	}
	return 0;
}

/* ---- payloads ---- */

int conn_read(struct conn *conn, struct msg *msg, void *buf, size_t len)
{
	int ret = 0;

	if (len > msg->left)
		return die(conn, -EPROTO);
	if (msg->kept) {
		memcpy(buf, msg->kept, len);
		msg->kept += len;
	} else {
		ret = recv_all(conn, buf, len);
	}
	if (!ret)
		msg->left -= len;
	return ret;
}

int conn_finish(struct conn *conn, struct msg *msg)
{
	uint8_t sink[16384];
	int ret = 0;

	while (!ret && !conn->dead && msg->left)
		ret = conn_read(conn, msg, sink, MIN(sizeof(sink), msg->left));
	close_fds(msg);
	free(msg->buffer);
	msg->buffer = NULL;
	return ret;
}

int conn_reply(struct conn *conn, const struct msg *msg, int error, struct iovec *iov, int count,
	       int fd)
{
	struct vfm_vfio_user_header header = {
		.id = msg->header.id,
		.command = msg->header.command,
		.size = sizeof(header),
		.flags = VFM_VFIO_USER_TYPE_REPLY | (error ? VFM_VFIO_USER_FLAG_ERROR : 0),
		.error = (uint32_t)error,
	};
	int i;

	if (error)
		count = 1;
	for (i = 1; i < count; i++)
		header.size += (uint32_t)iov[i].iov_len;
	iov[0] = (struct iovec){&header, sizeof(header)};
	return send_all(conn, iov, count, error ? -1 : fd);
}

/* ---- asking the client ---- */

/* Put a request aside until the reply has come. */
static int keep(struct conn *conn, const struct msg *head)
{
	struct msg *msg = NULL;
	int ret = -EPROTO;

	if (conn->kept.count < CONN_KEPT_MAX && conn->kept_bytes + head->left <= CONN_KEPT_BYTES)
		msg = malloc(sizeof(*msg));
	if (!msg)
		goto fail;
	*msg = *head;
	msg->buffer = malloc(head->left + 1);
	if (!msg->buffer)
		goto fail_msg;
	ret = recv_all(conn, msg->buffer, msg->left);
	if (ret)
		goto fail_buffer;
	msg->kept = msg->buffer;
	conn->kept_bytes += msg->left;
	queue_push(&conn->kept, &msg->node);
	return 0;

fail_buffer:
	free(msg->buffer);
fail_msg:
	free(msg);
fail:
	for (unsigned i = 0; i < head->nfds; i++)
		close(head->fds[i]);
	return die(conn, ret);
}

static int await_reply(struct conn *conn, uint16_t id, struct msg *msg)
{
	int ret;

	for (;;) {
		ret = recv_head(conn, msg);
		if (ret)
			return ret;
		if (is_reply(msg))
			break;
		ret = keep(conn, msg);
		if (ret)
			return ret;
	}
	close_fds(msg);
	return msg->header.id == id ? 0 : die(conn, -EPROTO);
}

static int send_request(struct conn *conn, uint16_t id, uint16_t command, struct iovec *out,
			int count)
{
	struct vfm_vfio_user_header header = {
		.id = id, .command = command, .size = sizeof(header)};
	int i;

	for (i = 1; i < count; i++)
		header.size += (uint32_t)out[i].iov_len;
	out[0] = (struct iovec){&header, sizeof(header)};
	return send_all(conn, out, count, -1);
}

int conn_ask(struct conn *conn, uint16_t command, struct iovec *out, int out_count, void *in,
	     size_t in_len, size_t in_slack)
{
	uint16_t id = conn->next_id++;
	struct msg msg;
	int ret;

	if (conn->dead || conn->fd < 0)
		return -ECONNRESET;
	ret = send_request(conn, id, command, out, out_count);
	if (!ret)
		ret = await_reply(conn, id, &msg);
	if (ret)
		return ret;
	if (msg.header.flags & VFM_VFIO_USER_FLAG_ERROR) {
		ret = conn_finish(conn, &msg);
		return ret ? ret : -EIO;
	}
	if (msg.header.command != command || msg.left > in_len || msg.left < in_len - in_slack)
		return die(conn, -EPROTO);
	return conn_read(conn, &msg, in, msg.left);
}
