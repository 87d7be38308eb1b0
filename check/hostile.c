/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * States that no device gave. The uAPI wants what is incomplete, inconsistent or otherwise invalid
 * refused, at a write or when RESUMING is left. A bit flipped in the middle may be data like any
 * other: then it is harmless. Whatever happens, a reset brings the device back, and it takes a good
 * state.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "check/check.h"

#define RANDOM_BYTES (64u << 10)
#define FLIPS        24u
#define FLIPS_SMALL  128u      /* of a small state, as far as that takes no longer than FLIPS_NS */
#define FLIPS_NS     (30 * NS_PER_SEC)
#define SMALL        (1u << 20)
#define CUTS         12u
#define HEAD         64u       /* bytes in which a state says what it is of, if it does */

/* A good state, that the device takes, and a bad one. */
struct pair {
	struct stream good, bad;
};

static enum check_verdict get_good(struct check *check, struct stream *good)
{
	int ret = check_fresh(check->port);

	if (!ret)
		ret = check_save(check->port, good);
	if (ret == -EFBIG)
		return check_na(check, "its state is larger than the rule can hold");
	if (ret)
		return check_unjudged(check, "it cannot be saved: %s", strerror(-ret));
	ret = check_load_stream(check->port, good, 0, NULL);
	return ret ? check_unjudged(check, "it does not take its own state: %s", strerror(-ret))
		   : CHECK_PASS;
}

/* RUNNING by a reset alone, and fit to load. */
static enum check_verdict still_usable(struct check *check, const struct stream *good)
{
	uint32_t state = VFM_STATE_ERROR;
	char text[24];
	int ret = port_reset(check->port);

	if (ret && check_bring_back(check->port)) /* a server that resets only what runs */
		ret = 0;
	if (!ret)
		ret = port_get_state(check->port, &state);
	if (ret)
		return check_fail(check, "and then a reset: %s", strerror(-ret));
	if (state != VFM_STATE_RUNNING)
		return check_fail(check, "a reset afterwards leaves it in %s",
				  check_state_text(state, text));
	ret = check_load_stream(check->port, good, 0, NULL);
	if (ret)
		return check_fail(check, "after it and a reset a good state is refused: %s",
				  strerror(-ret));
	return CHECK_PASS;
}

/* @refuse: it may not be taken. */
static enum check_verdict offer(struct check *check, const struct pair *pair, const char *what,
				bool refuse)
{
	int ret = check_load_stream(check->port, &pair->bad, 0, NULL);

	if (ret == -ENOTCONN || ret == -ETIMEDOUT)
		return check_fail(check, "%s: %s", what, strerror(-ret));
	if (refuse && !ret)
		return check_fail(check, "%s was taken for a state", what);
	return still_usable(check, &pair->good);
}

static enum check_verdict with_pair(struct check *check,
				    enum check_verdict (*rule)(struct check *, struct pair *))
{
	struct pair pair = {{0}, {0}};
	enum check_verdict verdict = get_good(check, &pair.good);

	if (!verdict)
		verdict = rule(check, &pair);
	stream_free(&pair.good);
	stream_free(&pair.bad);
	return verdict;
}

/* A copy of the good one, with @more bytes behind it. */
static int copy_good(struct pair *pair, size_t more)
{
	pair->bad.data = calloc(1, pair->good.len + more + 1);
	if (!pair->bad.data)
		return -ENOMEM;
	if (pair->good.len)
		memcpy(pair->bad.data, pair->good.data, pair->good.len);
	pair->bad.len = pair->good.len + more;
	return 0;
}

static enum check_verdict no_memory(struct check *check)
{
	return check_unjudged(check, "no memory");
}

static enum check_verdict offer_nothing(struct check *check, struct pair *pair)
{
	return offer(check, pair, "nothing", true);
}

static enum check_verdict offer_short(struct check *check, struct pair *pair)
{
	if (!pair->good.len)
		return check_na(check, "its state has no bytes");
	if (copy_good(pair, 0))
		return no_memory(check);
	pair->bad.len--;
	return offer(check, pair, "a state without its last byte", true);
}

static enum check_verdict offer_long(struct check *check, struct pair *pair)
{
	if (copy_good(pair, 1))
		return no_memory(check);
	return offer(check, pair, "a state with one byte more", true);
}

static enum check_verdict offer_random(struct check *check, struct pair *pair)
{
	uint64_t seed = check->seed, *words = calloc(1, RANDOM_BYTES);

	if (!words)
		return no_memory(check);
	for (size_t i = 0; i < RANDOM_BYTES / sizeof(*words); i++)
		words[i] = check_random(&seed);
	pair->bad = (struct stream){.data = (uint8_t *)words, .len = RANDOM_BYTES};
	return offer(check, pair, "64 KiB of random bytes", true);
}

/* Places near the beginning and the end, where the bytes mean something, and anywhere. */
static size_t place(const struct stream *stream, unsigned i, uint64_t *seed)
{
	size_t near = MIN(stream->len, (size_t)256), at = (size_t)(check_random(seed) % near);

	if (i % 3 == 0)
		return at;
	return i % 3 == 1 ? stream->len - 1 - at : (size_t)(check_random(seed) % stream->len);
}

static enum check_verdict offer_flipped(struct check *check, struct pair *pair)
{
	enum check_verdict verdict = CHECK_PASS;
	uint64_t seed = check->seed, end = clock_after(FLIPS_NS);
	unsigned most = pair->good.len > SMALL ? FLIPS : FLIPS_SMALL, flips = 0;

	if (!pair->good.len)
		return check_na(check, "its state has no bytes");
	if (copy_good(pair, 0))
		return no_memory(check);
	for (; flips < most && !verdict && (flips < FLIPS || clock_ns() < end); flips++) {
		size_t at = place(&pair->good, flips, &seed);
		uint8_t bit = (uint8_t)(1u << check_random(&seed) % 8);

		pair->bad.data[at] ^= bit;
		verdict = offer(check, pair, "a state with a bit flipped", false);
		pair->bad.data[at] ^= bit;
	}
	return verdict ? verdict : check_pass(check, "%u places", flips);
}

/* Anywhere but near the end, of which hostile-short takes a byte. */
static enum check_verdict offer_cut(struct check *check, struct pair *pair)
{
	enum check_verdict verdict = CHECK_PASS;
	uint64_t seed = check->seed;
	size_t most = pair->good.len - pair->good.len / 4;
	char what[64];

	if (most < 2)
		return check_na(check, "its state is too small");
	if (copy_good(pair, 0))
		return no_memory(check);
	for (unsigned i = 0; i < CUTS && !verdict; i++) {
		pair->bad.len = 1 + (size_t)(check_random(&seed) % (most - 1));
		snprintf(what, sizeof(what), "the first %zu bytes of a state", pair->bad.len);
		verdict = offer(check, pair, what, true);
	}
	return verdict;
}

/* A state that begins like no device's. */
static enum check_verdict make_foreign(struct check *check, struct pair *pair)
{
	uint64_t seed = check->seed;
	size_t head = MIN(pair->good.len, (size_t)HEAD);

	if (!head)
		return check_na(check, "its state has no bytes");
	if (copy_good(pair, 0))
		return no_memory(check);
	for (size_t i = 0; i < head; i++) /* each byte is another one */
		pair->bad.data[i] ^= (uint8_t)(1 + check_random(&seed) % 255);
	return CHECK_PASS;
}

static enum check_verdict offer_head(struct check *check, struct pair *pair)
{
	enum check_verdict verdict = make_foreign(check, pair);

	return verdict ? verdict : offer(check, pair, "a state with another's head", false);
}

/* What became of the device then is hostile-head's. */
static enum check_verdict offer_foreign(struct check *check, struct pair *pair)
{
	enum check_verdict verdict = make_foreign(check, pair);
	int ret;

	if (verdict)
		return verdict;
	ret = check_load_stream(check->port, &pair->bad, 0, NULL);
	if (!ret)
		return check_fail(check, "a state with another's head was taken");
	return check_pass(check, "refused: %s", strerror(-ret));
}

/* What PEER is, nobody says: of the same kind its state is as good as any. */
static enum check_verdict offer_peers(struct check *check, struct pair *pair)
{
	bool refused;
	int ret = check_fresh(check->peer);

	if (!ret)
		ret = check_save(check->peer, &pair->bad);
	if (ret == -EFBIG)
		return check_na(check, "PEER's state is larger than the rule can hold");
	if (ret)
		return check_unjudged(check, "PEER's state: %s", strerror(-ret));
	ret = check_load_stream(check->port, &pair->bad, 0, &refused);
	if (ret && !refused)
		return check_fail(check, "PEER's state: %s", strerror(-ret));
	if (still_usable(check, &pair->good))
		return CHECK_FAIL;
	return check_pass(check, ret ? "PEER's is refused: %s" : "PEER's is taken",
			  strerror(-ret));
}

static enum check_verdict nothing(struct check *check)
{
	return with_pair(check, offer_nothing);
}

static enum check_verdict one_short(struct check *check)
{
	return with_pair(check, offer_short);
}

static enum check_verdict one_long(struct check *check)
{
	return with_pair(check, offer_long);
}

static enum check_verdict random_bytes(struct check *check)
{
	return with_pair(check, offer_random);
}

static enum check_verdict flipped(struct check *check)
{
	return with_pair(check, offer_flipped);
}

static enum check_verdict cut(struct check *check)
{
	return with_pair(check, offer_cut);
}

static enum check_verdict head(struct check *check)
{
	return with_pair(check, offer_head);
}

static enum check_verdict foreign(struct check *check)
{
	return with_pair(check, offer_foreign);
}

static enum check_verdict peers(struct check *check)
{
	return with_pair(check, offer_peers);
}

static const struct check_rule rules[] = {
	{"hostile-nothing", "RESUMING is not left without an error when nothing was written.",
	 CHECK_MUST, 0, DOES_WIPE, nothing},
	{"hostile-short", "A state that lacks its last byte is refused.", CHECK_MUST, 0, DOES_WIPE,
	 one_short},
	{"hostile-long", "A state with a byte too many is refused.", CHECK_MUST, 0, DOES_WIPE,
	 one_long},
	{"hostile-random", "Random bytes are refused.", CHECK_MUST, 0, DOES_WIPE, random_bytes},
	{"hostile-flip",
	 "Whatever bit of a state is flipped: no crash and no hang, and after a reset "
	 "the device takes a good state.",
	 CHECK_MUST, 0, DOES_WIPE, flipped},
	{"hostile-cut", "A state that ends early, wherever that is, is refused.", CHECK_MUST, 0,
	 DOES_WIPE, cut},
	{"hostile-head",
	 "A state with another's head: no crash and no hang, and after a reset the device takes a "
	 "good state.",
	 CHECK_MUST, 0, DOES_WIPE, head},
	{"hostile-foreign",
	 "A state with another's head is refused: it is not from a compatible device.",
	 CHECK_SHOULD, 0, DOES_WIPE, foreign},
	{"hostile-peer",
	 "Whatever PEER is: its state is taken or refused, and after a reset the device takes a "
	 "good state.",
	 CHECK_MUST, NEEDS_PEER, DOES_WIPE, peers},
};

const struct check_family check_hostile = {"hostile", rules, ARRAY_SIZE(rules)};
