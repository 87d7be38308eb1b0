/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA logging as it can be asked of every device: which requests are taken, and what comes back.
 * What is told is compared with what was written in written.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "check/check.h"

#define PAGE  4096u
#define BASE  (UINT64_C(1) << 30)
#define BIG   (UINT64_C(64) << 20)
#define LARGE (UINT64_C(8) << 30) /* where pages of every size begin */

typedef struct vfm_feature_logging_range range;

static int start(struct check *check, uint64_t page, const range *ranges, uint32_t count)
{
	uint64_t taken = page;

	return check->port->ops->log_start(check->port, &taken, ranges, count);
}

/* A request that has to be refused; logging is off before and after. */
static enum check_verdict refused(struct check *check, uint64_t page, const range *ranges,
				  uint32_t count, const char *what)
{
	if (start(check, page, ranges, count))
		return CHECK_PASS;
	port_log_stop(check->port);
	return check_fail(check, "%s: taken", what);
}

static enum check_verdict begin(struct check *check)
{
	static const range one = {BASE, BIG};
	int ret;

	port_log_stop(check->port); /* left on by the rule before */
	ret = start(check, PAGE, &one, 1);
	return ret ? check_unjudged(check, "logging does not start: %s", strerror(-ret))
		   : CHECK_PASS;
}

/* ---- requests ---- */

static enum check_verdict starts(struct check *check)
{
	enum check_verdict verdict = begin(check);
	int ret;

	if (verdict)
		return check_fail(check, "it says that it can log, and does not start");
	ret = port_log_stop(check->port);
	if (ret)
		return check_fail(check, "it starts and does not stop: %s", strerror(-ret));
	verdict = begin(check);
	port_log_stop(check->port);
	return verdict ? check_fail(check, "it starts once, and not again after a stop")
		       : CHECK_PASS;
}

static enum check_verdict twice(struct check *check)
{
	static const range other = {BASE * 2, BIG};
	enum check_verdict verdict = begin(check);
	int ret;

	if (verdict)
		return verdict;
	ret = start(check, PAGE, &other, 1);
	port_log_stop(check->port);
	return ret ? CHECK_PASS : check_fail(check, "a second start was taken");
}

static enum check_verdict overlapping(struct check *check)
{
	static const range two[] = {{BASE, BIG}, {BASE + BIG - PAGE, BIG}};

	port_log_stop(check->port);
	return refused(check, PAGE, two, 2, "two ranges that share a page");
}

static enum check_verdict unaligned(struct check *check)
{
	static const range start_off = {BASE + 512, BIG}, length_off = {BASE, BIG + 512};
	enum check_verdict verdict;

	port_log_stop(check->port);
	verdict = refused(check, PAGE, &start_off, 1, "a range that begins inside a page");
	return verdict ? verdict
		       : refused(check, PAGE, &length_off, 1, "a range that ends inside a page");
}

/* The end is past 2^64; one that ends there is for the driver to take or not. */
static enum check_verdict wrapping(struct check *check)
{
	static const range wraps = {-(uint64_t)BIG, 2 * BIG};

	port_log_stop(check->port);
	return refused(check, PAGE, &wraps, 1, "a range that goes on past 2^64");
}

static enum check_verdict empty(struct check *check)
{
	static const range nothing = {BASE, 0};

	port_log_stop(check->port);
	return refused(check, PAGE, &nothing, 1, "a range of no bytes");
}

/* As long as there are too many, users try fewer: they know by these errors. */
static enum check_verdict try_many(struct check *check, range *ranges, uint32_t count)
{
	enum check_verdict verdict = begin(check);
	int ret;

	if (verdict)
		return verdict;
	for (uint32_t i = 0; i < count; i++)
		ranges[i] = (range){BASE + i * 2 * BIG, BIG};
	port_log_stop(check->port);
	ret = start(check, PAGE, ranges, count);
	port_log_stop(check->port);
	if (ret && ret != -E2BIG && ret != -EINVAL)
		return check_fail(check, "%u ranges: %s", count, strerror(-ret));
	return check_pass(check, "%u ranges: %s", count, ret ? strerror(-ret) : "taken");
}

/* One more than a page of them. */
static enum check_verdict many(struct check *check)
{
	uint32_t count = PAGE / sizeof(range) + 1;
	range *ranges = calloc(count, sizeof(*ranges));
	enum check_verdict verdict = ranges ? try_many(check, ranges, count)
					    : check_unjudged(check, "no memory");

	free(ranges);
	return verdict;
}

static enum check_verdict after_refusal(struct check *check)
{
	static const range good = {BASE, BIG}, bad[] = {{BASE, BIG}, {BASE + BIG / 2, BIG}};
	enum check_verdict verdict = begin(check);
	int ret;

	port_log_stop(check->port);
	if (verdict)
		return verdict;
	if (!start(check, PAGE, bad, 2)) {
		port_log_stop(check->port);
		return check_na(check, "it refuses nothing");
	}
	ret = start(check, PAGE, &good, 1);
	port_log_stop(check->port);
	return ret ? check_fail(check, "after one that was refused: %s", strerror(-ret))
		   : CHECK_PASS;
}

static enum check_verdict page_size(struct check *check)
{
	static const range one = {BASE, 3 * BIG};

	port_log_stop(check->port);
	return refused(check, 3 * PAGE, &one, 1, "a page size of 12288");
}

static enum check_verdict report_off(struct check *check)
{
	uint64_t bitmap[256 / 64] = {0};
	range some = {BASE, 256 * PAGE};

	port_log_stop(check->port);
	if (!check->port->ops->log_report(check->port, &some, PAGE, bitmap))
		return check_fail(check, "it reports, and logging is off");
	return CHECK_PASS;
}

/* ---- page sizes ---- */

#define PAGE_LARGEST (UINT64_C(1) << 30)

/* @asked was taken, and @got came back. */
static enum check_verdict try_page(struct check *check, uint64_t asked, uint64_t got)
{
	uint64_t bitmap[1] = {0};
	range first = {LARGE, got};
	int ret;

	if (!is_power_of_two(got))
		return check_fail(check, "asked for pages of %llu it chose %llu",
				  (unsigned long long)asked, (unsigned long long)got);
	if (got > PAGE_LARGEST)
		return CHECK_PASS;
	ret = check->port->ops->log_report(check->port, &first, got, bitmap);
	/* Some servers report of mappings alone, and nothing is mapped there. */
	if (ret == -ENOENT && check->port->client)
		return CHECK_PASS;
	return ret ? check_fail(check, "it chose pages of %llu, and a report of one fails: %s",
				(unsigned long long)got, strerror(-ret))
		   : CHECK_PASS;
}

static enum check_verdict page_told(struct check *check)
{
	static const range one = {LARGE, PAGE_LARGEST};
	enum check_verdict verdict = CHECK_PASS;
	unsigned taken = 0, kept = 0;

	port_log_stop(check->port);
	for (uint64_t asked = PAGE; asked <= PAGE_LARGEST && !verdict; asked *= 2) {
		uint64_t got = asked;

		if (check->port->ops->log_start(check->port, &got, &one, 1))
			continue;
		taken++;
		kept += got == asked;
		verdict = try_page(check, asked, got);
		port_log_stop(check->port);
	}
	if (verdict)
		return verdict;
	return taken ? check_pass(check, "%u of 19 page sizes taken, %u of them as asked for",
				  taken, kept)
		     : check_unjudged(check, "no page size from 4 KiB to 1 GiB is taken");
}

/* ---- what reports do to the caller's bitmap ---- */

#define PATTERN UINT64_C(0x5555aaaa33330f0f)

static enum check_verdict only_sets(struct check *check)
{
	uint64_t bitmap[4] = {PATTERN, PATTERN, PATTERN, PATTERN};
	range some = {BASE, 256 * PAGE};
	enum check_verdict verdict = begin(check);
	int ret;

	if (verdict)
		return verdict;
	ret = check->port->ops->log_report(check->port, &some, PAGE, bitmap);
	port_log_stop(check->port);
	if (ret)
		return check_unjudged(check, "no report: %s", strerror(-ret));
	for (size_t i = 0; i < ARRAY_SIZE(bitmap); i++)
		if ((bitmap[i] & PATTERN) != PATTERN)
			return check_fail(check, "bits that were set before are gone");
	return CHECK_PASS;
}

static enum check_verdict past_end(struct check *check, unsigned pages, unsigned *refused)
{
	uint64_t bitmap[4] = {0};
	range some = {BASE, pages * (uint64_t)PAGE};

	if (check->port->ops->log_report(check->port, &some, PAGE, bitmap))
		++*refused;
	else if (bitmap_find_next_set(bitmap, sizeof(bitmap) * 8, pages) < sizeof(bitmap) * 8)
		return check_fail(check, "a report of %u pages sets a bit behind the last", pages);
	return CHECK_PASS;
}

static enum check_verdict tails(struct check *check)
{
	static const unsigned pages[] = {1, 3, 63, 64, 65, 127, 129};
	enum check_verdict verdict = begin(check);
	unsigned refused = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pages) && !verdict; i++)
		verdict = past_end(check, pages[i], &refused);
	port_log_stop(check->port);
	return verdict ? verdict
		       : check_pass(check, "%u of %zu lengths refused", refused, ARRAY_SIZE(pages));
}

/* A kernel without IOVA bitmaps refuses all of them; any other error is the device's. */
bool check_log_reports(struct check *check)
{
	uint64_t bitmap[1] = {0};
	range some = {BASE, 64 * PAGE};
	int ret = 0;

	if (!begin(check))
		ret = check->port->ops->log_report(check->port, &some, PAGE, bitmap);
	port_log_stop(check->port);
	return ret != -EOPNOTSUPP;
}

static const struct check_rule rules[] = {
	{"log-start", "DMA logging that is offered starts, stops, and starts again.", CHECK_MUST,
	 NEEDS_LOGGING, DOES_LOOK, starts},
	{"log-twice", "A second START before a STOP is refused.", CHECK_SHOULD, NEEDS_LOGGING,
	 DOES_LOOK, twice},
	{"log-overlap", "Ranges that overlap are refused.", CHECK_SHOULD, NEEDS_LOGGING, DOES_LOOK,
	 overlapping},
	{"log-unaligned", "Ranges that are not of whole pages are refused.", CHECK_SHOULD,
	 NEEDS_LOGGING, DOES_LOOK, unaligned},
	{"log-page-size", "A page size that is no power of two is refused.", CHECK_NOTE,
	 NEEDS_LOGGING, DOES_LOOK, page_size},
	{"log-off", "A report is refused while logging is off.", CHECK_SHOULD, NEEDS_LOGGING,
	 DOES_LOOK, report_off},
	{"log-wrap", "A range that goes on past 2^64 is refused.", CHECK_SHOULD, NEEDS_LOGGING,
	 DOES_LOOK, wrapping},
	{"log-empty", "A range of no bytes is refused.", CHECK_NOTE, NEEDS_LOGGING, DOES_LOOK,
	 empty},
	{"log-many", "Too many ranges are refused with E2BIG or EINVAL.", CHECK_SHOULD,
	 NEEDS_LOGGING, DOES_LOOK, many},
	{"log-after-refusal", "A START that was refused does not stand in the way of the next.",
	 CHECK_SHOULD, NEEDS_LOGGING, DOES_LOOK, after_refusal},
	{"log-page-told",
	 "The page size that comes back is a power of two, and reports with it are given.",
	 CHECK_MUST, NEEDS_LOGGING | NEEDS_REPORT, DOES_LOOK, page_told},
	{"log-sets", "A report sets bits of the caller's bitmap and clears none.", CHECK_MUST,
	 NEEDS_LOGGING | NEEDS_REPORT | NEEDS_FD, DOES_LOOK, only_sets},
	{"log-tail", "A report sets no bit behind the last page that it is about.", CHECK_SHOULD,
	 NEEDS_LOGGING | NEEDS_REPORT, DOES_LOOK, tails},
};

const struct check_family check_logging = {"logging", rules, ARRAY_SIZE(rules)};
