/* SPDX-License-Identifier: BSD-3-Clause */
/* Data fds: what the kernel has and vfio-user has not. */
#include <errno.h>
#include <string.h>

#include "check/check.h"
#include "fsm/fsm.h"

/* The state's arc from RUNNING: did it give an fd? */
static enum check_verdict wants_fd(struct check *check, enum vfm_state to)
{
	int ret = check_go(check->port, to);

	if (ret)
		return check_no_way(check, to, ret);
	if (!check->port->gave)
		return check_fail(check, "RUNNING -> %s gives no fd", vfm_state_name(to));
	return CHECK_PASS;
}

static enum check_verdict given(struct check *check)
{
	enum check_verdict verdict = CHECK_PASS;

	for (int to = VFM_STATE_STOP; to < VFM_STATE_COUNT && !verdict; to++)
		if (check_has_state(check, to) &&
		    (fsm_arc_opens_saving(VFM_STATE_RUNNING, to) ||
		     fsm_arc_opens_resuming(VFM_STATE_RUNNING, to)))
			verdict = wants_fd(check, to);
	return verdict;
}

/* One step on; it neither opens a session nor begins another. */
static enum check_verdict wants_none(struct check *check, enum vfm_state to)
{
	int ret = port_set_state(check->port, to);

	if (ret)
		return check_no_way(check, to, ret);
	if (check->port->gave)
		return check_fail(check, "the way to %s gives an fd", vfm_state_name(to));
	return CHECK_PASS;
}

static enum check_verdict none(struct check *check)
{
	static const enum vfm_state way[] = {VFM_STATE_PRE_COPY_P2P, VFM_STATE_STOP_COPY,
					     VFM_STATE_STOP, VFM_STATE_RUNNING_P2P,
					     VFM_STATE_RUNNING};
	bool early = check_has_state(check, VFM_STATE_PRE_COPY);
	enum check_verdict verdict = CHECK_PASS;
	int ret = check_go(check->port, early ? VFM_STATE_PRE_COPY : VFM_STATE_STOP_COPY);

	if (ret)
		return check_no_way(check, VFM_STATE_STOP_COPY, ret);
	for (size_t i = early ? 0 : 2; i < ARRAY_SIZE(way) && !verdict; i++)
		if (check_has_state(check, way[i]))
			verdict = wants_none(check, way[i]);
	return verdict;
}

static enum check_verdict seek(struct check *check)
{
	struct port *port = check->port;
	int ret = check_go(port, VFM_STATE_STOP_COPY);
	char byte;

	if (ret)
		return check_no_way(check, VFM_STATE_STOP_COPY, ret);
	if (port->data_fd < 0)
		return check_unjudged(check, "there is no fd");
	ret = (int)port->sys->pread(port->sys, port->data_fd, &byte, 1, 0);
	if (ret >= 0)
		return check_fail(check, "pread reads %d bytes", ret);
	return check_pass(check, "refused: %s", strerror(-ret));
}

static enum check_verdict info_argsz(struct check *check)
{
	struct vfm_precopy_info info = {.argsz = sizeof(info) - 1};
	struct port *port = check->port;
	int ret = check_go(port, VFM_STATE_PRE_COPY);

	if (ret)
		return check_no_way(check, VFM_STATE_PRE_COPY, ret);
	if (port->data_fd < 0)
		return check_unjudged(check, "there is no fd");
	ret = port->sys->ioctl(port->sys, port->data_fd, VFM_IOCTL_MIG_GET_PRECOPY_INFO, &info);
	if (ret >= 0)
		return check_fail(check, "%u bytes for %zu were taken", info.argsz, sizeof(info));
	return CHECK_PASS;
}

static enum check_verdict info_room(struct check *check)
{
	struct {
		struct vfm_precopy_info info;
		uint64_t more[2];
	} arg = {.info = {.flags = 0}};
	struct port *port = check->port;
	int ret = check_go(port, VFM_STATE_PRE_COPY);

	if (ret)
		return check_no_way(check, VFM_STATE_PRE_COPY, ret);
	if (port->data_fd < 0)
		return check_unjudged(check, "there is no fd");
	ret = port_info(port, &arg.info);
	if (ret)
		return check_unjudged(check, "no precopy info: %s", strerror(-ret));
	arg.info.argsz = sizeof(arg);
	ret = port->sys->ioctl(port->sys, port->data_fd, VFM_IOCTL_MIG_GET_PRECOPY_INFO, &arg);
	if (ret < 0)
		return check_fail(check, "%zu bytes for %zu: %s", sizeof(arg), sizeof(arg.info),
				  strerror(-ret));
	return CHECK_PASS;
}

/* ---- two fds ---- */

/* The fd is the caller's from now on, and the port has none. */
static int take_fd(struct port *port)
{
	int fd = port->data_fd;

	port->data_fd = -1;
	return fd;
}

static void close_fd(struct port *port, int fd)
{
	if (fd >= 0)
		port->sys->close(port->sys, fd);
}

/* @old is of before: it has no part in what goes on. */
static enum check_verdict read_old(struct check *check, int old, const char *when)
{
	char buf[512];
	ssize_t got = check->port->sys->read(check->port->sys, old, buf, sizeof(buf));

	if (got >= 0)
		return check_fail(check, "%s the old fd reads %zd bytes and no error", when, got);
	return check_pass(check, "refused: %s", strerror((int)-got));
}

/* A session is opened in @state, another one follows when it was left by @leave. *@old, the
 * caller's, is the fd of the first. */
static enum check_verdict two_sessions(struct check *check, enum vfm_state state,
				       int (*leave)(struct port *port), int *old)
{
	int ret = check_go(check->port, state);

	*old = -1;
	if (ret)
		return check_no_way(check, state, ret);
	*old = take_fd(check->port);
	if (*old < 0)
		return check_unjudged(check, "there is no fd");
	ret = leave(check->port);
	if (!ret)
		ret = port_set_state(check->port, state);
	return ret ? check_unjudged(check, "no second session: %s", strerror(-ret)) : CHECK_PASS;
}

static int stop(struct port *port)
{
	return port_set_state(port, VFM_STATE_STOP);
}

static enum check_verdict old_reads(struct check *check)
{
	static int (*const leave[])(struct port *port) = {stop, port_reset};
	enum check_verdict verdict = CHECK_PASS;
	int old;

	for (size_t i = 0; i < ARRAY_SIZE(leave) && !verdict; i++) {
		verdict = two_sessions(check, VFM_STATE_STOP_COPY, leave[i], &old);
		if (!verdict)
			verdict = read_old(check, old, i ? "after a reset" : "beside a new one");
		close_fd(check->port, old);
	}
	return verdict;
}

static enum check_verdict old_writes(struct check *check)
{
	static const uint8_t some[1]; /* of which nobody can say that they are too many */
	struct port *port = check->port;
	int old;
	enum check_verdict verdict = two_sessions(check, VFM_STATE_RESUMING, port_reset, &old);
	ssize_t took;

	if (!verdict) {
		took = port->sys->write(port->sys, old, some, sizeof(some));
		verdict = took >= 0 ? check_fail(check, "the old fd takes %zd bytes", took)
				    : check_pass(check, "refused: %s", strerror((int)-took));
	}
	close_fd(port, old);
	return verdict;
}

/* What the next user of the device finds. */
static enum check_verdict after_close(struct check *check, int old)
{
	int ret = port_reopen(check->port);
	enum check_verdict verdict;

	if (ret)
		return check_unjudged(check, "it cannot be opened beside its data fd: %s",
				      strerror(-ret));
	ret = check_fresh(check->port);
	if (ret)
		return check_no_way(check, VFM_STATE_RUNNING, ret);
	verdict = read_old(check, old, "after the device was closed");
	if (!verdict)
		ret = port_set_state(check->port, VFM_STATE_STOP_COPY);
	if (ret)
		return check_no_way(check, VFM_STATE_STOP_COPY, ret);
	return verdict ? verdict : read_old(check, old, "beside the next user's");
}

static enum check_verdict closed(struct check *check)
{
	int ret = check_go(check->port, VFM_STATE_STOP_COPY), old;
	enum check_verdict verdict;

	if (ret)
		return check_no_way(check, VFM_STATE_STOP_COPY, ret);
	old = take_fd(check->port);
	if (old < 0)
		return check_unjudged(check, "there is no fd");
	verdict = after_close(check, old);
	close_fd(check->port, old);
	return verdict;
}

/* The first bytes through one fd, which is closed, and the rest through its copy. */
static int save_by_two(struct port *port, struct stream *stream)
{
	int ret = port_set_state(port, VFM_STATE_STOP_COPY), copy;

	if (!ret)
		ret = stream_read_once(port, stream, 16);
	if (ret < 0)
		return ret;
	copy = port->sys->dup(port->sys, port->data_fd);
	if (copy < 0)
		return copy;
	port->sys->close(port->sys, port->data_fd);
	port->data_fd = copy;
	ret = stream_read_end(port, stream, 0);
	return ret ? ret : port_set_state(port, VFM_STATE_STOP);
}

static enum check_verdict load_of_two(struct check *check, struct stream *stream)
{
	int ret = check_fresh(check->port);

	if (!ret)
		ret = check_save(check->port, stream);
	if (!ret)
		ret = check_load_stream(check->port, stream, 0, NULL);
	if (ret == -EFBIG)
		return check_na(check, "its state is larger than the rule can hold");
	if (ret)
		return check_unjudged(check, "it does not take its own state: %s", strerror(-ret));
	stream->len = 0;
	ret = save_by_two(check->port, stream);
	if (ret)
		return check_fail(check, "a copy of the fd, and the fd closed: %s", strerror(-ret));
	ret = check_load_stream(check->port, stream, 0, NULL);
	if (ret)
		return check_fail(check, "%zu bytes that were read through two fds: %s",
				  stream->len, strerror(-ret));
	return CHECK_PASS;
}

static enum check_verdict copied(struct check *check)
{
	struct stream stream = {0};
	enum check_verdict verdict = load_of_two(check, &stream);

	stream_free(&stream);
	return verdict;
}

static const struct check_rule rules[] = {
	{"fd-given", "An arc that begins a data session gives its fd.", CHECK_MUST, NEEDS_FD,
	 DOES_WIPE, given},
	{"fd-none", "All other arcs give none, those from PRE_COPY to STOP_COPY among them.",
	 CHECK_MUST, NEEDS_FD, DOES_MOVE, none},
	{"fd-seek", "A data fd is a stream: no read at an offset.", CHECK_SHOULD, NEEDS_FD,
	 DOES_MOVE, seek},
	{"fd-info-argsz", "Precopy info that does not fit into argsz is refused.", CHECK_MUST,
	 NEEDS_FD | NEEDS_PRE_COPY, DOES_MOVE, info_argsz},
	{"fd-info-room", "Precopy info with room to spare in argsz is no error.", CHECK_MUST,
	 NEEDS_FD | NEEDS_PRE_COPY, DOES_MOVE, info_room},
	{"fd-old-read",
	 "The fd of a session that has ended, by a SET or a reset, reads nothing of the next one.",
	 CHECK_MUST, NEEDS_FD, DOES_WIPE, old_reads},
	{"fd-old-write",
	 "The fd of a session that was reset writes nothing into the next one.", CHECK_MUST,
	 NEEDS_FD, DOES_WIPE, old_writes},
	{"fd-closed",
	 "When the device was closed its data fd reads nothing, neither of the old user's state nor "
	 "of the next one's.",
	 CHECK_MUST, NEEDS_FD | NEEDS_REOPEN, DOES_WIPE, closed},
	{"fd-copy", "A copy of a data fd (dup) is the same session, and keeps it when the fd is "
		    "closed.",
	 CHECK_MUST, NEEDS_FD, DOES_WIPE, copied},
};

const struct check_family check_fd = {"fd", rules, ARRAY_SIZE(rules)};
