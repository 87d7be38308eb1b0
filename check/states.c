/* SPDX-License-Identifier: BSD-3-Clause */
/* Every pair of states, against the state machine (src/fsm). */
#include <errno.h>
#include <string.h>

#include "check/check.h"
#include "fsm/fsm.h"

/* Does the machine allow the pair? Equal ones are no pair. */
static bool is_allowed(const struct check *check, enum vfm_state from, enum vfm_state to)
{
	enum vfm_state path[FSM_PATH_MAX];
	unsigned len;

	return !fsm_path(from, to, check->caps, path, &len) && len;
}

/* One arc, and not a way of several? */
static bool is_arc(const struct check *check, enum vfm_state from, enum vfm_state to)
{
	enum vfm_state path[FSM_PATH_MAX];
	unsigned len;

	return !fsm_path(from, to, check->caps, path, &len) && len == 1;
}

static enum check_verdict try_allowed(struct check *check, enum vfm_state from, enum vfm_state to)
{
	char text[24];
	uint32_t now;
	int ret = check_go(check->port, from);

	if (ret)
		return check_fail(check, "RUNNING -> %s: %s", vfm_state_name(from), strerror(-ret));
	ret = is_arc(check, from, to) ? latency_take(check->port, from, to)
				      : port_set_state(check->port, to);
	if (ret)
		return check_fail(check, "%s -> %s: %s", vfm_state_name(from), vfm_state_name(to),
				  strerror(-ret));
	ret = port_get_state(check->port, &now);
	if (ret || now != to)
		return check_fail(check, "%s -> %s ends in %s", vfm_state_name(from),
				  vfm_state_name(to), ret ? strerror(-ret)
							  : check_state_text(now, text));
	return CHECK_PASS;
}

/* RESUMING is left by rules that have a state to load. */
static enum check_verdict allowed(struct check *check)
{
	enum check_verdict verdict = CHECK_PASS;
	unsigned pairs = 0;

	for (int from = VFM_STATE_STOP; from < VFM_STATE_COUNT; from++)
		for (int to = VFM_STATE_STOP; to < VFM_STATE_COUNT && !verdict; to++)
			if (from != VFM_STATE_RESUMING && is_allowed(check, from, to)) {
				verdict = try_allowed(check, from, to);
				pairs++;
			}
	return verdict ? verdict : check_pass(check, "%u pairs", pairs);
}

static enum check_verdict same(struct check *check)
{
	char text[24];
	uint32_t now;
	int ret;

	for (int state = VFM_STATE_STOP; state < VFM_STATE_COUNT; state++) {
		if (!check_has_state(check, state))
			continue;
		ret = check_go(check->port, state);
		if (ret)
			return check_no_way(check, state, ret);
		ret = port_set_state(check->port, (uint32_t)state);
		if (ret)
			return check_fail(check, "%s -> %s: %s", vfm_state_name(state),
					  vfm_state_name(state), strerror(-ret));
		ret = port_get_state(check->port, &now);
		if (ret || now != (uint32_t)state)
			return check_fail(check, "%s -> the same ends in %s",
					  vfm_state_name(state), check_state_text(now, text));
	}
	return CHECK_PASS;
}

/* Ask a device in @from for @to, which it has to refuse. */
static enum check_verdict try_refused(struct check *check, enum vfm_state from, uint32_t to)
{
	char text[24];
	int ret = check_go(check->port, from);

	if (ret)
		return check_no_way(check, from, ret);
	if (!port_set_state(check->port, to))
		return check_fail(check, "%s -> %s was taken", vfm_state_name(from),
				  check_state_text(to, text));
	return CHECK_PASS;
}

static enum check_verdict forbidden(struct check *check)
{
	enum check_verdict verdict = CHECK_PASS;
	unsigned pairs = 0;

	for (int from = VFM_STATE_STOP; from < VFM_STATE_COUNT; from++)
		for (int to = VFM_STATE_STOP; to < VFM_STATE_COUNT && !verdict; to++)
			if (from != to && check_has_state(check, from) &&
			    check_has_state(check, to) && !is_allowed(check, from, to)) {
				verdict = try_refused(check, from, (uint32_t)to);
				pairs++;
			}
	if (!verdict && !pairs)
		return check_na(check, "with its flags every pair is allowed");
	return verdict ? verdict : check_pass(check, "%u pairs", pairs);
}

static enum check_verdict unsupported(struct check *check)
{
	enum check_verdict verdict = CHECK_PASS;
	unsigned states = 0;

	for (int to = VFM_STATE_STOP; to < VFM_STATE_COUNT && !verdict; to++)
		if (!check_has_state(check, to)) {
			verdict = try_refused(check, VFM_STATE_RUNNING, (uint32_t)to);
			states++;
		}
	if (!verdict && !states)
		return check_na(check, "it supports all states");
	return verdict;
}

static enum check_verdict out_of_range(struct check *check)
{
	static const uint32_t numbers[] = {VFM_STATE_COUNT, VFM_STATE_COUNT + 1, 0x102, INT32_MAX,
					   UINT32_MAX};
	enum check_verdict verdict = CHECK_PASS;

	for (size_t i = 0; i < ARRAY_SIZE(numbers) && !verdict; i++)
		verdict = try_refused(check, VFM_STATE_RUNNING, numbers[i]);
	return verdict;
}

static enum check_verdict to_error(struct check *check)
{
	return try_refused(check, VFM_STATE_RUNNING, VFM_STATE_ERROR);
}

/* What has no number of its own is refused by everybody: 8 is the first. */
static enum check_verdict kept_after_refusal(struct check *check)
{
	char text[24];
	uint32_t now;
	int ret;

	for (int state = VFM_STATE_STOP; state < VFM_STATE_COUNT; state++) {
		if (!check_has_state(check, state))
			continue;
		ret = check_go(check->port, state);
		if (ret)
			return check_no_way(check, state, ret);
		if (!port_set_state(check->port, VFM_STATE_COUNT))
			return check_unjudged(check, "state 8 was taken");
		ret = port_get_state(check->port, &now);
		if (ret)
			return check_fail(check, "no state after a refusal in %s: %s",
					  vfm_state_name(state), strerror(-ret));
		if (now != (uint32_t)state)
			return check_fail(check, "a refusal in %s left it in %s",
					  vfm_state_name(state), check_state_text(now, text));
	}
	return CHECK_PASS;
}

static const struct check_rule rules[] = {
	{"state-allowed", "Each pair of states that the state machine connects, by one arc or by "
			  "several, can be asked for, and ends in the state asked for.",
	 CHECK_MUST, 0, DOES_MOVE, allowed},
	{"state-same", "Asking for the state that the device is in changes nothing and succeeds.",
	 CHECK_SHOULD, 0, DOES_MOVE, same},
	{"state-forbidden", "A pair of states that no allowed path connects is refused.",
	 CHECK_MUST, 0, DOES_MOVE, forbidden},
	{"state-unsupported", "A state that the migration flags do not announce is refused.",
	 CHECK_MUST, 0, DOES_MOVE, unsupported},
	{"state-range", "A number that is no state is refused.", CHECK_MUST, 0, DOES_MOVE,
	 out_of_range},
	{"state-error", "ERROR is for the device to enter: nobody can ask for it.", CHECK_MUST, 0,
	 DOES_MOVE, to_error},
	{"state-kept", "A request for what is no state leaves the device in the state it was in.",
	 CHECK_MUST, 0, DOES_MOVE, kept_after_refusal},
	{"state-downtime",
	 "The arcs of a switchover, into STOP_COPY and out of RESUMING, take 300 ms at most, QEMU's "
	 "downtime limit by default.",
	 CHECK_NOTE, 0, DOES_WIPE, check_downtime},
};

const struct check_family check_states = {"states", rules, ARRAY_SIZE(rules)};
