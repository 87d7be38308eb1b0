/* SPDX-License-Identifier: BSD-3-Clause */
/* Reset in every state, and the way out of ERROR. */
#include <errno.h>
#include <string.h>

#include "check/check.h"

static enum check_verdict reset_in(struct check *check, enum vfm_state state)
{
	char text[24];
	uint32_t now;
	int ret = check_go(check->port, state);

	if (ret)
		return check_no_way(check, state, ret);
	ret = port_reset(check->port);
	if (ret)
		return check_fail(check, "in %s: %s", vfm_state_name(state), strerror(-ret));
	ret = port_get_state(check->port, &now);
	if (ret || now != VFM_STATE_RUNNING)
		return check_fail(check, "in %s it leads to %s", vfm_state_name(state),
				  ret ? strerror(-ret) : check_state_text(now, text));
	return CHECK_PASS;
}

static enum check_verdict in_every_state(struct check *check)
{
	enum check_verdict verdict = CHECK_PASS;

	for (int state = VFM_STATE_STOP; state < VFM_STATE_COUNT && !verdict; state++)
		if (check_has_state(check, state))
			verdict = reset_in(check, state);
	return verdict;
}

static enum check_verdict ends_session(struct check *check)
{
	int ret = check_go(check->port, VFM_STATE_STOP_COPY);
	char buf[512];
	ssize_t got;

	if (ret)
		return check_no_way(check, VFM_STATE_STOP_COPY, ret);
	ret = port_reset(check->port);
	if (ret)
		return check_unjudged(check, "no reset: %s", strerror(-ret));
	got = port_read(check->port, buf, sizeof(buf));
	if (got >= 0)
		return check_fail(check, "a read gives %zd bytes and no error", got);
	return check_pass(check, "refused: %s", strerror((int)-got));
}

/* A refused state is the one thing that may lead there. */
static int go_to_error(struct port *port, uint32_t *now)
{
	static const uint8_t nonsense[4096] = {1, 2, 3};
	struct stream bad = {.data = (uint8_t *)nonsense, .len = sizeof(nonsense)};
	int ret = check_fresh(port);

	if (ret)
		return ret;
	check_load_stream(port, &bad, 0, NULL);
	ret = port_get_state(port, now);
	if (ret == -EIO) /* one driver answers so in ERROR */
		*now = VFM_STATE_ERROR;
	return ret == -EIO ? 0 : ret;
}

static enum check_verdict error_locked(struct check *check)
{
	uint32_t now;
	int ret = go_to_error(check->port, &now);

	if (ret)
		return check_unjudged(check, "no state after a bad load: %s", strerror(-ret));
	if (now != VFM_STATE_ERROR)
		return check_na(check, "a bad load does not lead to ERROR");
	for (int to = VFM_STATE_STOP; to < VFM_STATE_COUNT; to++)
		if (check_has_state(check, to) && !port_set_state(check->port, (uint32_t)to))
			return check_fail(check, "ERROR -> %s was taken", vfm_state_name(to));
	ret = port_reset(check->port);
	if (!ret)
		ret = port_get_state(check->port, &now);
	if (ret || now != VFM_STATE_RUNNING)
		return check_fail(check, "a reset does not lead out of ERROR");
	return CHECK_PASS;
}

static const struct check_rule rules[] = {
	{"reset-state", "A reset leads to RUNNING, from every state.", CHECK_MUST, 0, DOES_WIPE,
	 in_every_state},
	{"reset-session", "A reset ends the data session: nothing can be read from it.", CHECK_MUST,
	 0, DOES_WIPE, ends_session},
	{"reset-error", "A reset, and nothing else, leads out of ERROR.", CHECK_MUST, 0, DOES_WIPE,
	 error_locked},
};

const struct check_family check_reset = {"reset", rules, ARRAY_SIZE(rules)};
