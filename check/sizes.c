/* SPDX-License-Identifier: BSD-3-Clause */
/* MIG_DATA_SIZE against what then comes. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "check/check.h"

#define ASKS  16u
#define SLACK 4096u /* bytes by which a small state may be off */

static enum check_verdict answered(struct check *check)
{
	uint64_t size;
	int ret = port_size(check->port, &size);

	return ret ? check_fail(check, "refused: %s", strerror(-ret)) : CHECK_PASS;
}

static enum check_verdict sane(struct check *check)
{
	uint64_t size;
	int ret;

	for (unsigned i = 0; i < ASKS; i++) {
		ret = port_size(check->port, &size);
		if (ret)
			return check_unjudged(check, "it is not answered: %s", strerror(-ret));
		if (size > INT64_MAX)
			return check_fail(check, "%" PRIu64 " bytes, as a signed number %" PRId64,
					  size, (int64_t)size);
	}
	return CHECK_PASS;
}

/* An answer that can be a size. */
static int ask(struct port *port, uint64_t *size)
{
	int ret = 0;

	*size = UINT64_MAX;
	for (unsigned i = 0; i < ASKS && !ret && *size > INT64_MAX; i++)
		ret = port_size(port, size);
	return ret || *size <= INT64_MAX ? ret : -ERANGE;
}

static enum check_verdict compare(struct check *check, uint64_t told, uint64_t came)
{
	if (came > INT64_MAX / 4 || told > INT64_MAX / 4 || told > came * 2 + SLACK ||
	    came > told * 2 + SLACK)
		return check_fail(check, "%" PRIu64 " bytes were told, %" PRIu64 " came", told,
				  came);
	return check_pass(check, "%" PRIu64 " bytes were told, %" PRIu64 " came", told, came);
}

/* Ask in that state, then go on to STOP_COPY, and count. */
static enum check_verdict told_in(struct check *check, enum vfm_state state)
{
	struct stream_sum sum;
	uint64_t size = 0;
	int ret = check_go(check->port, state);

	if (!ret)
		ret = ask(check->port, &size);
	if (ret)
		return check_unjudged(check, "no size in %s: %s", vfm_state_name(state),
				      strerror(-ret));
	ret = port_set_state(check->port, VFM_STATE_STOP_COPY);
	if (!ret)
		ret = stream_sum_end(check->port, &sum);
	return ret ? check_unjudged(check, "it cannot be saved: %s", strerror(-ret))
		   : compare(check, size, sum.len);
}

static enum check_verdict told(struct check *check)
{
	return told_in(check, VFM_STATE_STOP);
}

static enum check_verdict told_running(struct check *check)
{
	return told_in(check, VFM_STATE_RUNNING);
}

/* What was read early is not to come any more. */
static enum check_verdict told_early(struct check *check)
{
	struct stream_sum sum;
	uint64_t size = 0;
	int ret = check_go(check->port, VFM_STATE_PRE_COPY);

	if (!ret)
		ret = stream_drop_early(check->port);
	if (!ret)
		ret = ask(check->port, &size);
	if (ret)
		return check_unjudged(check, "no size in PRE_COPY: %s", strerror(-ret));
	ret = port_set_state(check->port, VFM_STATE_STOP_COPY);
	if (!ret)
		ret = stream_sum_end(check->port, &sum);
	return ret ? check_unjudged(check, "it cannot be saved: %s", strerror(-ret))
		   : compare(check, size, sum.len);
}

static const struct check_rule rules[] = {
	{"size-answered", "MIG_DATA_SIZE is answered while the device runs.", CHECK_MUST,
	 NEEDS_SIZE, DOES_LOOK, answered},
	{"size-sane", "MIG_DATA_SIZE is a size, and no negative errno in the place of one.",
	 CHECK_SHOULD, NEEDS_SIZE, DOES_LOOK, sane},
	{"size-told",
	 "MIG_DATA_SIZE of a device that stands still is, by a factor of two, what comes.",
	 CHECK_SHOULD, NEEDS_SIZE, DOES_MOVE, told},
	{"size-running",
	 "MIG_DATA_SIZE of a device that runs is, by a factor of two, what comes when it is stopped.",
	 CHECK_SHOULD, NEEDS_SIZE, DOES_MOVE, told_running},
	{"size-pre-copy",
	 "MIG_DATA_SIZE in PRE_COPY is, by a factor of two, what comes in STOP_COPY.",
	 CHECK_SHOULD, NEEDS_SIZE | NEEDS_PRE_COPY, DOES_MOVE, told_early},
};

const struct check_family check_sizes = {"sizes", rules, ARRAY_SIZE(rules)};
