/* SPDX-License-Identifier: BSD-3-Clause */
/* Saving, loading, and what is the same afterwards. */
#include <errno.h>
#include <string.h>

#include "check/check.h"

/* The streams of one rule. */
struct three {
	struct stream a, b, c;
};

static enum check_verdict cannot_save(struct check *check, int ret)
{
	if (ret == -EFBIG)
		return check_na(check, "its state is larger than the rule can hold");
	return check_unjudged(check, "it cannot be saved: %s", strerror(-ret));
}

/* Save a running device. */
static enum check_verdict save(struct check *check, struct port *port, struct stream *stream)
{
	int ret = check_fresh(port);

	if (!ret)
		ret = check_save(port, stream);
	return ret ? cannot_save(check, ret) : CHECK_PASS;
}

static enum check_verdict with_streams(struct check *check,
				       enum check_verdict (*rule)(struct check *, struct three *))
{
	struct three three = {{0}, {0}, {0}};
	enum check_verdict verdict = rule(check, &three);

	stream_free(&three.a);
	stream_free(&three.b);
	stream_free(&three.c);
	return verdict;
}

/* ---- its own state ---- */

static enum check_verdict try_own(struct check *check, struct three *s)
{
	enum check_verdict verdict = save(check, check->port, &s->a);
	int ret;

	if (verdict)
		return verdict;
	ret = check_load_stream(check->port, &s->a, 0, NULL);
	if (ret)
		return check_fail(check, "%zu bytes that it gave: %s", s->a.len, strerror(-ret));
	ret = port_set_state(check->port, VFM_STATE_RUNNING);
	if (ret)
		return check_fail(check, "it loads them and does not run: %s", strerror(-ret));
	return check_pass(check, "%zu bytes", s->a.len);
}

static enum check_verdict own(struct check *check)
{
	return with_streams(check, try_own);
}

/* That it does not take its own state at all is said by load-own. */
static enum check_verdict not_own(struct check *check, int ret)
{
	return check_unjudged(check, "it does not take its own state: %s", strerror(-ret));
}

static enum check_verdict try_pieces(struct check *check, struct three *s)
{
	enum check_verdict verdict = save(check, check->port, &s->a);
	size_t head, part;
	int ret;

	if (verdict)
		return verdict;
	ret = check_load_stream(check->port, &s->a, 0, NULL);
	if (ret)
		return not_own(check, ret);
	head = MIN(s->a.len, (size_t)1024);
	ret = port_set_state(check->port, VFM_STATE_RESUMING);
	for (size_t i = 0; i < head && !ret; i++)
		ret = port_write(check->port, s->a.data + i, 1);
	for (size_t at = head; at < s->a.len && !ret; at += part) {
		part = MIN(s->a.len - at, (size_t)4099);
		ret = port_write(check->port, s->a.data + at, part);
	}
	if (!ret)
		ret = port_set_state(check->port, VFM_STATE_STOP);
	return ret ? check_fail(check, "in small pieces: %s", strerror(-ret)) : CHECK_PASS;
}

static enum check_verdict pieces(struct check *check)
{
	return with_streams(check, try_pieces);
}

/* From RUNNING: what comes early and what comes when it has stopped are one stream. */
static enum check_verdict pre_copy_and_load(struct check *check, struct three *s)
{
	size_t early;
	int ret = port_set_state(check->port, VFM_STATE_PRE_COPY);

	if (ret)
		return check_no_way(check, VFM_STATE_PRE_COPY, ret);
	ret = stream_read_early(check->port, &s->b);
	early = s->b.len;
	if (!ret)
		ret = port_set_state(check->port, VFM_STATE_STOP_COPY);
	if (!ret)
		ret = stream_read_end(check->port, &s->b, 0);
	if (!ret)
		ret = port_set_state(check->port, VFM_STATE_STOP);
	if (ret)
		return cannot_save(check, ret);
	ret = check_load_stream(check->port, &s->b, 0, NULL);
	if (ret)
		return check_fail(check, "%zu bytes from PRE_COPY and %zu from STOP_COPY: %s",
				  early, s->b.len - early, strerror(-ret));
	return check_pass(check, "%zu bytes from PRE_COPY, %zu from STOP_COPY", early,
			  s->b.len - early);
}

/* The device runs, and takes its own state, or no more can be said. */
static enum check_verdict prepare(struct check *check, struct three *s)
{
	enum check_verdict verdict = save(check, check->port, &s->a);
	int ret;

	if (verdict)
		return verdict;
	ret = check_load_stream(check->port, &s->a, 0, NULL);
	if (ret)
		return not_own(check, ret);
	ret = check_fresh(check->port);
	return ret ? check_no_way(check, VFM_STATE_RUNNING, ret) : CHECK_PASS;
}

static enum check_verdict try_pre_copy(struct check *check, struct three *s)
{
	enum check_verdict verdict = prepare(check, s);

	return verdict ? verdict : pre_copy_and_load(check, s);
}

/* A pre-copy that is given up half way, as by a migration that is cancelled, and another one. */
static enum check_verdict try_second(struct check *check, struct three *s)
{
	enum check_verdict verdict = prepare(check, s);
	char some[512];
	int ret;

	if (!verdict)
		verdict = pre_copy_and_load(check, s);
	if (verdict)
		return verdict == CHECK_FAIL
			       ? check_unjudged(check, "no pre-copy can be loaded (load-pre-copy)")
			       : verdict;
	s->b.len = 0;
	ret = check_go(check->port, VFM_STATE_PRE_COPY);
	if (ret)
		return check_no_way(check, VFM_STATE_PRE_COPY, ret);
	(void)port_read(check->port, some, sizeof(some));
	ret = port_set_state(check->port, VFM_STATE_RUNNING);
	return ret ? check_no_way(check, VFM_STATE_RUNNING, ret) : pre_copy_and_load(check, s);
}

static enum check_verdict second(struct check *check)
{
	return with_streams(check, try_second);
}

static enum check_verdict pre_copy(struct check *check)
{
	return with_streams(check, try_pre_copy);
}

/* ---- the same again ---- */

static enum check_verdict try_again(struct check *check, struct three *s)
{
	enum check_verdict verdict = save(check, check->port, &s->a);
	int ret;

	if (verdict)
		return verdict;
	ret = check_save(check->port, &s->b);
	if (ret)
		return cannot_save(check, ret);
	if (!stream_equal(&s->a, &s->b))
		return check_fail(check, "%zu bytes, then %zu others, and it stood still", s->a.len,
				  s->b.len);
	return CHECK_PASS;
}

static enum check_verdict again(struct check *check)
{
	return with_streams(check, try_again);
}

/* Load @s->a into @port, where it is saved again. */
static enum check_verdict load_and_save(struct check *check, struct port *port, struct three *s)
{
	int ret = check_load_stream(port, &s->a, 0, NULL);

	if (ret)
		return not_own(check, ret);
	ret = check_save(port, &s->c);
	return ret ? cannot_save(check, ret) : CHECK_PASS;
}

static enum check_verdict try_round_trip(struct check *check, struct three *s)
{
	enum check_verdict verdict = save(check, check->port, &s->a);
	int ret;

	if (verdict)
		return verdict;
	ret = check_save(check->port, &s->b);
	if (ret)
		return cannot_save(check, ret);
	if (!stream_equal(&s->a, &s->b))
		return check_na(check, "two saves in a row differ (save-again)");
	verdict = load_and_save(check, check->port, s);
	if (!verdict && !stream_equal(&s->a, &s->c))
		return check_fail(check, "%zu bytes were loaded, and saved as %zu others", s->a.len,
				  s->c.len);
	return verdict;
}

static enum check_verdict round_trip(struct check *check)
{
	return with_streams(check, try_round_trip);
}

static const struct check_rule rules[] = {
	{"load-own", "A device takes the state that it gave, and runs with it.", CHECK_MUST, 0,
	 DOES_WIPE, own},
	{"load-pieces", "A state may be written in pieces of any size.", CHECK_MUST, 0, DOES_WIPE,
	 pieces},
	{"load-pre-copy",
	 "What was read in PRE_COPY and then in STOP_COPY is one stream, of one "
	 "session, which can be loaded.",
	 CHECK_MUST, NEEDS_PRE_COPY, DOES_WIPE, pre_copy},
	{"load-second",
	 "After a pre-copy that was given up another one gives the whole state again.", CHECK_MUST,
	 NEEDS_PRE_COPY, DOES_WIPE, second},
	{"save-again", "A device that stands still gives the same state each time.", CHECK_SHOULD,
	 0, DOES_MOVE, again},
	{"save-round-trip", "A state that was loaded is saved as it came.", CHECK_SHOULD, 0,
	 DOES_WIPE, round_trip},
};

const struct check_family check_load = {"load", rules, ARRAY_SIZE(rules)};

/* ---- two devices ---- */

static enum check_verdict carry(struct check *check, struct port *from, struct port *to,
				const char *way)
{
	struct stream stream = {0};
	enum check_verdict verdict = save(check, from, &stream);
	int ret;

	if (!verdict) {
		ret = check_fresh(to);
		if (!ret)
			ret = check_load_stream(to, &stream, 0, NULL);
		if (!ret)
			ret = port_set_state(to, VFM_STATE_RUNNING);
		if (ret)
			verdict = check_fail(check, "%s: %s", way, strerror(-ret));
	}
	stream_free(&stream);
	return verdict;
}

/* Judged only of devices that take their own state. */
enum check_verdict check_load_both_ways(struct check *check)
{
	enum check_verdict verdict = own(check);

	if (verdict == CHECK_FAIL)
		return check_unjudged(check, "it does not take its own state");
	if (verdict)
		return verdict;
	*check->why = '\0';
	verdict = carry(check, check->port, check->peer, "its state in PEER");
	if (!verdict && port_reset(check->peer)) /* or it would give what it was given */
		return check_unjudged(check, "PEER cannot be reset");
	return verdict ? verdict : carry(check, check->peer, check->port, "PEER's state in it");
}
