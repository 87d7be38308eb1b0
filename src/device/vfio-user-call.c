/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests: one message out, then the wait for its reply. The model is in vfio-user-client.h. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/bitmap.h"
#include "base/clock.h"
#include "device/vfio-user-client.h"

/* How soon a cancelled call that waits for a full socket notices. */
#define CANCEL_LOOK_MS 50

int vfio_user_ms_left(uint64_t deadline)
{
	uint64_t now = clock_ns();

	if (now >= deadline)
		return 0;
	return (int)((deadline - now + NS_PER_MSEC - 1) / NS_PER_MSEC);
}

int vfio_user_poll(int fd, short events, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = events};
	int ret = poll(&poll_fd, 1, timeout_ms);

	/* A signal is as good as readiness: the caller looks again. */
	return ret != 0;
}

/* ---- sending ---- */

static void attach_fds(struct msghdr *msg, void *control, size_t size, const int *fds,
		       unsigned count)
{
	struct cmsghdr *cmsg;

	if (!count)
		return;
	memset(control, 0, size);
	msg->msg_control = control;
	msg->msg_controllen = CMSG_SPACE(count * sizeof(int));
	cmsg = CMSG_FIRSTHDR(msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
}

/* Take @bytes off the front. */
static void advance(struct msghdr *msg, size_t bytes)
{
	while (msg->msg_iovlen && bytes >= msg->msg_iov->iov_len) {
		bytes -= msg->msg_iov->iov_len;
		msg->msg_iov++;
		msg->msg_iovlen--;
	}
	if (msg->msg_iovlen) {
		msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + bytes;
		msg->msg_iov->iov_len -= bytes;
	}
}

/* @lock is held. */
static bool is_cancelled(const struct vfm_vfio_user *client, const struct vfio_user_call *call)
{
	return call->cancelled || (call->is_stream && client->held);
}

static bool look_cancelled(struct vfm_vfio_user *client, const struct vfio_user_call *call)
{
	bool cancelled;

	if (!call)
		return false;
	pthread_mutex_lock(&client->lock);
	cancelled = is_cancelled(client, call);
	pthread_mutex_unlock(&client->lock);
	return cancelled;
}

/* The socket is full. 0: look again. A message that has begun must go on to its end. */
static int wait_for_room(struct vfm_vfio_user *client, uint64_t deadline, bool begun,
			 const struct vfio_user_call *call)
{
	int left = vfio_user_ms_left(deadline);

	if (!left && begun)
		return vfio_user_lose(client, "the server took a part of a message and no more");
	if (!left)
		return -ETIMEDOUT;
	if (!begun && look_cancelled(client, call))
		return -ECANCELED;
	vfio_user_poll(client->fd, POLLOUT, MIN(left, CANCEL_LOOK_MS));
	return 0;
}

/* send_lock is held. */
static int send_locked(struct vfm_vfio_user *client, struct msghdr *msg,
		       const struct vfio_user_call *call)
{
	uint64_t deadline = clock_ns() + client->options.request_timeout_ms * NS_PER_MSEC;
	bool begun = false;
	ssize_t sent;
	int ret;

	while (msg->msg_iovlen) {
		sent = sendmsg(client->fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent > 0) {
			begun = true;
			msg->msg_control = NULL;
			msg->msg_controllen = 0;
			advance(msg, (size_t)sent);
		} else if (sent < 0 && errno == EAGAIN) {
			ret = wait_for_room(client, deadline, begun, call);
			if (ret < 0)
				return ret;
		} else if (sent < 0 && errno != EINTR) {
			return vfio_user_lose(client, "sending to the server: %s", strerror(errno));
		}
	}
	return 0;
}

int vfio_user_send(struct vfm_vfio_user *client, struct iovec *iov, unsigned count, const int *fds,
		   unsigned fd_count, struct vfio_user_call *call)
{
	char control[CMSG_SPACE(VFM_VFIO_USER_FDS_LIMIT * sizeof(int))]
		__attribute__((aligned(__alignof__(struct cmsghdr))));
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
	int ret;

	attach_fds(&msg, control, sizeof(control), fds, fd_count);
	pthread_mutex_lock(&client->send_lock);
	ret = send_locked(client, &msg, call);
	pthread_mutex_unlock(&client->send_lock);
	return ret;
}

static int call_send(struct vfm_vfio_user *client, struct vfio_user_call *call)
{
	struct vfm_vfio_user_header header = {.id = call->id, .command = call->command};
	struct iovec iov[1 + VFIO_USER_OUT_MAX] = {{&header, sizeof(header)}};
	size_t size = sizeof(header);

	for (unsigned i = 0; i < VFIO_USER_OUT_MAX; i++) {
		iov[1 + i] = call->out[i];
		size += call->out[i].iov_len;
	}
	/* Every caller has bounded its payload by VFM_VFIO_USER_FIXED_MAX and max_data_xfer. */
	header.size = (uint32_t)size;
	return vfio_user_send(client, iov, ARRAY_SIZE(iov), call->fds, call->fd_count, call);
}

/* ---- waiting ---- */

/* @lock is held. */
static bool id_in_use(const struct vfm_vfio_user *client, uint16_t id)
{
	if (bitmap_test(client->abandoned, id))
		return true;
	for (const struct vfio_user_call *call = client->calls; call; call = call->next)
		if (call->id == id)
			return true;
	return false;
}

static int call_begin(struct vfm_vfio_user *client, struct vfio_user_call *call)
{
	pthread_condattr_t attr;
	int ret = 0;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&call->wake, &attr);
	pthread_condattr_destroy(&attr);
	call->state = VFIO_USER_CALL_PENDING;
	call->cancelled = false;
	call->reply_fd_count = 0;
	call->reply_size = 0;

	pthread_mutex_lock(&client->lock);
	if (client->lost) {
		ret = -ENOTCONN;
	} else {
		/* Ends: far fewer ids are in use than there are. */
		while (id_in_use(client, client->next_id))
			client->next_id++;
		call->id = client->next_id++;
		call->next = client->calls;
		client->calls = call;
	}
	pthread_mutex_unlock(&client->lock);
	if (ret < 0)
		pthread_cond_destroy(&call->wake);
	return ret;
}

/* Why a call should stop waiting, or 0. @lock is held. */
static int verdict(const struct vfm_vfio_user *client, const struct vfio_user_call *call,
		   uint64_t deadline)
{
	if (call->state != VFIO_USER_CALL_PENDING)
		return 0;
	if (client->lost)
		return -ENOTCONN;
	if (is_cancelled(client, call))
		return -ECANCELED;
	return clock_ns() >= deadline ? -ETIMEDOUT : 0;
}

/* @lock is held. A pending call leaves the list; nobody else touches it after that. */
static void unlink_call(struct vfm_vfio_user *client, const struct vfio_user_call *call)
{
	struct vfio_user_call **link = &client->calls;

	while (*link && *link != call)
		link = &(*link)->next;
	if (*link)
		*link = call->next;
}

/* @lock is held. Sleep until @call may have changed. */
static void call_sleep(struct vfm_vfio_user *client, struct vfio_user_call *call, uint64_t deadline)
{
	struct timespec until = {.tv_sec = (time_t)(deadline / NS_PER_SEC),
				 .tv_nsec = (long)(deadline % NS_PER_SEC)};

	if (call->state == VFIO_USER_CALL_RECEIVING)
		pthread_cond_wait(&call->wake, &client->lock);
	else
		pthread_cond_timedwait(&call->wake, &client->lock, &until);
}

/* @lock is held. Give up a call that is still pending. True: too many were given up. */
static bool abandon(struct vfm_vfio_user *client, const struct vfio_user_call *call)
{
	unlink_call(client, call);
	bitmap_set(client->abandoned, call->id);
	return ++client->abandoned_count > VFIO_USER_ABANDONED_MAX;
}

/* Wait for the reply, or for a reason to do without. */
static int call_wait(struct vfm_vfio_user *client, struct vfio_user_call *call)
{
	unsigned timeout = call->timeout_ms ? call->timeout_ms : client->options.request_timeout_ms;
	uint64_t deadline = clock_ns() + timeout * NS_PER_MSEC;
	bool too_many = false;
	int ret = 0;

	pthread_mutex_lock(&client->lock);
	while (call->state != VFIO_USER_CALL_DONE && !ret) {
		ret = verdict(client, call, deadline);
		if (!ret)
			call_sleep(client, call, deadline);
	}
	if (ret)
		too_many = abandon(client, call);
	else
		ret = call->result;
	pthread_mutex_unlock(&client->lock);
	if (too_many)
		vfio_user_lose(client, "the server left %d requests without an answer",
			       VFIO_USER_ABANDONED_MAX);
	return ret;
}

/* Take back a call that could not be sent. A server that guessed its id may be answering it. */
static void call_retract(struct vfm_vfio_user *client, struct vfio_user_call *call)
{
	pthread_mutex_lock(&client->lock);
	while (call->state == VFIO_USER_CALL_RECEIVING)
		pthread_cond_wait(&call->wake, &client->lock);
	if (call->state == VFIO_USER_CALL_PENDING)
		unlink_call(client, call);
	pthread_mutex_unlock(&client->lock);
}

static void close_fds(struct vfio_user_call *call)
{
	for (unsigned i = 0; i < call->reply_fd_count; i++)
		close(call->reply_fds[i]);
	call->reply_fd_count = 0;
}

int vfio_user_call(struct vfm_vfio_user *client, struct vfio_user_call *call)
{
	int ret = call_begin(client, call);

	if (ret < 0)
		return ret;
	ret = call_send(client, call);
	if (ret < 0)
		call_retract(client, call);
	else
		ret = call_wait(client, call);
	pthread_cond_destroy(&call->wake);
	if (ret < 0)
		close_fds(call);
	return ret;
}
