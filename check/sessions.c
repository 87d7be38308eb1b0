/* SPDX-License-Identifier: BSD-3-Clause */
/* Data sessions: who may read and write, and until when. */
#include <errno.h>
#include <string.h>

#include "check/check.h"

static ssize_t try_read(struct check *check)
{
	char buf[512];

	return port_read(check->port, buf, sizeof(buf));
}

static enum check_verdict ended(struct check *check)
{
	int ret = check_go(check->port, VFM_STATE_STOP_COPY);
	ssize_t got;

	if (ret)
		return check_no_way(check, VFM_STATE_STOP_COPY, ret);
	ret = port_set_state(check->port, VFM_STATE_STOP);
	if (ret)
		return check_no_way(check, VFM_STATE_STOP, ret);
	got = try_read(check);
	if (got >= 0)
		return check_fail(check, "in STOP a read gives %zd bytes and no error", got);
	return check_pass(check, "refused: %s", strerror((int)-got));
}

static enum check_verdict read_while_loading(struct check *check)
{
	int ret = check_go(check->port, VFM_STATE_RESUMING);
	ssize_t got;

	if (ret)
		return check_no_way(check, VFM_STATE_RESUMING, ret);
	got = try_read(check);
	if (got >= 0)
		return check_fail(check, "a read gives %zd bytes and no error", got);
	return check_pass(check, "refused: %s", strerror((int)-got));
}

static enum check_verdict write_while_saving(struct check *check)
{
	static const uint8_t some[64];
	int ret = check_go(check->port, VFM_STATE_STOP_COPY);

	if (ret)
		return check_no_way(check, VFM_STATE_STOP_COPY, ret);
	ret = port_write(check->port, some, sizeof(some));
	if (!ret)
		return check_fail(check, "%zu bytes were taken", sizeof(some));
	return check_pass(check, "refused: %s", strerror(-ret));
}

static const struct check_rule rules[] = {
	{"session-ended",
	 "When a data session has ended, by a SET, nothing can be read from it: that "
	 "is an error, and not the end of data.",
	 CHECK_MUST, 0, DOES_MOVE, ended},
	{"session-read-loading", "What loads cannot be read.", CHECK_MUST, 0, DOES_WIPE,
	 read_while_loading},
	{"session-write-saving", "What saves cannot be written to.", CHECK_MUST, 0, DOES_MOVE,
	 write_while_saving},
};

const struct check_family check_sessions = {"sessions", rules, ARRAY_SIZE(rules)};
