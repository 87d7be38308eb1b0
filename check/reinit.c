/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PRECOPY_INFOv2 and REINIT: initial bytes that begin anew. A simulated device is told to begin them
 * anew (sim/regs.h); whether another one ever does is its own affair, and rules for what comes then
 * do not apply until it does.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "check/check.h"
#include "sim/regs.h"

#define ASKS   64u /* after the initial bytes were read */
#define ROUNDS 4096u
#define FLAGS  0xf0f0f0f0u /* of no meaning */

static int ask(struct check *check, uint32_t flags, struct vfm_precopy_info *info)
{
	*info = (struct vfm_precopy_info){.argsz = sizeof(*info), .flags = flags};
	return port_info(check->port, info);
}

/* A simulated device does as it is told; nobody else has such a register. */
static void provoke(struct check *check)
{
	uint32_t command = SIM_COMMAND_REINIT;

	if (check->writer)
		check->port->ops->region_write(check->port, SIM_BAR_REGS, SIM_REG_COMMAND, &command,
					       sizeof(command));
}

/* To PRE_COPY, where from now on the flags are told. */
static enum check_verdict begin(struct check *check)
{
	int ret = port_opt_in(check->port);

	if (ret)
		return check_unjudged(check, "it cannot be opted in: %s", strerror(-ret));
	ret = check_go(check->port, VFM_STATE_PRE_COPY);
	return ret ? check_no_way(check, VFM_STATE_PRE_COPY, ret) : CHECK_PASS;
}

/* ---- the opt-in ---- */

static enum check_verdict opt_in(struct check *check)
{
	uint64_t data[2] = {UINT64_MAX, UINT64_MAX};
	int ret = port_opt_in(check->port);

	if (ret)
		return check_fail(check, "probing says yes, SET: %s", strerror(-ret));
	if (!(check->port->can & PORT_FD)) /* vfio-user has a size for a request of its own */
		return CHECK_PASS;
	ret = check->port->ops->feature(check->port,
					VFM_FEATURE_MIG_PRECOPY_INFOV2 | VFM_FEATURE_SET, data,
					sizeof(data), sizeof(data));
	return ret ? check_fail(check, "SET with data, which is to be ignored: %s", strerror(-ret))
		   : CHECK_PASS;
}

static enum check_verdict no_pre_copy(struct check *check)
{
	int ret;

	if (check->caps & VFM_MIG_PRE_COPY)
		return check_na(check, "it has PRE_COPY");
	ret = port_opt_in(check->port);
	if (!ret)
		return check_fail(check, "it was taken");
	return check_pass(check, "refused: %s", strerror(-ret));
}

static enum check_verdict forms(struct check *check)
{
	static const struct {
		uint32_t ops;
		const char *text;
	} wrong[] = {
		{VFM_FEATURE_GET, "GET"},
		{VFM_FEATURE_GET | VFM_FEATURE_SET, "GET with SET"},
		{0, "neither GET nor SET"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (!check->port->ops->feature(check->port,
					       VFM_FEATURE_MIG_PRECOPY_INFOV2 | wrong[i].ops, NULL,
					       0, 0))
			return check_fail(check, "%s was taken", wrong[i].text);
	return CHECK_PASS;
}

/* ---- the flags ---- */

static enum check_verdict flags_valid(struct check *check)
{
	struct vfm_precopy_info info;
	enum check_verdict verdict = begin(check);
	int ret;

	if (verdict)
		return verdict;
	ret = ask(check, FLAGS, &info);
	if (ret)
		return check_unjudged(check, "no precopy info: %s", strerror(-ret));
	if (info.flags & ~VFM_PRECOPY_INFO_REINIT)
		return check_fail(check, "they are 0x%x", info.flags);
	return CHECK_PASS;
}

/* ---- initial bytes that begin anew ---- */

/* What was seen on the way there. */
struct way {
	struct vfm_precopy_info told; /* the last answer */
	uint64_t last;       /* initial bytes of the one before */
	bool rose;           /* they grew, and nothing was said */
	struct stream read;
};

/* One answer. */
static int step(struct check *check, struct way *way)
{
	bool first = !way->told.argsz;
	int ret;

	way->last = way->told.initial_bytes;
	ret = ask(check, 0, &way->told);
	if (ret)
		return ret;
	way->rose |= !first && way->told.initial_bytes > way->last &&
		     !(way->told.flags & VFM_PRECOPY_INFO_REINIT);
	return 0;
}

/* Read and ask in turn until initial bytes begin anew; false: they do not. */
static bool find_renewal(struct check *check, struct way *way, int *ret)
{
	unsigned idle = 0;

	for (unsigned i = 0; i < ROUNDS && idle < ASKS; i++) {
		*ret = step(check, way);
		if (*ret || way->told.flags & VFM_PRECOPY_INFO_REINIT)
			return !*ret;
		*ret = stream_read_once(check->port, &way->read, 64u << 10);
		if (*ret < 0 && *ret != -ENOMSG && *ret != -EAGAIN)
			return false;
		if (*ret <= 0 && !idle++)
			provoke(check);
	}
	*ret = MIN(*ret, 0);
	*ret = *ret == -ENOMSG || *ret == -EAGAIN ? 0 : *ret;
	return false;
}

static enum check_verdict with_way(struct check *check,
				   enum check_verdict (*rule)(struct check *, struct way *))
{
	struct way way = {.rose = false};
	enum check_verdict verdict = begin(check);
	bool found;
	int ret = 0;

	if (verdict)
		return verdict;
	found = find_renewal(check, &way, &ret);
	if (ret == -EFBIG)
		verdict = check_na(check, "its state is larger than the rule can hold");
	else if (ret)
		verdict = check_unjudged(check, "reading and asking in turn: %s", strerror(-ret));
	else if (!found && !way.rose)
		verdict = check_na(check, "its initial bytes never began anew");
	else
		verdict = rule(check, &way);
	stream_free(&way.read);
	return verdict;
}

/* A device whose last user had opted in, and this one has not: whatever begins anew, it is not told. */
static enum check_verdict forgotten(struct check *check)
{
	struct way way = {.rose = false};
	int ret = port_opt_in(check->port);
	bool found = false;

	if (!ret)
		ret = port_reopen(check->port);
	if (!ret)
		ret = check_go(check->port, VFM_STATE_PRE_COPY);
	if (!ret)
		found = find_renewal(check, &way, &ret);
	stream_free(&way.read);
	if (ret == -EFBIG)
		return check_na(check, "its state is larger than the rule can hold");
	if (ret)
		return check_unjudged(check, "no precopy info after opening anew: %s",
				      strerror(-ret));
	if (found)
		return check_fail(check, "REINIT is told to who has not opted in");
	return CHECK_PASS;
}

static enum check_verdict judge_rise(struct check *check, struct way *way)
{
	return way->rose ? check_fail(check, "they grow, and the answer has no REINIT") : CHECK_PASS;
}

static enum check_verdict rise(struct check *check)
{
	return with_way(check, judge_rise);
}

static enum check_verdict judge_dirty(struct check *check, struct way *way)
{
	if (way->rose)
		return check_na(check, "its initial bytes rise unsaid (reinit-rise)");
	if (way->told.dirty_bytes)
		return check_fail(check, "with REINIT %" PRIu64 " dirty bytes are told, beside %" PRIu64
					 " initial ones",
				  (uint64_t)way->told.dirty_bytes,
				  (uint64_t)way->told.initial_bytes);
	return CHECK_PASS;
}

static enum check_verdict dirty(struct check *check)
{
	return with_way(check, judge_dirty);
}

/* The stream goes on, to its end, and is loaded. */
static enum check_verdict judge_stream(struct check *check, struct way *way)
{
	size_t before = way->read.len;
	int ret = stream_read_early(check->port, &way->read);

	if (!ret)
		ret = port_set_state(check->port, VFM_STATE_STOP_COPY);
	if (!ret)
		ret = stream_read_end(check->port, &way->read, 0);
	if (!ret)
		ret = port_set_state(check->port, VFM_STATE_STOP);
	if (ret == -EFBIG)
		return check_na(check, "its state is larger than the rule can hold");
	if (ret)
		return check_unjudged(check, "after REINIT it cannot be saved: %s", strerror(-ret));
	ret = check_load_stream(check->port, &way->read, 0, NULL);
	if (ret)
		return check_fail(check, "%zu bytes, and %zu after REINIT: %s", before,
				  way->read.len - before, strerror(-ret));
	return check_pass(check, "%zu bytes, and %zu after REINIT", before, way->read.len - before);
}

static enum check_verdict whole(struct check *check)
{
	enum check_verdict verdict = check_pre_copy_loads(check);

	return verdict ? verdict : with_way(check, judge_stream);
}

static const struct check_rule rules[] = {
	{"reinit-opt-in", "PRECOPY_INFOv2 is opted into by a SET; data is ignored.",
	 CHECK_MUST, NEEDS_REINIT, DOES_LOOK, opt_in},
	{"reinit-refused", "Without PRE_COPY nobody can opt in to PRECOPY_INFOv2.", CHECK_MUST, 0,
	 DOES_LOOK, no_pre_copy},
	{"reinit-forms", "PRECOPY_INFOv2 is SET: what is no SET is refused.", CHECK_MUST,
	 NEEDS_REINIT, DOES_LOOK, forms},
	{"reinit-flags", "Who has opted in finds flags that the device set: REINIT, or none.",
	 CHECK_MUST, NEEDS_REINIT | NEEDS_INFO, DOES_MOVE, flags_valid},
	{"reinit-reopen", "The opt-in is gone when the device is opened anew.", CHECK_MUST,
	 NEEDS_REINIT | NEEDS_INFO | NEEDS_REOPEN, DOES_WIPE, forgotten},
	{"reinit-rise", "Who has opted in sees initial bytes grow in an answer with REINIT alone.",
	 CHECK_MUST, NEEDS_REINIT | NEEDS_INFO, DOES_MOVE, rise},
	{"reinit-dirty",
	 "With REINIT dirty bytes begin at 0 again: they are relative to the new initial ones.",
	 CHECK_SHOULD, NEEDS_REINIT | NEEDS_INFO, DOES_MOVE, dirty},
	{"reinit-load", "A stream in which initial bytes began anew can be loaded.", CHECK_MUST,
	 NEEDS_REINIT | NEEDS_INFO, DOES_WIPE, whole},
};

const struct check_family check_reinit = {"reinit", rules, ARRAY_SIZE(rules)};
