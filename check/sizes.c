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

	return ret ? check_fail(check, "%s", strerror(-ret)) : CHECK_PASS;
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

static enum check_verdict told(struct check *check)
{
	struct stream stream = {0};
	enum check_verdict verdict;
	uint64_t size;
	int ret = check_go(check->port, VFM_STATE_STOP);

	if (!ret)
		ret = ask(check->port, &size);
	if (ret)
		return check_unjudged(check, "no size in STOP: %s", strerror(-ret));
	ret = check_save(check->port, &stream);
	if (ret == -EFBIG)
		verdict = check_na(check, "its state is larger than the rule can hold");
	else if (ret)
		verdict = check_unjudged(check, "it cannot be saved: %s", strerror(-ret));
	else
		verdict = compare(check, size, stream.len);
	stream_free(&stream);
	return verdict;
}

static const struct check_rule rules[] = {
	{"size-answered", "MIG_DATA_SIZE is answered while the device runs.", CHECK_MUST,
	 NEEDS_SIZE, DOES_LOOK, answered},
	{"size-sane", "MIG_DATA_SIZE is a size, and no negative errno in the place of one.",
	 CHECK_SHOULD, NEEDS_SIZE, DOES_LOOK, sane},
	{"size-told",
	 "MIG_DATA_SIZE of a device that stands still is, by a factor of two, what comes.",
	 CHECK_SHOULD, NEEDS_SIZE, DOES_MOVE, told},
};

const struct check_family check_sizes = {"sizes", rules, ARRAY_SIZE(rules)};
