/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is written, against what the log says, on a device whose writes are known (writer.h), and
 * that nothing is written where the state forbids it.
 *
 * A report that is refused loses nothing: its user takes all pages of it for dirty, or asks in
 * another way. What counts is that one that is given misses no page, and that a page stays in the
 * log until it was told.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "check/writer.h"

static const log_range halves[] = {
	{WRITER_IOVA, WRITER_HALF}, {WRITER_IOVA + WRITER_HALF, WRITER_HALF},
};

/* ---- one report ---- */

/* Logged with pages of @asked, and told in those that came back. */
static enum check_verdict told_by(struct writer *writer, uint64_t asked)
{
	uint64_t bitmap[WRITER_WORDS] = {0}, got = asked;
	int ret = writer_log(writer, &writer_all, 1, &got);

	if (ret && asked != WRITER_PAGE)
		return CHECK_PASS;
	if (!ret && (!is_power_of_two(got) || got > WRITER_SIZE))
		return CHECK_PASS; /* log-page-told */
	writer->page_size = got;
	if (!ret)
		ret = writer_go(writer);
	if (!ret)
		ret = writer_stop(writer, VFM_STATE_STOP);
	if (!ret)
		ret = writer_report(writer, &writer_all, bitmap);
	return ret ? writer_failed(writer, ret)
		   : writer_judge(writer, bitmap, 0, WRITER_PAGES, NULL);
}

/* What the smallest pages say is told last. */
static enum check_verdict try_truth(struct writer *writer)
{
	enum check_verdict verdict = CHECK_PASS;

	for (uint64_t page = WRITER_SIZE; page >= WRITER_PAGE && !verdict; page /= 4)
		verdict = told_by(writer, page);
	return verdict;
}

/* The way that a migration goes. */
static enum check_verdict try_stop_copy(struct writer *writer)
{
	bool early = check_has_state(writer->check, VFM_STATE_PRE_COPY);
	uint64_t bitmap[WRITER_WORDS] = {0};
	int ret = writer_log(writer, &writer_all, 1, NULL);

	if (!ret && early)
		ret = port_set_state(writer->check->port, VFM_STATE_PRE_COPY);
	if (!ret)
		ret = writer_go(writer);
	if (!ret)
		ret = writer_stop(writer, VFM_STATE_STOP_COPY);
	if (!ret)
		ret = writer_report(writer, &writer_all, bitmap);
	return ret ? writer_failed(writer, ret)
		   : writer_judge(writer, bitmap, 0, WRITER_PAGES, NULL);
}

/* ---- what a report takes out of the log ---- */

static enum check_verdict told_again(struct writer *writer, const uint64_t *again,
				     uint64_t records, const char *when)
{
	uint64_t left = bitmap_count(again, WRITER_PAGES);

	if (left && writer_produced(writer) != records)
		return check_unjudged(writer->check, "it goes on writing in STOP");
	if (left)
		return check_fail(writer->check, "%u pages are told %s, and nothing was written",
				  (unsigned)left, when);
	return CHECK_PASS;
}

static enum check_verdict try_clear(struct writer *writer)
{
	uint64_t bitmap[WRITER_WORDS] = {0}, again[WRITER_WORDS] = {0};
	int ret = writer_fill(writer, &writer_all, 1, VFM_STATE_STOP);
	uint64_t records = writer_produced(writer);

	if (!ret)
		ret = writer_report(writer, &writer_all, bitmap);
	if (!ret)
		ret = writer_report(writer, &writer_all, again);
	return ret ? writer_failed(writer, ret)
		   : told_again(writer, again, records, "a second time");
}

static enum check_verdict try_restart(struct writer *writer)
{
	uint64_t bitmap[WRITER_WORDS] = {0}, page_size = WRITER_PAGE;
	struct port *port = writer->check->port;
	int ret = writer_fill(writer, &writer_all, 1, VFM_STATE_STOP);
	uint64_t records = writer_produced(writer);

	if (!ret)
		ret = port_log_stop(port);
	if (!ret)
		ret = port->ops->log_start(port, &page_size, &writer_all, 1);
	if (!ret)
		ret = writer_report(writer, &writer_all, bitmap);
	return ret ? writer_failed(writer, ret)
		   : told_again(writer, bitmap, records, "by a log that was just begun");
}

/* ---- reports across edges ---- */

/* One report of @wide; if that is refused, one of each of @parts. */
static enum check_verdict told_across(struct writer *writer, const log_range *wide,
				      const log_range *parts, unsigned count, unsigned pages)
{
	uint64_t bitmap[WRITER_WORDS] = {0};
	int wide_ret = writer_report(writer, wide, bitmap), ret = 0;

	for (unsigned i = 0; i < count && wide_ret && !ret; i++)
		ret = writer_report(writer, &parts[i], bitmap);
	if (ret)
		return check_fail(writer->check, "refused in whole, and in parts: %s",
				  strerror(-ret));
	return writer_judge(writer, bitmap, 0, pages, wide_ret ? "; refused in one" : "");
}

static enum check_verdict try_ranges(struct writer *writer)
{
	int ret = writer_fill(writer, halves, 2, VFM_STATE_STOP);

	return ret ? writer_failed(writer, ret)
		   : told_across(writer, &writer_all, halves, 2, WRITER_PAGES);
}

static enum check_verdict try_mappings(struct writer *writer)
{
	int ret = writer_fill(writer, &writer_all, 1, VFM_STATE_STOP);

	return ret ? writer_failed(writer, ret)
		   : told_across(writer, &writer_all, halves, 2, WRITER_PAGES);
}

/* Half of what the report is about is not tracked. */
static enum check_verdict try_beyond(struct writer *writer)
{
	int ret = writer_fill(writer, halves, 1, VFM_STATE_STOP);

	return ret ? writer_failed(writer, ret)
		   : told_across(writer, &writer_all, halves, 1, WRITER_PAGES / 2);
}

/* Pieces that begin and end inside words of the bitmap, and then the whole: what was refused, or
 * told in the wrong place, is missed. */
static enum check_verdict try_pieces(struct writer *writer)
{
	static const unsigned pieces[] = {1, 2, 61, 63, 64, 65};
	uint64_t bitmap[WRITER_WORDS] = {0};
	int ret = writer_fill(writer, &writer_all, 1, VFM_STATE_STOP);
	unsigned at = 0, refused = 0;
	char note[64];

	for (size_t i = 0; i < ARRAY_SIZE(pieces) && !ret; at += pieces[i++]) {
		log_range piece = {WRITER_IOVA + at * (uint64_t)WRITER_PAGE,
			       pieces[i] * (uint64_t)WRITER_PAGE};

		refused += writer_report(writer, &piece, bitmap) != 0;
	}
	if (!ret)
		ret = writer_report(writer, &writer_all, bitmap);
	snprintf(note, sizeof(note), "; %u of %zu pieces refused", refused, ARRAY_SIZE(pieces));
	return ret ? writer_failed(writer, ret)
		   : writer_judge(writer, bitmap, 0, WRITER_PAGES, note);
}

/* ---- more ranges than fit ---- */

#define PART_PAGES 16u /* of a range: one page of the driver with the largest pages */
#define PARTS      (WRITER_PAGES / PART_PAGES)
#define FILLERS    (PORT_RANGES_MAX - PARTS)
#define FILLER_GAP (UINT64_C(1) << 20)

/* The memory comes last, behind @fillers other ranges. */
static unsigned make_ranges(log_range *ranges, unsigned fillers)
{
	uint64_t bytes = PART_PAGES * (uint64_t)WRITER_PAGE;
	unsigned n = 0;

	for (unsigned i = 0; i < fillers; i++)
		ranges[n++] = (log_range){(UINT64_C(1) << 30) + i * FILLER_GAP, bytes};
	for (unsigned i = 0; i < PARTS; i++)
		ranges[n++] = (log_range){WRITER_IOVA + i * bytes, bytes};
	return n;
}

/* As many as are taken. */
static int fill_many(struct writer *writer, log_range *ranges, unsigned *fillers)
{
	int ret = -E2BIG;

	*fillers = FILLERS * 2;
	while (ret && *fillers) {
		*fillers /= 2;
		ret = writer_log(writer, ranges, make_ranges(ranges, *fillers), NULL);
	}
	if (!ret)
		ret = writer_go(writer);
	return ret ? ret : writer_stop(writer, VFM_STATE_STOP);
}

static enum check_verdict many(struct writer *writer, log_range *ranges)
{
	uint64_t bitmap[WRITER_WORDS] = {0};
	unsigned fillers;
	char note[64];
	int ret = fill_many(writer, ranges, &fillers);

	for (unsigned i = 0; i < PARTS && !ret; i++)
		ret = writer_report(writer, &ranges[fillers + i], bitmap);
	snprintf(note, sizeof(note), "; %u ranges taken", fillers + PARTS);
	return ret ? writer_failed(writer, ret)
		   : writer_judge(writer, bitmap, 0, WRITER_PAGES, note);
}

static enum check_verdict try_many_ranges(struct writer *writer)
{
	log_range *ranges = calloc(PORT_RANGES_MAX, sizeof(*ranges));
	enum check_verdict verdict = ranges ? many(writer, ranges) : writer_failed(writer, -ENOMEM);

	free(ranges);
	return verdict;
}

/* ---- a log that is read while the device writes ---- */

#define ROUNDS 24u

struct copy {
	uint64_t told[WRITER_WORDS];
	uint8_t now[WRITER_SIZE];  /* the memory when the device had stopped */
	uint8_t data[WRITER_SIZE]; /* what the log said was written, as it was after that */
};

static void copy_told(struct writer *writer, struct copy *copy)
{
	for (size_t page = 0; page < WRITER_PAGES; page++)
		if (bitmap_test(copy->told, page))
			memcpy(copy->data + page * WRITER_PAGE,
			       writer->memory + page * WRITER_PAGE, WRITER_PAGE);
}

/* One round of a migration: what the log tells is copied. */
static int copy_round(struct writer *writer, struct copy *copy)
{
	int ret;

	memset(copy->told, 0, sizeof(copy->told));
	ret = writer_report(writer, &writer_all, copy->told);
	if (!ret)
		copy_told(writer, copy);
	writer_consume(writer);
	return ret ? ret : writer_wait(writer, writer_produced(writer) + 200);
}

/* Page 0 has a counter of ours. */
static enum check_verdict copy_judge(struct writer *writer, const struct copy *copy)
{
	for (size_t page = 1; page < WRITER_PAGES; page++)
		if (memcmp(copy->now + page * WRITER_PAGE, copy->data + page * WRITER_PAGE,
			   WRITER_PAGE) && !bitmap_test(copy->told, page))
			return check_fail(writer->check,
					  "page %zu changed after it was told, and is not told again",
					  page);
	return check_pass(writer->check, "%u reports while it wrote %llu records", ROUNDS,
			  (unsigned long long)writer_produced(writer));
}

static enum check_verdict copy_all(struct writer *writer, struct copy *copy)
{
	int ret = writer_log(writer, &writer_all, 1, NULL);

	if (!ret)
		ret = writer_go(writer);
	if (!ret)
		ret = writer_wait(writer, 1);
	for (unsigned i = 0; i < ROUNDS && !ret; i++)
		ret = copy_round(writer, copy);
	if (!ret)
		ret = port_set_state(writer->check->port, VFM_STATE_STOP);
	memcpy(copy->now, writer->memory, WRITER_SIZE);
	memset(copy->told, 0, sizeof(copy->told));
	if (!ret)
		ret = writer_report(writer, &writer_all, copy->told);
	return ret ? writer_failed(writer, ret) : copy_judge(writer, copy);
}

static enum check_verdict try_copy(struct writer *writer)
{
	struct copy *copy = calloc(1, sizeof(*copy));
	enum check_verdict verdict = copy ? copy_all(writer, copy) : writer_failed(writer, -ENOMEM);

	free(copy);
	return verdict;
}

/* ---- a reset ---- */

/* The uAPI leaves open whether it ends logging. It must not end it unnoticed. */
static enum check_verdict try_reset(struct writer *writer)
{
	uint64_t bitmap[WRITER_WORDS] = {0};
	int ret = writer_log(writer, &writer_all, 1, NULL);

	if (!ret)
		ret = port_reset(writer->check->port);
	if (!ret)
		ret = writer_go(writer);
	if (!ret)
		ret = writer_stop(writer, VFM_STATE_STOP);
	if (ret)
		return writer_failed(writer, ret);
	ret = writer_report(writer, &writer_all, bitmap);
	return ret ? check_pass(writer->check, "a reset ends logging: %s", strerror(-ret))
		   : writer_judge(writer, bitmap, 0, WRITER_PAGES, NULL);
}

/* ---- quiet ---- */

/* All that was written is taken by the consumer, so that a device that went on would write. */
static enum check_verdict quiet_in(struct writer *writer, enum vfm_state state)
{
	uint32_t now;
	int ret = writer_fill(writer, &writer_all, 1, state);

	if (ret)
		return writer_failed(writer, ret);
	memset(writer->memory + WRITER_PAGE, 0, WRITER_SIZE - WRITER_PAGE);
	writer_consume(writer);
	/* What is due by now is written before the device answers. */
	poll(NULL, 0, 10);
	ret = port_get_state(writer->check->port, &now);
	if (ret)
		return writer_failed(writer, ret);
	for (unsigned page = 1; page < WRITER_PAGES; page++)
		if (writer_wrote(writer, page))
			return check_fail(writer->check, "in %s it writes to memory",
					  vfm_state_name(state));
	return CHECK_PASS;
}

static enum check_verdict try_quiet_stop(struct writer *writer)
{
	return quiet_in(writer, VFM_STATE_STOP);
}

static enum check_verdict try_quiet_p2p(struct writer *writer)
{
	return quiet_in(writer, VFM_STATE_RUNNING_P2P);
}

/* ---- the table ---- */

#define RULE(name, mappings)                                                                       \
	static enum check_verdict name(struct check *check)                                        \
	{                                                                                          \
		return with_writer(check, mappings, try_##name);                                   \
	}

RULE(truth, 1)
RULE(stop_copy, 1)
RULE(clear, 1)
RULE(restart, 1)
RULE(ranges, 1)
RULE(mappings, 2)
RULE(beyond, 1)
RULE(pieces, 1)
RULE(many_ranges, 1)
RULE(copy, 1)
RULE(reset, 1)
RULE(quiet_stop, 1)
RULE(quiet_p2p, 1)

#define LOGS (NEEDS_LOGGING | NEEDS_REPORT | NEEDS_WRITER)

static const struct check_rule rules[] = {
	{"log-truth", "Every page that the device wrote is in the log, whatever the page size.",
	 CHECK_MUST, LOGS, DOES_WIPE, truth},
	{"log-stop-copy",
	 "What was written up to the stop is in the report that STOP_COPY gives.", CHECK_MUST, LOGS,
	 DOES_WIPE, stop_copy},
	{"log-copy",
	 "A page that is written while the log is read is in that report or in the next.",
	 CHECK_MUST, LOGS, DOES_WIPE, copy},
	{"log-clear", "A report takes what it tells out of the log.", CHECK_SHOULD, LOGS, DOES_WIPE,
	 clear},
	{"log-restart", "A log that is begun anew tells nothing of before.", CHECK_SHOULD, LOGS,
	 DOES_WIPE, restart},
	{"log-ranges",
	 "A report across two ranges that lie side by side misses nothing, or is refused.",
	 CHECK_MUST, LOGS, DOES_WIPE, ranges},
	{"log-mappings",
	 "A report across two mappings that lie side by side misses nothing, or is refused.",
	 CHECK_MUST, LOGS, DOES_WIPE, mappings},
	{"log-beyond",
	 "A report that reaches past what is tracked misses nothing of that, or is refused.",
	 CHECK_MUST, LOGS, DOES_WIPE, beyond},
	{"log-pieces",
	 "Reports of any first page and any number of pages miss nothing, or are refused.",
	 CHECK_MUST, LOGS, DOES_WIPE, pieces},
	{"log-many-told", "Ranges that were taken are all tracked, however many they are.",
	 CHECK_MUST, LOGS, DOES_WIPE, many_ranges},
	{"log-reset", "A reset does not make the log miss pages unnoticed.", CHECK_MUST, LOGS,
	 DOES_WIPE, reset},
	{"quiet-stop", "In STOP the device writes to no memory.", CHECK_MUST,
	 NEEDS_WRITER, DOES_WIPE, quiet_stop},
	{"quiet-p2p", "In RUNNING_P2P the device writes to no memory.", CHECK_MUST,
	 NEEDS_WRITER | NEEDS_P2P, DOES_WIPE, quiet_p2p},
};

const struct check_family check_written = {"written", rules, ARRAY_SIZE(rules)};
