/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's thread: reads every message, and puts each reply where its caller wants it.
 *
 * Between messages it waits for ever; a message that has begun must be complete within
 * request_timeout_ms. The thread ends when the server is lost, which is the only end: the server
 * closed or broke the protocol (found here), sending failed (found by a caller, who shuts the
 * socket down), or the owner shut it down.
 *
 * Every message is one of: a reply that somebody waits for; a late reply, thrown away; a request
 * of the server; the end of the connection.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/bitmap.h"
#include "base/clock.h"
#include "device/vfio-user-client.h"

#define ERRNO_MAX 4095u /* what the kernel's ABI has room for */

/* ---- bytes and fds ---- */

static void close_all(struct vfio_user_fds *fds)
{
	for (unsigned i = 0; i < fds->count; i++)
		close(fds->fds[i]);
	fds->count = 0;
}

static void collect(struct vfio_user_fds *fds, const struct cmsghdr *cmsg)
{
	size_t bytes = cmsg->cmsg_len - CMSG_LEN(0);
	int fd;

	for (size_t i = 0; i < bytes / sizeof(int); i++) {
		memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
		if (fds->count < ARRAY_SIZE(fds->fds))
			fds->fds[fds->count++] = fd;
		else
			close(fd);
	}
}

/* recvmsg() that also takes fds; without @fds the kernel drops what it cannot give. */
static ssize_t receive_some(struct vfm_vfio_user *client, struct iovec *iov, unsigned count,
			    struct vfio_user_fds *fds)
{
	char control[CMSG_SPACE(VFM_VFIO_USER_FDS_LIMIT * sizeof(int))]
		__attribute__((aligned(__alignof__(struct cmsghdr))));
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
	ssize_t got;

	if (fds) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
	}
	got = recvmsg(client->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (got <= 0 || !fds)
		return got;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg))
		if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
			collect(fds, cmsg);
	return got;
}

/* Nothing there. 0: look again. */
static int wait_for_bytes(struct vfm_vfio_user *client)
{
	int timeout = -1;

	if (client->receive_deadline) {
		timeout = vfio_user_ms_left(client->receive_deadline);
		if (!timeout)
			return vfio_user_lose(client, "the server stopped inside a message");
	}
	vfio_user_poll(client->fd, POLLIN, timeout);
	return 0;
}

static int end_of_stream(struct vfm_vfio_user *client, ssize_t got)
{
	if (got < 0)
		return vfio_user_lose(client, "receiving from the server: %s", strerror(errno));
	return vfio_user_lose(client, client->receive_deadline
					      ? "the server closed the connection inside a message"
					      : "the server closed the connection");
}

/* Take @bytes off the front; how many pieces are left. */
static unsigned consume(struct iovec **iov, unsigned count, size_t bytes)
{
	while (count && bytes >= (*iov)->iov_len) {
		bytes -= (*iov)->iov_len;
		(*iov)++;
		count--;
	}
	if (count) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + bytes;
		(*iov)->iov_len -= bytes;
	}
	return count;
}

int vfio_user_receive(struct vfm_vfio_user *client, struct iovec *iov, unsigned count,
		      struct vfio_user_fds *fds)
{
	uint64_t limit = client->options.request_timeout_ms * NS_PER_MSEC;
	ssize_t got;

	count = consume(&iov, count, 0);
	while (count) {
		got = receive_some(client, iov, count, fds);
		if (got > 0) {
			if (!client->receive_deadline)
				client->receive_deadline = clock_ns() + limit;
			count = consume(&iov, count, (size_t)got);
		} else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
			if (wait_for_bytes(client) < 0)
				return -ENOTCONN;
		} else {
			return end_of_stream(client, got);
		}
	}
	return 0;
}

int vfio_user_drain(struct vfm_vfio_user *client, size_t size)
{
	char scratch[4096];
	struct iovec iov;
	int ret;

	while (size) {
		iov.iov_base = scratch;
		iov.iov_len = MIN(size, sizeof(scratch));
		size -= iov.iov_len;
		ret = vfio_user_receive(client, &iov, 1, NULL);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* ---- replies ---- */

/* What the server told, without the errnos by which callers know a lost server and the like. */
static int server_error(const struct vfm_vfio_user_header *header)
{
	if (!header->error || header->error > ERRNO_MAX)
		return -EIO;
	switch (header->error) {
	case ENOTCONN:
	case ETIMEDOUT:
	case ECANCELED:
		return -EIO;
	default:
		return -(int)header->error;
	}
}

static int take_payload(struct vfm_vfio_user *client, struct vfio_user_call *call, size_t size)
{
	size_t reply = MIN(size, call->reply_max);
	size_t data = MIN(size - reply, call->data_max);
	struct iovec iov[] = {{.iov_base = call->reply, .iov_len = reply},
			      {.iov_base = call->data, .iov_len = data}};
	int ret;

	if (size < call->reply_min || size - reply - data > call->slack)
		return vfio_user_lose(client, "a reply to command %u with %zu bytes", call->command,
				      size);
	ret = vfio_user_receive(client, iov, ARRAY_SIZE(iov), NULL);
	if (ret < 0)
		return ret;
	call->reply_size = size;
	return vfio_user_drain(client, size - reply - data);
}

static void give_fds(struct vfio_user_call *call, struct vfio_user_fds *fds)
{
	unsigned wanted = call->reply_fds ? MIN(fds->count, call->reply_fds_max) : 0;

	memcpy(call->reply_fds ? call->reply_fds : fds->fds, fds->fds, wanted * sizeof(int));
	call->reply_fd_count = wanted;
	memmove(fds->fds, fds->fds + wanted, (fds->count - wanted) * sizeof(int));
	fds->count -= wanted;
}

/* Fill the call. Returns its result, or -ENOTCONN. */
static int fill(struct vfm_vfio_user *client, struct vfio_user_call *call,
		const struct vfm_vfio_user_header *header, struct vfio_user_fds *fds)
{
	size_t size = header->size - sizeof(*header);
	int ret;

	if (header->command != call->command)
		return vfio_user_lose(client, "a reply to command %u for a request %u",
				      header->command, call->command);
	if (header->flags & VFM_VFIO_USER_FLAG_ERROR) {
		ret = vfio_user_drain(client, size);
		return ret < 0 ? ret : server_error(header);
	}
	ret = take_payload(client, call, size);
	if (!ret)
		give_fds(call, fds);
	return ret;
}

/* The call that waits for @id, now RECEIVING; NULL: nobody, and @late tells if somebody did. */
static struct vfio_user_call *claim(struct vfm_vfio_user *client, uint16_t id, bool *late)
{
	struct vfio_user_call **link = &client->calls;
	struct vfio_user_call *call;

	pthread_mutex_lock(&client->lock);
	while (*link && (*link)->id != id)
		link = &(*link)->next;
	call = *link;
	if (call) {
		*link = call->next;
		call->state = VFIO_USER_CALL_RECEIVING;
	}
	*late = !call && bitmap_test(client->abandoned, id);
	if (*late) {
		bitmap_clear(client->abandoned, id);
		client->abandoned_count--;
	}
	pthread_mutex_unlock(&client->lock);
	return call;
}

static void complete(struct vfm_vfio_user *client, struct vfio_user_call *call, int result)
{
	pthread_mutex_lock(&client->lock);
	call->result = result;
	call->state = VFIO_USER_CALL_DONE;
	pthread_cond_signal(&call->wake);
	pthread_mutex_unlock(&client->lock);
}

static int take_reply(struct vfm_vfio_user *client, const struct vfm_vfio_user_header *header,
		      struct vfio_user_fds *fds)
{
	bool late;
	struct vfio_user_call *call = claim(client, header->id, &late);

	if (late)
		return vfio_user_drain(client, header->size - sizeof(*header));
	if (!call)
		return vfio_user_lose(client, "a reply with id %u, which nobody waits for",
				      header->id);
	complete(client, call, fill(client, call, header, fds));
	return 0;
}

/* ---- messages ---- */

/* The one place that judges a header. */
static int check_header(struct vfm_vfio_user *client, const struct vfm_vfio_user_header *header)
{
	uint32_t most = sizeof(*header) + VFM_VFIO_USER_FIXED_MAX + client->options.max_data_xfer;

	if (header->size < sizeof(*header) || header->size > most)
		return vfio_user_lose(client, "a message of %u bytes", header->size);
	if ((header->flags & VFM_VFIO_USER_TYPE_MASK) > VFM_VFIO_USER_TYPE_REPLY)
		return vfio_user_lose(client, "a message of the unknown type %u",
				      header->flags & VFM_VFIO_USER_TYPE_MASK);
	return 0;
}

static int take_message(struct vfm_vfio_user *client, struct vfio_user_fds *fds)
{
	struct vfm_vfio_user_header header;
	struct iovec iov = {.iov_base = &header, .iov_len = sizeof(header)};
	int ret;

	client->receive_deadline = 0;
	ret = vfio_user_receive(client, &iov, 1, fds);
	if (!ret)
		ret = check_header(client, &header);
	if (ret < 0)
		return ret;
	if ((header.flags & VFM_VFIO_USER_TYPE_MASK) == VFM_VFIO_USER_TYPE_REPLY)
		return take_reply(client, &header, fds);
	return vfio_user_serve(client, &header);
}

/* Tell the owner, unless it knows: it wished it, or has no client yet. */
static void tell_loss(struct vfm_vfio_user *client)
{
	const struct vfm_vfio_user_options *options = &client->options;
	bool tell;

	pthread_mutex_lock(&client->lock);
	tell = client->published && !client->shut;
	pthread_mutex_unlock(&client->lock);
	if (!tell)
		return;
	/* why does not change any more. */
	log_line(&client->log, VFM_LOG_ERROR, "vfio-user: lost the server: %s", client->why);
	if (options->lost)
		options->lost(options->opaque, client->why);
}

void vfio_user_reader(void *arg)
{
	struct vfm_vfio_user *client = arg;
	struct vfio_user_fds fds = {.count = 0};
	int ret = 0;

	while (!ret && !vfio_user_is_lost(client)) {
		ret = take_message(client, &fds);
		close_all(&fds);
	}
	tell_loss(client);
}
