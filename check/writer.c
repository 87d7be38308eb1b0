/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/writer.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "sim/regs.h"

#define ENTRIES 8192u /* a power of two: 128 pages of records */
#define RING_AT 61u   /* page, at no word of a bitmap */
#define RATE    1000000u
#define WAIT_MS 20000

const log_range writer_all = {WRITER_IOVA, WRITER_SIZE};

/* ---- memory ---- */

static int set(struct writer *writer, uint64_t reg, uint64_t value, size_t len)
{
	struct port *port = writer->check->port;

	return port->ops->region_write(port, SIM_BAR_REGS, reg, &value, len);
}

static int map_all(struct writer *writer)
{
	struct port *port = writer->check->port;
	uint64_t part = WRITER_SIZE / writer->mappings;
	int ret = 0;

	for (unsigned i = 0; i < writer->mappings && !ret; i++) {
		struct port_memory memory = {writer->memory + i * part, writer->fd, i * part};

		ret = port->ops->map(port, WRITER_IOVA + i * part, part, &memory);
		writer->mapped += !ret;
	}
	return ret;
}

static int writer_open(struct writer *writer, struct check *check, unsigned mappings)
{
	void *at;

	*writer = (struct writer){.check = check, .mappings = mappings,
				  .page_size = WRITER_PAGE};
	writer->fd = memfd_create("check", MFD_CLOEXEC);
	if (writer->fd < 0)
		return -errno;
	if (ftruncate(writer->fd, (off_t)WRITER_SIZE))
		return -errno;
	at = mmap(NULL, WRITER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, writer->fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	writer->memory = at;
	return map_all(writer);
}

static void writer_close(struct writer *writer)
{
	struct port *port = writer->check->port;
	uint64_t part = WRITER_SIZE / writer->mappings;

	if (writer->mapped) {
		check_bring_back(port); /* some servers refuse an unmap when stopped */
		set(writer, SIM_REG_CONTROL, 0, 4);
	}
	for (unsigned i = 0; i < writer->mapped; i++)
		port->ops->unmap(port, WRITER_IOVA + i * part, part);
	if (writer->memory)
		munmap(writer->memory, WRITER_SIZE);
	if (writer->fd >= 0)
		close(writer->fd);
}

enum check_verdict writer_failed(struct writer *writer, int ret)
{
	return check_unjudged(writer->check, "the writer: %s", strerror(-ret));
}

enum check_verdict with_writer(struct check *check, unsigned mappings,
			       enum check_verdict (*rule)(struct writer *))
{
	struct writer writer;
	int ret = writer_open(&writer, check, mappings);
	enum check_verdict verdict;

	if (ret)
		verdict = check_unjudged(check, "no memory for the device: %s", strerror(-ret));
	else
		verdict = rule(&writer);
	port_log_stop(check->port);
	writer_close(&writer);
	return verdict;
}

/* ---- the ring ---- */

static uint64_t *counter(const struct writer *writer, size_t at)
{
	return (uint64_t *)(writer->memory + at);
}

uint64_t writer_produced(const struct writer *writer)
{
	return __atomic_load_n(counter(writer, offsetof(struct sim_ring_index, producer)),
			       __ATOMIC_ACQUIRE);
}

void writer_consume(struct writer *writer)
{
	__atomic_store_n(counter(writer, offsetof(struct sim_ring_index, consumer)),
			 writer_produced(writer), __ATOMIC_RELEASE);
}

bool writer_wrote(const struct writer *writer, unsigned page)
{
	static const uint8_t zero[WRITER_PAGE];

	return memcmp(writer->memory + page * (size_t)WRITER_PAGE, zero, WRITER_PAGE) != 0;
}

int writer_log(struct writer *writer, const log_range *ranges, uint32_t count, uint64_t *page_size)
{
	struct port *port = writer->check->port;
	uint64_t usual = WRITER_PAGE;
	int ret = check_fresh(port);

	port_log_stop(port);
	if (ret || !writer->check->logging)
		return ret;
	return port->ops->log_start(port, page_size ? page_size : &usual, ranges, count);
}

int writer_go(struct writer *writer)
{
	int ret = set(writer, SIM_REG_CONTROL, 0, 4);

	memset(writer->memory, 0, WRITER_SIZE);
	if (!ret)
		ret = set(writer, SIM_REG_COMMAND, SIM_COMMAND_RING_RESET, 4);
	if (!ret)
		ret = set(writer, SIM_REG_RING_BASE, WRITER_IOVA + RING_AT * WRITER_PAGE, 8);
	if (!ret)
		ret = set(writer, SIM_REG_RING_INDEX, WRITER_IOVA, 8);
	if (!ret)
		ret = set(writer, SIM_REG_RING_ENTRIES, ENTRIES, 4);
	if (!ret)
		ret = set(writer, SIM_REG_DMA_RATE, RATE, 4);
	return ret ? ret : set(writer, SIM_REG_CONTROL, SIM_CONTROL_DMA, 4);
}

/* A device may move only when it is asked something. */
int writer_wait(struct writer *writer, uint64_t records)
{
	uint32_t state;
	int ret = 0;

	for (int ms = 0; ms < WAIT_MS && !ret; ms++) {
		if (writer_produced(writer) >= records)
			return 0;
		poll(NULL, 0, 1);
		ret = port_get_state(writer->check->port, &state);
	}
	return ret ? ret : -ETIMEDOUT;
}

static void look(struct writer *writer)
{
	memset(writer->written, 0, sizeof(writer->written));
	for (unsigned page = 0; page < WRITER_PAGES; page++)
		if (writer_wrote(writer, page))
			bitmap_set(writer->written, page);
}

int writer_stop(struct writer *writer, enum vfm_state state)
{
	int ret = writer_wait(writer, ENTRIES);

	if (!ret)
		ret = port_set_state(writer->check->port, state);
	look(writer);
	return ret;
}

int writer_fill(struct writer *writer, const log_range *ranges, uint32_t count,
		enum vfm_state state)
{
	int ret = writer_log(writer, ranges, count, NULL);

	if (!ret)
		ret = writer_go(writer);
	return ret ? ret : writer_stop(writer, state);
}

/* ---- the log ---- */

int writer_report(struct writer *writer, const log_range *range, uint64_t *bitmap)
{
	uint64_t part[WRITER_WORDS + 1] = {0}, first = (range->iova - WRITER_IOVA) / WRITER_PAGE;
	struct port *port = writer->check->port;
	uint64_t pages = range->length / WRITER_PAGE;
	int ret = port->ops->log_report(port, range, writer->page_size, part);

	for (uint64_t i = 0; i < pages && first + i < WRITER_PAGES && !ret; i++)
		if (bitmap_test(part, i * WRITER_PAGE / writer->page_size))
			bitmap_set(bitmap, first + i);
	return ret;
}

enum check_verdict writer_judge(struct writer *writer, const uint64_t *bitmap, unsigned from,
				unsigned to, const char *note)
{
	unsigned written = 0, in_vain = 0;

	for (unsigned page = from; page < to; page++) {
		bool was = bitmap_test(writer->written, page), said = bitmap_test(bitmap, page);

		if (was && !said)
			return check_fail(writer->check,
					  "page %u of %u was written and is not in the log", page,
					  WRITER_PAGES);
		written += was;
		in_vain += said && !was;
	}
	return check_pass(writer->check, "%u pages written, all told; %u told and not written%s",
			  written, in_vain, note ? note : "");
}
