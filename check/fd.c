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
	return check_pass(check, "%s", strerror(-ret));
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

static const struct check_rule rules[] = {
	{"fd-given", "An arc that begins a data session gives its fd.", CHECK_MUST, NEEDS_FD,
	 DOES_WIPE, given},
	{"fd-none", "All other arcs give none, those from PRE_COPY to STOP_COPY among them.",
	 CHECK_MUST, NEEDS_FD, DOES_MOVE, none},
	{"fd-seek", "A data fd is a stream: no read at an offset.", CHECK_SHOULD, NEEDS_FD,
	 DOES_MOVE, seek},
	{"fd-info-argsz", "Precopy info that does not fit into argsz is refused.", CHECK_MUST,
	 NEEDS_FD | NEEDS_PRE_COPY, DOES_MOVE, info_argsz},
};

const struct check_family check_fd = {"fd", rules, ARRAY_SIZE(rules)};
