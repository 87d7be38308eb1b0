/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA logging. What can be asked of every device: which requests it refuses. What can be asked of
 * one whose DMA is known (a simulated one): that its log misses no page that was written, and that
 * nothing is written where the state forbids it.
 *
 * The writer is the ring of sim/regs.h in a memfd that the device may map:
 *
 *	MEMORY_IOVA  | index (1 page) | records (RING_PAGES) |
 *
 * Memory that is not 0 where it was cleared before was written. The device's own log is compared
 * with that, page by page.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "check/check.h"
#include "sim/regs.h"

#define PAGE         4096u
#define BASE         (UINT64_C(1) << 30)
#define BIG          (UINT64_C(64) << 20)
#define MEMORY_IOVA  (UINT64_C(4) << 30)
#define RING_PAGES   63u
#define MEMORY_PAGES (RING_PAGES + 1)
#define MEMORY_SIZE  (MEMORY_PAGES * (uint64_t)PAGE)
#define ENTRIES      2048u /* a power of two: 32 pages of records */
#define RECORDS      1024u /* that are waited for: half of them */
#define WAIT_MS      20000

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

/* ---- a known writer ---- */

struct writer {
	struct check *check;
	uint8_t *memory;
	int fd;
	bool mapped;
};

static int reg_write(struct check *check, uint64_t reg, uint64_t value, size_t len)
{
	return check->port->ops->region_write(check->port, SIM_BAR_REGS, reg, &value, len);
}

static int set_ring(struct check *check)
{
	int ret = reg_write(check, SIM_REG_COMMAND, SIM_COMMAND_RING_RESET, 4);

	if (!ret)
		ret = reg_write(check, SIM_REG_RING_BASE, MEMORY_IOVA + PAGE, 8);
	if (!ret)
		ret = reg_write(check, SIM_REG_RING_INDEX, MEMORY_IOVA, 8);
	if (!ret)
		ret = reg_write(check, SIM_REG_RING_ENTRIES, ENTRIES, 4);
	if (!ret)
		ret = reg_write(check, SIM_REG_DMA_RATE, 1000000, 4);
	return ret ? ret : reg_write(check, SIM_REG_CONTROL, SIM_CONTROL_DMA, 4);
}

static int writer_open(struct writer *writer, struct check *check)
{
	void *at;
	int ret;

	*writer = (struct writer){.check = check, .memory = NULL};
	writer->fd = memfd_create("check", MFD_CLOEXEC);
	if (writer->fd < 0)
		return -errno;
	if (ftruncate(writer->fd, (off_t)MEMORY_SIZE))
		return -errno;
	at = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, writer->fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	writer->memory = at;
	ret = check->port->ops->map(check->port, MEMORY_IOVA, MEMORY_SIZE, writer->fd);
	writer->mapped = !ret;
	return ret;
}

static void writer_close(struct writer *writer)
{
	struct port *port = writer->check->port;

	if (writer->mapped) {
		check_bring_back(port);
		reg_write(writer->check, SIM_REG_CONTROL, 0, 4);
		port->ops->unmap(port, MEMORY_IOVA, MEMORY_SIZE);
	}
	if (writer->memory)
		munmap(writer->memory, MEMORY_SIZE);
	if (writer->fd >= 0)
		close(writer->fd);
}

static uint64_t *counter(struct writer *writer, size_t at)
{
	return (uint64_t *)(writer->memory + at);
}

static uint64_t produced(struct writer *writer)
{
	return __atomic_load_n(counter(writer, offsetof(struct sim_ring_index, producer)),
			       __ATOMIC_ACQUIRE);
}

static int wait_for_records(struct writer *writer)
{
	for (int ms = 0; ms < WAIT_MS; ms++) {
		if (produced(writer) >= RECORDS)
			return 0;
		poll(NULL, 0, 1);
	}
	return -ETIMEDOUT;
}

/* Log, let it write, and stop: from then on memory and log stand still. */
static int write_and_stop(struct writer *writer, enum vfm_state state)
{
	struct check *check = writer->check;
	const range all = {MEMORY_IOVA, MEMORY_SIZE};
	int ret = check_fresh(check->port);

	port_log_stop(check->port);
	if (!ret && check->logging)
		ret = start(check, PAGE, &all, 1);
	if (!ret)
		ret = set_ring(check);
	if (!ret)
		ret = wait_for_records(writer);
	return ret ? ret : port_set_state(check->port, state);
}

static int report(struct writer *writer, uint64_t *bitmap)
{
	const range all = {MEMORY_IOVA, MEMORY_SIZE};

	return writer->check->port->ops->log_report(writer->check->port, &all, PAGE, bitmap);
}

static bool is_written(const struct writer *writer, unsigned page)
{
	static const uint8_t zero[PAGE];

	return memcmp(writer->memory + page * (size_t)PAGE, zero, PAGE) != 0;
}

/* @before: what was written before the report. A device that writes on is another rule's. */
static enum check_verdict compare(struct writer *writer, const uint64_t *before,
				  const uint64_t *bitmap)
{
	unsigned written = 0, false_ones = 0;

	for (unsigned page = 0; page < MEMORY_PAGES; page++) {
		bool was = bitmap_test(before, page), said = bitmap_test(bitmap, page);

		if (was && !said)
			return check_fail(writer->check,
					  "page %u of %u was written and is not in the log", page,
					  MEMORY_PAGES);
		written += was;
		false_ones += said && !was;
	}
	return check_pass(writer->check, "%u pages written, all told; %u told and not written",
			  written, false_ones);
}

static enum check_verdict try_truth(struct writer *writer)
{
	uint64_t before[MEMORY_PAGES / 64 + 1] = {0}, bitmap[MEMORY_PAGES / 64 + 1] = {0};
	int ret = write_and_stop(writer, VFM_STATE_STOP);

	for (unsigned page = 0; page < MEMORY_PAGES && !ret; page++)
		if (is_written(writer, page))
			bitmap_set(before, page);
	if (!ret)
		ret = report(writer, bitmap);
	if (ret)
		return check_unjudged(writer->check, "the writer: %s", strerror(-ret));
	return compare(writer, before, bitmap);
}

static enum check_verdict try_clear(struct writer *writer)
{
	uint64_t bitmap[MEMORY_PAGES / 64 + 1] = {0}, again[MEMORY_PAGES / 64 + 1] = {0};
	int ret = write_and_stop(writer, VFM_STATE_STOP);
	uint64_t left, records = produced(writer);

	if (!ret)
		ret = report(writer, bitmap);
	if (!ret)
		ret = report(writer, again);
	if (ret)
		return check_unjudged(writer->check, "the writer: %s", strerror(-ret));
	left = bitmap_count(again, MEMORY_PAGES);
	if (left && produced(writer) != records)
		return check_unjudged(writer->check, "it goes on writing in STOP");
	if (left)
		return check_fail(writer->check, "%u pages are told a second time, and nothing was "
						 "written",
				  (unsigned)left);
	return CHECK_PASS;
}

/* All that was written is taken by the consumer, so that a device that went on would write. */
static enum check_verdict quiet_in(struct writer *writer, enum vfm_state state)
{
	uint64_t before;
	uint32_t now;
	int ret = write_and_stop(writer, state);

	if (ret)
		return check_unjudged(writer->check, "the writer: %s", strerror(-ret));
	before = produced(writer);
	memset(writer->memory + PAGE, 0, MEMORY_SIZE - PAGE);
	__atomic_store_n(counter(writer, offsetof(struct sim_ring_index, consumer)), before,
			 __ATOMIC_RELEASE);
	/* What is due by now is written before the device answers. */
	poll(NULL, 0, 10);
	ret = port_get_state(writer->check->port, &now);
	if (ret)
		return check_unjudged(writer->check, "the writer: %s", strerror(-ret));
	for (unsigned page = 1; page < MEMORY_PAGES; page++)
		if (is_written(writer, page))
			return check_fail(writer->check, "in %s it writes to memory",
					  vfm_state_name(state));
	return CHECK_PASS;
}

static enum check_verdict with_writer(struct check *check,
				      enum check_verdict (*rule)(struct writer *))
{
	struct writer writer;
	int ret = writer_open(&writer, check);
	enum check_verdict verdict;

	if (ret)
		verdict = check_unjudged(check, "no memory for the device: %s", strerror(-ret));
	else
		verdict = rule(&writer);
	port_log_stop(check->port);
	writer_close(&writer);
	return verdict;
}

static enum check_verdict try_quiet_stop(struct writer *writer)
{
	return quiet_in(writer, VFM_STATE_STOP);
}

static enum check_verdict try_quiet_p2p(struct writer *writer)
{
	return quiet_in(writer, VFM_STATE_RUNNING_P2P);
}

static enum check_verdict truth(struct check *check)
{
	return with_writer(check, try_truth);
}

static enum check_verdict clears(struct check *check)
{
	return with_writer(check, try_clear);
}

static enum check_verdict quiet_stop(struct check *check)
{
	return with_writer(check, try_quiet_stop);
}

static enum check_verdict quiet_p2p(struct check *check)
{
	return with_writer(check, try_quiet_p2p);
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
	{"log-truth", "Every page that the device wrote is in the log.", CHECK_MUST,
	 NEEDS_LOGGING | NEEDS_WRITER, DOES_WIPE, truth},
	{"log-clear", "A report takes what it tells out of the log.", CHECK_SHOULD,
	 NEEDS_LOGGING | NEEDS_WRITER, DOES_WIPE, clears},
	{"quiet-stop", "In STOP the device writes to no memory.", CHECK_MUST,
	 NEEDS_WRITER, DOES_WIPE, quiet_stop},
	{"quiet-p2p", "In RUNNING_P2P the device writes to no memory.", CHECK_MUST,
	 NEEDS_WRITER | NEEDS_P2P, DOES_WIPE, quiet_p2p},
};

const struct check_family check_logging = {"logging", rules, ARRAY_SIZE(rules)};
