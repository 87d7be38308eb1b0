/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waiting for data: O_NONBLOCK and poll(). Of devices of the kernel alone. A driver without a poll of
 * its own is always ready, and keeps these rules by never saying EAGAIN.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "check/check.h"
#include "check/patience.h"

#define CHUNK     (64u << 10)
#define AGAIN_MAX 64u   /* so often EAGAIN from one who says that it is ready */
#define READS_MAX 65536u

/* Is there something to read, or an end, or an error? It is asked until @ms are over. */
static bool is_ready(struct port *port, unsigned ms)
{
	/* The first is for one who wakes us (vfio-sys.h's users have one): nobody. */
	struct pollfd fds[2] = {{.fd = -1}, {.fd = port->data_fd, .events = POLLIN}};

	return port->sys->poll(port->sys, fds, 2, (int)ms) > 0 && fds[1].revents;
}

/* A read that may not sleep: -ETIMEDOUT if it does. */
static ssize_t read_now(struct check *check, void *buf, size_t len)
{
	struct port *port = check->port;
	struct patience patience;

	patience_begin(&patience, check->patience_ms);
	return patience_end(&patience, port->sys->read(port->sys, port->data_fd, buf, len));
}

static enum check_verdict go(struct check *check, enum vfm_state state)
{
	struct port *port = check->port;
	int ret = check_go(port, state);

	if (ret)
		return check_no_way(check, state, ret);
	if (port->data_fd < 0 || !port->gave)
		return check_unjudged(check, "there is no fd");
	ret = port->sys->set_nonblock(port->sys, port->data_fd);
	return ret ? check_unjudged(check, "O_NONBLOCK: %s", strerror(-ret)) : CHECK_PASS;
}

/* ---- O_NONBLOCK ---- */

/* Reads of one state, up to what says that there is nothing now. */
static enum check_verdict read_some(struct check *check, enum vfm_state state, void *buf)
{
	unsigned again = 0;
	ssize_t got = 1;

	for (unsigned i = 0; i < READS_MAX && (got > 0 || got == -EAGAIN) && again < AGAIN_MAX; i++) {
		got = read_now(check, buf, CHUNK);
		if (got != -EAGAIN)
			continue;
		again++;
		is_ready(check->port, 10);
	}
	if (got == -ETIMEDOUT)
		return check_fail(check, "in %s a read sleeps", vfm_state_name(state));
	/* That ENOMSG is not for STOP_COPY is end-zero's. */
	if (got < 0 && got != -EAGAIN && got != -ENOMSG)
		return check_fail(check, "in %s: %s", vfm_state_name(state), strerror((int)-got));
	return CHECK_PASS;
}

static enum check_verdict try_all_states(struct check *check, void *buf)
{
	static const enum vfm_state way[] = {VFM_STATE_PRE_COPY, VFM_STATE_PRE_COPY_P2P,
					     VFM_STATE_STOP_COPY};
	bool early = check_has_state(check, VFM_STATE_PRE_COPY);
	enum check_verdict verdict = go(check, early ? way[0] : way[2]);
	int ret;

	for (size_t i = early ? 0 : 2; i < ARRAY_SIZE(way) && !verdict; i++) {
		if (!check_has_state(check, way[i]))
			continue;
		ret = early && i ? port_set_state(check->port, way[i]) : 0;
		if (early && i && !ret && check->port->gave)
			return check_unjudged(check, "the way there gives another fd (fd-none)");
		verdict = ret ? check_no_way(check, way[i], ret) : read_some(check, way[i], buf);
	}
	return verdict;
}

static enum check_verdict with_buffer(struct check *check,
				      enum check_verdict (*rule)(struct check *, void *))
{
	void *buf = malloc(CHUNK);
	enum check_verdict verdict = buf ? rule(check, buf) : check_unjudged(check, "no memory");

	free(buf);
	return verdict;
}

static enum check_verdict nonblock(struct check *check)
{
	return with_buffer(check, try_all_states);
}

/* ---- poll ---- */

/*
 * One step towards the end in STOP_COPY: ask, then read. *@got is what came. What a poll in vain
 * means is told by the read after it.
 */
static enum check_verdict ask_and_read(struct check *check, void *buf, ssize_t *got)
{
	bool ready = true;

	*got = -EAGAIN;
	for (unsigned i = 0; i < AGAIN_MAX && ready && *got == -EAGAIN; i++) {
		ready = is_ready(check->port, check->patience_ms);
		*got = read_now(check, buf, CHUNK);
	}
	if (!ready && *got > 0)
		return check_fail(check, "poll waits in vain, and a read gives %zd bytes", *got);
	if (!ready && *got == -EAGAIN)
		return check_unjudged(check, "no data within %u ms", check->patience_ms);
	if (*got == -EAGAIN)
		return check_fail(check, "poll says ready, and %u reads say EAGAIN", AGAIN_MAX);
	return CHECK_PASS;
}

static enum check_verdict read_through(struct check *check, void *buf)
{
	enum check_verdict verdict = go(check, VFM_STATE_STOP_COPY);
	ssize_t got = 1;

	for (unsigned i = 0; i < READS_MAX && !verdict && got > 0; i++)
		verdict = ask_and_read(check, buf, &got);
	if (!verdict && got < 0)
		return check_unjudged(check, "a read: %s", strerror((int)-got));
	return verdict;
}

static enum check_verdict ready(struct check *check)
{
	return with_buffer(check, read_through);
}

static enum check_verdict read_to_end(struct check *check, void *buf)
{
	enum check_verdict verdict = go(check, VFM_STATE_STOP_COPY);
	ssize_t got = 1;

	for (unsigned i = 0; i < READS_MAX && !verdict && (got > 0 || got == -EAGAIN); i++) {
		got = read_now(check, buf, CHUNK);
		if (got == -EAGAIN)
			is_ready(check->port, 10);
	}
	if (!verdict && got)
		return check_unjudged(check, "there was no end");
	return verdict;
}

static enum check_verdict ready_at_end(struct check *check)
{
	enum check_verdict verdict = with_buffer(check, read_to_end);

	if (!verdict && !is_ready(check->port, check->patience_ms))
		return check_fail(check, "at the end poll waits in vain");
	return verdict;
}

static enum check_verdict ready_when_over(struct check *check)
{
	enum check_verdict verdict = go(check, VFM_STATE_STOP_COPY);
	int ret;

	if (verdict)
		return verdict;
	ret = port_set_state(check->port, VFM_STATE_STOP);
	if (ret)
		return check_no_way(check, VFM_STATE_STOP, ret);
	if (!is_ready(check->port, check->patience_ms))
		return check_fail(check, "poll waits in vain for what has ended");
	return CHECK_PASS;
}

static const struct check_rule rules[] = {
	{"poll-nonblock",
	 "With O_NONBLOCK a read does not sleep: it gives data, or says EAGAIN, or that there is "
	 "nothing now.",
	 CHECK_MUST, NEEDS_FD, DOES_MOVE, nonblock},
	{"poll-ready",
	 "Where there is data in STOP_COPY, poll says so; and where poll says ready, reads do not "
	 "say EAGAIN for ever.",
	 CHECK_MUST, NEEDS_FD, DOES_MOVE, ready},
	{"poll-end", "At the permanent end of data poll always says ready.", CHECK_MUST, NEEDS_FD,
	 DOES_MOVE, ready_at_end},
	{"poll-over", "poll does not wait for a data session that has ended.", CHECK_SHOULD,
	 NEEDS_FD, DOES_MOVE, ready_when_over},
};

const struct check_family check_poll = {"poll", rules, ARRAY_SIZE(rules)};
