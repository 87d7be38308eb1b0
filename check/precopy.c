/* SPDX-License-Identifier: BSD-3-Clause */
/* Precopy info: where it is told, and what the numbers do. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "check/check.h"

#define CHUNK     (16u << 10)  /* a read, so that many an answer comes between two */
#define CHUNK_BIG (256u << 10) /* one of a pre-copy that is long */
#define LONG      (8u << 20)
#define MOST_MIB  320u
#define MOST      ((uint64_t)MOST_MIB << 20) /* bytes; what does not end before is not judged */
#define ROUNDS    ((unsigned)(MOST / CHUNK))

static int ask(struct check *check, struct vfm_precopy_info *info)
{
	*info = (struct vfm_precopy_info){.argsz = sizeof(*info)};
	return port_info(check->port, info);
}

static enum check_verdict told(struct check *check)
{
	struct vfm_precopy_info info;
	int ret = check_go(check->port, VFM_STATE_PRE_COPY);

	if (ret)
		return check_no_way(check, VFM_STATE_PRE_COPY, ret);
	ret = ask(check, &info);
	if (ret)
		return check_fail(check, "refused: %s", strerror(-ret));
	return check_pass(check, "%" PRIu64 " initial bytes, %" PRIu64 " dirty ones",
			  (uint64_t)info.initial_bytes, (uint64_t)info.dirty_bytes);
}

static enum check_verdict told_in_p2p(struct check *check)
{
	struct vfm_precopy_info info;
	int ret = check_go(check->port, VFM_STATE_PRE_COPY_P2P);

	if (ret)
		return check_no_way(check, VFM_STATE_PRE_COPY_P2P, ret);
	ret = ask(check, &info);
	return ret ? check_fail(check, "refused: %s", strerror(-ret)) : CHECK_PASS;
}

static enum check_verdict told_elsewhere(struct check *check)
{
	struct vfm_precopy_info info;
	int ret = check_go(check->port, VFM_STATE_PRE_COPY);

	if (!ret)
		ret = port_set_state(check->port, VFM_STATE_STOP_COPY);
	if (ret)
		return check_no_way(check, VFM_STATE_STOP_COPY, ret);
	ret = ask(check, &info);
	if (!ret)
		return check_fail(check, "it is answered in STOP_COPY");
	return check_pass(check, "refused: %s", strerror(-ret));
}

/* After @read bytes; @buf has CHUNK_BIG. */
static ssize_t read_next(struct check *check, uint8_t *buf, uint64_t read)
{
	return port_read(check->port, buf, read < LONG ? CHUNK : CHUNK_BIG);
}

static enum check_verdict not_ended(struct check *check, uint64_t read)
{
	if (read >= MOST)
		return check_na(check, "not tried: more than %u MiB came before an end", MOST_MIB);
	return check_na(check, "not tried: %" PRIu64 " bytes came, and no end", read);
}

/* Nobody has opted in to the flags: the device was opened anew. */
static enum check_verdict flags(struct check *check)
{
	struct vfm_precopy_info info;
	int ret = port_reopen(check->port);

	if (ret)
		return check_unjudged(check, "it cannot be opened again: %s", strerror(-ret));
	ret = check_go(check->port, VFM_STATE_PRE_COPY);
	if (!ret)
		ret = ask(check, &info);
	if (ret)
		return check_unjudged(check, "no precopy info: %s", strerror(-ret));
	if (info.flags)
		return check_fail(check, "0 became 0x%x", info.flags);
	return CHECK_PASS;
}

/* Read through the initial bytes, and ask each time. */
struct walk {
	uint64_t first; /* initial bytes that were told at the start */
	uint64_t last;  /* and at the end */
	uint64_t grew_from, grew_to; /* the first time that they grew; 0, 0: never */
	uint64_t read;  /* bytes until none were left */
	bool renewed;   /* the device said that they begin anew */
};

static int walk_with(struct check *check, struct walk *walk, uint8_t *buf)
{
	struct vfm_precopy_info info;
	ssize_t got = 1;
	int ret = ask(check, &info);

	walk->first = walk->last = info.initial_bytes;
	for (unsigned i = 0;
	     i < ROUNDS && walk->read < MOST && !ret && got > 0 && walk->last; i++) {
		got = read_next(check, buf, walk->read);
		walk->read += got > 0 ? (uint64_t)got : 0;
		ret = ask(check, &info);
		walk->renewed |= info.flags & VFM_PRECOPY_INFO_REINIT;
		if (!ret && info.initial_bytes > walk->last && !walk->renewed && !walk->grew_to) {
			walk->grew_from = walk->last;
			walk->grew_to = info.initial_bytes;
		}
		walk->last = info.initial_bytes;
	}
	return ret ? ret : got < 0 && got != -ENOMSG && got != -EAGAIN ? (int)got : 0;
}

static int walk(struct check *check, struct walk *walk)
{
	uint8_t *buf = malloc(CHUNK_BIG);
	int ret = buf ? walk_with(check, walk, buf) : -ENOMEM;

	free(buf);
	return ret;
}

static enum check_verdict go_and_walk(struct check *check, struct walk *steps)
{
	int ret = check_go(check->port, VFM_STATE_PRE_COPY);

	if (ret)
		return check_no_way(check, VFM_STATE_PRE_COPY, ret);
	ret = walk(check, steps);
	return ret ? check_unjudged(check, "reading and asking in turn: %s", strerror(-ret))
		   : CHECK_PASS;
}

static enum check_verdict monotonic(struct check *check)
{
	struct walk steps = {0};
	enum check_verdict verdict = go_and_walk(check, &steps);

	if (!verdict && steps.grew_to)
		return check_fail(check, "they grow from %" PRIu64 " to %" PRIu64 " bytes",
				  steps.grew_from, steps.grew_to);
	return verdict;
}

static enum check_verdict initial(struct check *check)
{
	struct walk steps = {0};
	enum check_verdict verdict = go_and_walk(check, &steps);

	if (verdict)
		return verdict;
	if (steps.last && !steps.renewed && steps.read >= MOST)
		return not_ended(check, steps.read);
	if (steps.last || steps.renewed)
		return check_na(check, "its initial bytes have no end that was seen");
	if (!steps.first)
		return check_na(check, "it has no initial bytes");
	if (steps.first / 2 > steps.read + CHUNK || steps.read > steps.first * 2 + CHUNK)
		return check_fail(check, "%" PRIu64 " bytes were told, %" PRIu64 " were read",
				  steps.first, steps.read);
	return check_pass(check, "%" PRIu64 " bytes were told, %" PRIu64 " were read", steps.first,
			  steps.read);
}

static enum check_verdict nonzero(struct check *check)
{
	struct vfm_precopy_info info;
	int ret = check_go(check->port, VFM_STATE_PRE_COPY);

	if (!ret)
		ret = ask(check, &info);
	if (ret)
		return check_unjudged(check, "no precopy info: %s", strerror(-ret));
	if (!info.initial_bytes)
		return check_fail(check, "they are 0 before anything was read");
	return CHECK_PASS;
}

/* ---- up to the temporary end ---- */

/* Every byte that was told once, and every byte that came. */
struct sum {
	uint64_t told, came;
	uint64_t left;     /* by the last answer, less what came since */
	uint64_t initial;  /* of the last answer */
	bool ended;
};

static int ask_sum(struct check *check, struct sum *sum)
{
	struct vfm_precopy_info info;
	uint64_t now;
	int ret = ask(check, &info);

	if (ret)
		return ret;
	now = info.initial_bytes > UINT64_MAX - info.dirty_bytes
		      ? UINT64_MAX
		      : info.initial_bytes + info.dirty_bytes;
	if (now > sum->left)
		sum->told += MIN(now - sum->left, UINT64_MAX - sum->told);
	sum->left = now;
	sum->initial = info.initial_bytes;
	return 0;
}

/* An answer, a read, and so on, until a read says that there is nothing now. */
static int read_sum_with(struct check *check, struct sum *sum, uint8_t *buf)
{
	ssize_t got = 1;
	int ret = 0;

	for (unsigned i = 0; i < ROUNDS && sum->came < MOST && !ret && got > 0; i++) {
		ret = ask_sum(check, sum);
		if (ret)
			break;
		got = read_next(check, buf, sum->came);
		if (got > 0) {
			sum->came += (uint64_t)got;
			sum->left -= MIN(sum->left, (uint64_t)got);
		}
	}
	sum->ended = got == 0 || got == -ENOMSG;
	return ret ? ret : got < 0 && got != -ENOMSG && got != -EAGAIN ? (int)got : 0;
}

static int read_sum(struct check *check, struct sum *sum)
{
	uint8_t *buf = malloc(CHUNK_BIG);
	int ret = buf ? read_sum_with(check, sum, buf) : -ENOMEM;

	free(buf);
	return ret;
}

static enum check_verdict go_and_sum(struct check *check, struct sum *sum)
{
	int ret = check_go(check->port, VFM_STATE_PRE_COPY);

	if (ret)
		return check_no_way(check, VFM_STATE_PRE_COPY, ret);
	ret = read_sum(check, sum);
	if (ret)
		return check_unjudged(check, "asking and reading in turn: %s", strerror(-ret));
	return sum->ended ? CHECK_PASS : not_ended(check, sum->came);
}

static enum check_verdict summed(struct check *check)
{
	struct sum sum = {0};
	enum check_verdict verdict = go_and_sum(check, &sum);

	if (verdict)
		return verdict;
	if (sum.told / 2 > sum.came + CHUNK || sum.came / 2 > sum.told + CHUNK)
		return check_fail(check, "%" PRIu64 " bytes were told, %" PRIu64 " came", sum.told,
				  sum.came);
	return check_pass(check, "%" PRIu64 " bytes were told, %" PRIu64 " came", sum.told,
			  sum.came);
}

static enum check_verdict none_left(struct check *check)
{
	struct sum sum = {0};
	enum check_verdict verdict = go_and_sum(check, &sum);
	struct vfm_precopy_info info;
	int ret;

	if (verdict)
		return verdict;
	ret = ask(check, &info);
	if (ret)
		return check_unjudged(check, "no precopy info: %s", strerror(-ret));
	if (info.initial_bytes)
		return check_fail(check, "nothing can be read, and %" PRIu64 " bytes are told",
				  (uint64_t)info.initial_bytes);
	return CHECK_PASS;
}

static const struct check_rule rules[] = {
	{"info-pre-copy", "Precopy info is told in PRE_COPY.", CHECK_MUST,
	 NEEDS_PRE_COPY | NEEDS_INFO, DOES_MOVE, told},
	{"info-p2p", "Precopy info is told in PRE_COPY_P2P, too.", CHECK_SHOULD,
	 NEEDS_PRE_COPY | NEEDS_P2P | NEEDS_INFO, DOES_MOVE, told_in_p2p},
	{"info-elsewhere", "Outside of the PRE_COPY states precopy info is refused.", CHECK_MUST,
	 NEEDS_PRE_COPY | NEEDS_INFO, DOES_MOVE, told_elsewhere},
	{"info-flags", "Who has not opted in to PRECOPY_INFOv2 finds the flags as they were.",
	 CHECK_MUST, NEEDS_PRE_COPY | NEEDS_INFO | NEEDS_REOPEN, DOES_WIPE, flags},
	{"info-monotonic",
	 "The initial bytes that are left never grow, unless REINIT says that they "
	 "begin anew.",
	 CHECK_MUST, NEEDS_PRE_COPY | NEEDS_INFO, DOES_MOVE, monotonic},
	{"info-initial",
	 "The initial bytes that are told are, by a factor of two, those that can be "
	 "read.",
	 CHECK_SHOULD, NEEDS_PRE_COPY | NEEDS_INFO, DOES_MOVE, initial},
	{"info-nonzero", "Initial bytes begin with a value that is not 0.", CHECK_SHOULD,
	 NEEDS_PRE_COPY | NEEDS_INFO, DOES_MOVE, nonzero},
	{"info-left", "Where nothing is left to read for now, no initial bytes are left.",
	 CHECK_MUST, NEEDS_PRE_COPY | NEEDS_INFO, DOES_MOVE, none_left},
	{"info-sum",
	 "Initial and dirty bytes, all that were told, are by a factor of two what could be read "
	 "in PRE_COPY.",
	 CHECK_SHOULD, NEEDS_PRE_COPY | NEEDS_INFO, DOES_MOVE, summed},
};

const struct check_family check_precopy = {"precopy", rules, ARRAY_SIZE(rules)};
