/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of data: for now in PRE_COPY, for good in STOP_COPY; and reads of awkward sizes. */
#include <errno.h>
#include <string.h>

#include "check/check.h"

#define READS_MAX 8192u
#define CHUNK     (64u << 10)
#define AWKWARD   (1u << 20) /* bytes that are read in awkward pieces */

static enum check_verdict temporary(struct check *check)
{
	uint8_t buf[CHUNK];
	int ret = check_go(check->port, VFM_STATE_PRE_COPY);
	ssize_t got = 1;

	if (ret)
		return check_no_way(check, VFM_STATE_PRE_COPY, ret);
	for (unsigned i = 0; i < READS_MAX && got > 0; i++)
		got = port_read(check->port, buf, sizeof(buf));
	if (got > 0)
		return check_pass(check, "it has always more");
	if (got && got != -ENOMSG)
		return check_fail(check, "nothing to read is told as: %s", strerror((int)-got));
	return check_pass(check, got ? "ENOMSG" : "a read of 0 bytes");
}

/* Stop and save, up to the end of data and no further. */
static enum check_verdict to_the_end(struct check *check, ssize_t *last)
{
	struct stream_sum sum;
	int ret = check_go(check->port, VFM_STATE_STOP_COPY);

	if (ret)
		return check_no_way(check, VFM_STATE_STOP_COPY, ret);
	*last = stream_sum_end(check->port, &sum);
	return CHECK_PASS;
}

static enum check_verdict is_zero(struct check *check)
{
	ssize_t last = 0;
	enum check_verdict verdict = to_the_end(check, &last);

	if (!verdict && last)
		return check_fail(check, "it ends with: %s", strerror((int)-last));
	return verdict;
}

static enum check_verdict permanent(struct check *check)
{
	ssize_t last = 0, got;
	enum check_verdict verdict = to_the_end(check, &last);
	char buf[512];

	if (verdict || last)
		return verdict ? verdict
			       : check_unjudged(check, "there was no end: %s",
						strerror((int)-last));
	for (unsigned i = 0; i < 4; i++) {
		got = port_read(check->port, buf, sizeof(buf));
		if (got > 0)
			return check_fail(check, "behind the end it gives %zd bytes more", got);
		if (got < 0)
			return check_fail(check, "behind the end it says: %s",
					  strerror((int)-got));
	}
	return CHECK_PASS;
}

/* Pieces of one byte, odd ones, ones larger than a page, up to an end or AWKWARD bytes. What the
 * last read said. */
static int read_awkwardly(struct port *port, struct stream *stream)
{
	static const size_t sizes[] = {1, 1, 3, 7, 511, 4097, 1, 65537};
	size_t end = stream->len + AWKWARD;
	int got = 1;

	for (unsigned i = 0; got > 0 && stream->len < end; i++)
		got = stream_read_once(port, stream, sizes[i % ARRAY_SIZE(sizes)]);
	return got;
}

/* Two saves of a device that stands still, of which the first is in large pieces. */
static enum check_verdict compare_reads(struct check *check, struct stream *large,
					struct stream *again, struct stream *awkward)
{
	int ret = check_fresh(check->port);

	if (!ret)
		ret = check_save(check->port, large);
	if (!ret)
		ret = check_save(check->port, again);
	if (ret == -EFBIG)
		return check_na(check, "its state is larger than the rule can hold");
	if (ret)
		return check_unjudged(check, "it cannot be saved: %s", strerror(-ret));
	if (!stream_equal(large, again))
		return check_na(check, "two saves in a row differ (save-again)");
	ret = port_set_state(check->port, VFM_STATE_STOP_COPY);
	if (!ret)
		ret = read_awkwardly(check->port, awkward);
	if (ret > 0) /* the rest */
		ret = stream_read_end(check->port, awkward, 0);
	if (ret)
		return check_fail(check, "in small pieces: %s", strerror(-ret));
	if (!stream_equal(large, awkward))
		return check_fail(check, "%zu bytes in large pieces, %zu others in small ones",
				  large->len, awkward->len);
	return check_pass(check, "%zu bytes", large->len);
}

static enum check_verdict any_size(struct check *check)
{
	struct stream large = {0}, again = {0}, awkward = {0};
	enum check_verdict verdict = compare_reads(check, &large, &again, &awkward);

	stream_free(&large);
	stream_free(&again);
	stream_free(&awkward);
	return verdict;
}

/* A stream whose early part is read in such pieces, and which is then loaded. */
static enum check_verdict load_early_pieces(struct check *check, struct stream *stream)
{
	enum check_verdict verdict = check_pre_copy_loads(check);
	int ret;

	if (verdict)
		return verdict;
	ret = check_go(check->port, VFM_STATE_PRE_COPY);
	if (ret)
		return check_no_way(check, VFM_STATE_PRE_COPY, ret);
	ret = read_awkwardly(check->port, stream);
	if (ret < 0 && ret != -ENOMSG && ret != -EAGAIN)
		return check_fail(check, "in PRE_COPY, in small pieces: %s", strerror(-ret));
	ret = port_set_state(check->port, VFM_STATE_STOP_COPY);
	if (!ret)
		ret = stream_read_end(check->port, stream, 0);
	if (!ret)
		ret = port_set_state(check->port, VFM_STATE_STOP);
	if (ret)
		return check_unjudged(check, "it cannot be saved: %s", strerror(-ret));
	ret = check_load_stream(check->port, stream, 0, NULL);
	return ret ? check_fail(check, "what was read in small pieces in PRE_COPY is refused: %s",
				strerror(-ret))
		   : CHECK_PASS;
}

static enum check_verdict early_sizes(struct check *check)
{
	struct stream stream = {0};
	enum check_verdict verdict = load_early_pieces(check, &stream);

	stream_free(&stream);
	return verdict;
}

static const struct check_rule rules[] = {
	{"end-temporary", "In PRE_COPY, where nothing is left to read for now, a read says ENOMSG "
			  "(some drivers: gives 0 bytes), and no other error.",
	 CHECK_MUST, NEEDS_PRE_COPY, DOES_MOVE, temporary},
	{"end-zero", "In STOP_COPY the data ends with a read of 0 bytes, and with no error.",
	 CHECK_MUST, 0, DOES_MOVE, is_zero},
	{"end-permanent", "Behind the end of data in STOP_COPY every read gives 0 bytes.",
	 CHECK_MUST, 0, DOES_MOVE, permanent},
	{"end-read-sizes", "Reads of any size give the same data: one byte, odd sizes, a page and "
			   "one more.",
	 CHECK_MUST, 0, DOES_MOVE, any_size},
	{"end-early-sizes", "In PRE_COPY, too, reads may be of any size.", CHECK_MUST,
	 NEEDS_PRE_COPY, DOES_WIPE, early_sizes},
};

const struct check_family check_end = {"end", rules, ARRAY_SIZE(rules)};
