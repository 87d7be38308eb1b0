/* SPDX-License-Identifier: BSD-3-Clause */
/* Saving, loading, and what is the same afterwards. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
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

static enum check_verdict pre_copy(struct check *check)
{
	return with_streams(check, try_pre_copy);
}

enum check_verdict check_pre_copy_loads(struct check *check)
{
	enum check_verdict verdict = pre_copy(check);

	if (verdict == CHECK_FAIL)
		return check_unjudged(check, "no pre-copy can be loaded (load-pre-copy)");
	if (!verdict)
		*check->why = '\0';
	return verdict;
}

/* A pre-copy that is given up half way, as by a migration that is cancelled, and another one. */
static enum check_verdict try_second(struct check *check, struct three *s)
{
	enum check_verdict verdict = prepare(check, s);
	char some[512];
	int ret;

	if (!verdict)
		verdict = check_pre_copy_loads(check);
	if (verdict)
		return verdict;
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

/* To @state, and on with the stream. */
static int read_in(struct check *check, enum vfm_state state, struct stream *stream)
{
	int ret = port_set_state(check->port, state);

	if (ret)
		return ret;
	return state == VFM_STATE_STOP_COPY ? stream_read_end(check->port, stream, 0)
					    : stream_read_early(check->port, stream);
}

/* All of the states that share a session, there and back. */
static enum check_verdict try_one_session(struct check *check, struct three *s)
{
	static const enum vfm_state way[] = {VFM_STATE_PRE_COPY, VFM_STATE_PRE_COPY_P2P,
					     VFM_STATE_PRE_COPY, VFM_STATE_PRE_COPY_P2P,
					     VFM_STATE_STOP_COPY};
	enum check_verdict verdict = prepare(check, s);
	int ret = 0;

	for (size_t i = 0; i < ARRAY_SIZE(way) && !verdict; i++) {
		ret = read_in(check, way[i], &s->b);
		if (ret)
			verdict = cannot_save(check, ret);
	}
	if (!verdict)
		ret = port_set_state(check->port, VFM_STATE_STOP);
	if (verdict || ret)
		return verdict ? verdict : check_no_way(check, VFM_STATE_STOP, ret);
	ret = check_load_stream(check->port, &s->b, 0, NULL);
	return ret ? check_fail(check, "%zu bytes of one session: %s", s->b.len, strerror(-ret))
		   : CHECK_PASS;
}

static enum check_verdict one_session(struct check *check)
{
	return with_streams(check, try_one_session);
}

/* Nothing in between: the driver goes through STOP by itself. */
static enum check_verdict try_direct(struct check *check, struct three *s)
{
	enum check_verdict verdict = prepare(check, s);
	int ret;

	if (verdict)
		return verdict;
	ret = read_in(check, VFM_STATE_STOP_COPY, &s->b);
	if (!ret)
		ret = port_set_state(check->port, VFM_STATE_STOP);
	if (ret)
		return cannot_save(check, ret);
	ret = check_load_stream(check->port, &s->b, 0, NULL);
	return ret ? check_fail(check, "%zu bytes: %s", s->b.len, strerror(-ret)) : CHECK_PASS;
}

static enum check_verdict direct(struct check *check)
{
	return with_streams(check, try_direct);
}

/* ---- the same again ---- */

static enum check_verdict again(struct check *check)
{
	struct stream_sum one, two;
	int ret = check_fresh(check->port);

	if (!ret)
		ret = check_save_sum(check->port, &one);
	if (!ret)
		ret = check_save_sum(check->port, &two);
	if (ret)
		return cannot_save(check, ret);
	if (one.len != two.len || one.hash != two.hash)
		return check_fail(check, "%" PRIu64 " bytes, then %" PRIu64
					 " others, and it stood still",
				  one.len, two.len);
	return CHECK_PASS;
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
	{"load-session",
	 "PRE_COPY, PRE_COPY_P2P and STOP_COPY share one session, there and back: what was read in "
	 "them is one stream, which can be loaded.",
	 CHECK_MUST, NEEDS_PRE_COPY | NEEDS_P2P, DOES_WIPE, one_session},
	{"load-direct", "What a device gives that went from RUNNING to STOP_COPY by one SET can be "
			"loaded.",
	 CHECK_MUST, 0, DOES_WIPE, direct},
	{"save-again", "A device that stands still gives the same state each time.", CHECK_SHOULD,
	 0, DOES_MOVE, again},
	{"save-round-trip", "A state that was loaded is saved as it came.", CHECK_SHOULD, 0,
	 DOES_WIPE, round_trip},
};

const struct check_family check_load = {"load", rules, ARRAY_SIZE(rules)};

/* ---- two devices ---- */

#define PIPE_CHUNK   (256u << 10)
#define SUBSYSTEM_AT 0x2cu /* in PCI config space */

/* From one to the other as it comes, so that no state is too large: @from is in STOP_COPY, @to in
 * RESUMING. *@end: what the last read said. */
static int pipe_through(struct port *from, struct port *to, uint8_t *buf, uint64_t *bytes,
			ssize_t *end)
{
	int ret = 0;

	do {
		*end = port_read(from, buf, PIPE_CHUNK);
		if (*end > (ssize_t)PIPE_CHUNK)
			*end = -EPROTO;
		if (*end > 0)
			ret = port_write(to, buf, (size_t)*end);
		*bytes += *end > 0 ? (uint64_t)*end : 0;
	} while (*end > 0 && !ret);
	return ret;
}

static enum check_verdict carry_by(struct check *check, struct port *from, struct port *to,
				   const char *way, uint8_t *buf)
{
	uint64_t bytes = 0;
	ssize_t end = 0;
	int ret = check_go(from, VFM_STATE_STOP);

	if (!ret)
		ret = port_set_state(from, VFM_STATE_STOP_COPY);
	if (ret)
		return cannot_save(check, ret);
	ret = check_go(to, VFM_STATE_RESUMING);
	if (ret)
		return check_no_way(check, VFM_STATE_RESUMING, ret);
	ret = pipe_through(from, to, buf, &bytes, &end);
	if (end < 0)
		return cannot_save(check, (int)end);
	if (!ret)
		ret = port_set_state(to, VFM_STATE_STOP);
	if (!ret)
		ret = port_set_state(to, VFM_STATE_RUNNING);
	if (ret)
		return check_fail(check, "%s, %" PRIu64 " bytes: %s", way, bytes, strerror(-ret));
	return check_pass(check, "%" PRIu64 " bytes", bytes);
}

static enum check_verdict carry(struct check *check, struct port *from, struct port *to,
				const char *way)
{
	uint8_t *buf = malloc(PIPE_CHUNK);
	enum check_verdict verdict = buf ? carry_by(check, from, to, way, buf)
					 : check_unjudged(check, "no memory");

	free(buf);
	return verdict;
}

struct identity {
	uint16_t ids[2];       /* PCI vendor and device */
	uint16_t subsystem[2]; /* the same of the subsystem */
};

static bool get_identity(struct port *port, struct identity *identity)
{
	const struct port_ops *ops = port->ops;

	return !ops->region_read(port, VFM_PCI_CONFIG_REGION, 0, identity->ids,
				 sizeof(identity->ids)) &&
	       !ops->region_read(port, VFM_PCI_CONFIG_REGION, SUBSYSTEM_AT, identity->subsystem,
				 sizeof(identity->subsystem));
}

/* As far as they say what they are. */
static bool is_another_kind(struct check *check)
{
	struct identity one, other;

	return get_identity(check->port, &one) && get_identity(check->peer, &other) &&
	       memcmp(&one, &other, sizeof(one)) != 0;
}

/* Judged only of devices that take their own state. */
enum check_verdict check_load_both_ways(struct check *check)
{
	enum check_verdict verdict;

	if (is_another_kind(check))
		return check_na(check, "PEER is of another kind");
	verdict = own(check);
	if (verdict == CHECK_FAIL)
		return check_unjudged(check, "it does not take its own state");
	if (verdict == CHECK_UNJUDGED)
		return verdict;
	*check->why = '\0';
	verdict = carry(check, check->port, check->peer, "its state in PEER");
	if (!verdict && port_reset(check->peer)) /* or it would give what it was given */
		return check_unjudged(check, "PEER cannot be reset");
	return verdict ? verdict : carry(check, check->peer, check->port, "PEER's state in it");
}
