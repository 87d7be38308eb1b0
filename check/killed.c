/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A user that dies, and what the next one finds. The user is a process that is killed where one can
 * be had; else the device is closed and opened again.
 *
 *	close ──> a process opens it, and says that it is at it ──> SIGKILL ──> open: usable?
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "check/check.h"

#define ROUNDS   3u
#define DELAY_MS 20u /* at most, before a busy user is killed */

/* @was: "in STOP", "in the middle of a read". */
static enum check_verdict is_usable(struct check *check, const char *was)
{
	char text[24];
	uint32_t found = VFM_STATE_COUNT;
	int ret = port_get_state(check->port, &found);

	if (ret == -EIO)
		found = VFM_STATE_ERROR;
	else if (ret)
		return check_fail(check, "left %s it tells no state: %s", was, strerror(-ret));
	if (!check_bring_back(check->port))
		return check_fail(check,
				  "left %s, found in %s, and neither SET nor reset brings it to "
				  "RUNNING",
				  was, check_state_text(found, text));
	return CHECK_PASS;
}

/* A process is @what, and dies @delay_ms after it said so. */
static int kill_user(struct port *port, const char *what, unsigned delay_ms)
{
	int ret = check_fresh(port);

	if (!ret)
		ret = port->opener.spawn(port->opener.opaque, port, what);
	if (!ret) {
		poll(NULL, 0, (int)delay_ms);
		port->opener.kill(port->opener.opaque);
	}
	return ret;
}

static enum check_verdict opened_again(struct check *check, int killed, const char *was)
{
	int ret = port_reopen(check->port);

	if (killed)
		return check_unjudged(check, "nobody to be killed %s: %s", was, strerror(-killed));
	if (ret)
		return check_fail(check, "left %s it cannot be opened: %s", was, strerror(-ret));
	return is_usable(check, was);
}

static enum check_verdict dies_in(struct check *check, enum vfm_state state)
{
	struct port *port = check->port;
	char was[32];
	int ret;

	snprintf(was, sizeof(was), "in %s", vfm_state_name(state));
	if (port->can & PORT_SPAWN)
		return opened_again(check, kill_user(port, vfm_state_name(state), 0), was);
	ret = check_go(port, state);
	return ret ? check_no_way(check, state, ret) : opened_again(check, 0, was);
}

static enum check_verdict in_every_state(struct check *check)
{
	enum check_verdict verdict = CHECK_PASS;

	for (int state = VFM_STATE_STOP; state < VFM_STATE_COUNT && !verdict; state++)
		if (check_has_state(check, state))
			verdict = dies_in(check, state);
	return verdict;
}

static enum check_verdict dies_while(struct check *check, const char *what)
{
	enum check_verdict verdict = CHECK_PASS;
	uint64_t random = check->seed;
	char was[32];

	snprintf(was, sizeof(was), "while %s", what);
	for (unsigned i = 0; i < ROUNDS && !verdict; i++) {
		unsigned delay_ms = (unsigned)(check_random(&random) % DELAY_MS);

		verdict = opened_again(check, kill_user(check->port, what, delay_ms), was);
	}
	return verdict;
}

static enum check_verdict reading(struct check *check)
{
	return dies_while(check, "reading");
}

static enum check_verdict writing(struct check *check)
{
	return dies_while(check, "writing");
}

static enum check_verdict moving(struct check *check)
{
	return dies_while(check, "moving");
}

static const struct check_rule rules[] = {
	{"reopen-state",
	 "In whatever state its user dies: the next one can read the device's state and bring it to "
	 "RUNNING.",
	 CHECK_MUST, NEEDS_REOPEN, DOES_WIPE, in_every_state},
	{"killed-reading", "The same, if it dies in the middle of reading a state.", CHECK_MUST,
	 NEEDS_SPAWN, DOES_WIPE, reading},
	{"killed-writing", "The same, if it dies in the middle of writing one.", CHECK_MUST,
	 NEEDS_SPAWN, DOES_WIPE, writing},
	{"killed-moving", "The same, if it dies in the middle of a change of state.", CHECK_MUST,
	 NEEDS_SPAWN, DOES_WIPE, moving},
};

const struct check_family check_killed = {"killed", rules, ARRAY_SIZE(rules)};
