/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's log of the pages that its DMA wrote.
 *
 * What is remembered grows with what is written, not with what is tracked: chunks of a bitmap, a
 * bit per 4 KiB, made at the first write into them and kept sorted by address. A larger page size
 * marks all bits of the page. If a chunk cannot be made the log has lost something, and every
 * report until the next start says so.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "sim/device.h"

#define CHUNK_PAGES   32768u /* 128 MiB of addresses in 4 KiB of bits */
#define CHUNK_BYTES   ((uint64_t)CHUNK_PAGES * SIM_PAGE_SIZE)
#define CHUNKS_MAX    65536u
#define LOG_PAGE_MAX  (UINT64_C(1) << 30)

void log_free(struct log *log)
{
	uint32_t i;

	for (i = 0; i < log->chunk_count; i++)
		free(log->chunks[i].bits);
	free(log->chunks);
	free(log->ranges);
	*log = (struct log){0};
}

/* ---- start: everything may come from a peer ---- */

static int compare_ranges(const void *a, const void *b)
{
	const struct vfm_feature_logging_range *x = a, *y = b;

	return x->iova < y->iova ? -1 : x->iova > y->iova;
}

static bool range_valid(const struct vfm_feature_logging_range *range, uint64_t page_size)
{
	uint64_t last;

	/* The last byte, not the one behind it: a range may end where the addresses end. */
	return range->length && is_aligned(range->iova | range->length, page_size) &&
	       checked_add_u64(range->iova, range->length - 1, &last);
}

/* Sorted ranges of @log: each valid, no two sharing a byte. */
static int check_ranges(const struct log *log, uint64_t page_size)
{
	const struct vfm_feature_logging_range *r = log->ranges;
	uint32_t i;

	for (i = 0; i < log->range_count; i++)
		if (!range_valid(&r[i], page_size) ||
		    (i && ranges_overlap(r[i - 1].iova, r[i - 1].length, r[i].iova, r[i].length)))
			return -EINVAL;
	return 0;
}

static int copy_ranges(struct log *log, const struct vfm_feature_logging_range *ranges,
		       uint32_t count)
{
	if (!count)
		return 0;
	log->ranges = malloc(count * sizeof(*ranges));
	if (!log->ranges)
		return -ENOMEM;
	memcpy(log->ranges, ranges, count * sizeof(*ranges));
	log->range_count = count;
	qsort(log->ranges, count, sizeof(*ranges), compare_ranges);
	return 0;
}

int log_start(struct sim *sim, uint64_t *page_size,
		  const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	uint64_t taken = MAX(*page_size, sim->who->log_page_size);
	struct log log = {.on = true, .page_size = taken};
	int ret;

	if (!sim->opts.dma_logging)
		return -EOPNOTSUPP;
	if (sim->log.on || !is_power_of_two(*page_size) || taken > LOG_PAGE_MAX)
		return -EINVAL;
	if (count > sim->who->log_ranges_max)
		return -E2BIG;
	ret = fault_call(sim, SIM_CALL_LOG_START);
	if (!ret)
		ret = copy_ranges(&log, ranges, count);
	if (!ret)
		ret = check_ranges(&log, *page_size);
	if (ret) {
		log_free(&log);
		return ret;
	}
	sim->log = log;
	*page_size = taken;
	return 0;
}

bool sim_has_logging(const struct sim *sim)
{
	return sim->opts.dma_logging;
}

int sim_log_stop(struct sim *sim)
{
	if (!sim->opts.dma_logging)
		return -EOPNOTSUPP;
	log_free(&sim->log);
	return 0;
}

/* ---- chunks ---- */

/* The first chunk whose number is not below @number. */
static uint32_t find_chunk(const struct log *log, uint64_t number)
{
	uint32_t low = 0, high = log->chunk_count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (log->chunks[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool make_room(struct log *log)
{
	uint32_t room = log->chunk_room ? log->chunk_room * 2 : 16;
	struct log_chunk *chunks;

	if (log->chunk_count < log->chunk_room)
		return true;
	if (room > CHUNKS_MAX)
		return false;
	chunks = realloc(log->chunks, room * sizeof(*chunks));
	if (!chunks)
		return false;
	log->chunks = chunks;
	log->chunk_room = room;
	return true;
}

static uint64_t *insert_chunk(struct log *log, uint32_t place, uint64_t number)
{
	uint64_t *bits;

	if (!make_room(log))
		return NULL;
	bits = calloc(CHUNK_PAGES / BITMAP_WORD_BITS, sizeof(*bits));
	if (!bits)
		return NULL;
	memmove(&log->chunks[place + 1], &log->chunks[place],
		(log->chunk_count - place) * sizeof(*log->chunks));
	log->chunks[place] = (struct log_chunk){.number = number, .bits = bits};
	log->chunk_count++;
	return bits;
}

static uint64_t *get_chunk(struct log *log, uint64_t number)
{
	uint32_t place = find_chunk(log, number);

	if (place < log->chunk_count && log->chunks[place].number == number)
		return log->chunks[place].bits;
	return insert_chunk(log, place, number);
}

/* ---- marking ---- */

/* The first tracked range that does not end before @iova. */
static uint32_t find_reaching(const struct log *log, uint64_t iova)
{
	uint32_t low = 0, high = log->range_count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (log->ranges[middle].iova <= iova &&
		    iova - log->ranges[middle].iova >= log->ranges[middle].length)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Of one chunk the pages of the bytes @first to @last. */
static void mark_chunk(struct log *log, uint64_t first, uint64_t last)
{
	uint64_t *bits = get_chunk(log, first / CHUNK_BYTES);
	uint64_t from = first % CHUNK_BYTES / SIM_PAGE_SIZE;

	if (bits)
		bitmap_set_range(bits, from, last % CHUNK_BYTES / SIM_PAGE_SIZE - from + 1);
	else
		log->lost = true;
}

/* Bytes, and not the one behind them: that could wrap. */
static void mark_bytes(struct log *log, uint64_t first, uint64_t last)
{
	uint64_t end;

	for (;; first = end + 1) {
		end = MIN(last, first | (CHUNK_BYTES - 1));
		mark_chunk(log, first, end);
		if (end == last)
			return;
	}
}

static void mark_range(struct log *log, const struct vfm_feature_logging_range *range,
		       uint64_t first, uint64_t last)
{
	if (range->length)
		mark_bytes(log, MAX(first, range->iova),
			   MIN(last, range->iova + (range->length - 1)));
}

/* Whole pages of the log's, and of these what is tracked. */
void log_mark(struct log *log, uint64_t iova, uint64_t len)
{
	uint64_t first, last;
	uint32_t i;

	if (!log->on || !len)
		return;
	first = align_down(iova, log->page_size);
	last = (iova + len - 1) | (log->page_size - 1);
	if (!log->ranges)
		mark_bytes(log, first, last);
	for (i = find_reaching(log, first); i < log->range_count && log->ranges[i].iova <= last; i++)
		mark_range(log, &log->ranges[i], first, last);
}

/* ---- report ---- */

/* The tracked range that holds @iova, NULL: none. Without ranges it is all there is. */
static const struct vfm_feature_logging_range *find_range(const struct log *log, uint64_t iova)
{
	static const struct vfm_feature_logging_range everything = {0, UINT64_MAX};
	uint32_t i = find_reaching(log, iova);

	if (!log->ranges)
		return &everything;
	return i < log->range_count && log->ranges[i].iova <= iova ? &log->ranges[i] : NULL;
}

/* For a driver whose log can only be read in whole words: of one range, from a word's start on. */
static bool is_whole_words(const struct log *log, uint64_t iova, uint64_t length)
{
	const struct vfm_feature_logging_range *range = find_range(log, iova);

	return range && range_within(iova - range->iova, length, range->length) &&
	       is_aligned(iova - range->iova, BITMAP_WORD_BITS * log->page_size) &&
	       is_aligned(length, log->page_size);
}

static int check_report(const struct sim *sim, uint64_t iova, uint64_t length, uint64_t page_size)
{
	struct vfm_feature_logging_range range = {.iova = iova, .length = length};

	if (!sim->log.on || !is_power_of_two(page_size) || page_size < SIM_PAGE_SIZE)
		return -EINVAL;
	if (!range_valid(&range, page_size))
		return -EINVAL;
	if (sim->who->log_whole_words && !is_whole_words(&sim->log, iova, length))
		return -EINVAL;
	return sim->log.lost ? -EIO : 0;
}

/* The bits of one chunk from the byte @start to the byte @last of it, both within. */
static void take_chunk(uint64_t *bits, uint64_t start, uint64_t last, uint64_t base,
		       uint64_t iova, uint64_t page_size, uint64_t *bitmap)
{
	uint64_t end = last / SIM_PAGE_SIZE + 1;
	uint64_t page = bitmap_find_next_set(bits, end, start / SIM_PAGE_SIZE);

	for (; page < end; page = bitmap_find_next_set(bits, end, page + 1)) {
		bitmap_clear(bits, page);
		bitmap_set(bitmap, (base + page * SIM_PAGE_SIZE - iova) / page_size);
	}
}

int log_report(struct sim *sim, uint64_t iova, uint64_t length, uint64_t page_size,
		   uint64_t *bitmap)
{
	struct log *log = &sim->log;
	uint64_t base, start, last;
	uint32_t i;
	int ret;

	if (!sim->opts.dma_logging)
		return -EOPNOTSUPP;
	ret = check_report(sim, iova, length, page_size);
	if (!ret)
		ret = fault_call(sim, SIM_CALL_LOG_REPORT);
	if (ret)
		return ret;
	for (i = find_chunk(log, iova / CHUNK_BYTES); i < log->chunk_count; i++) {
		base = log->chunks[i].number * CHUNK_BYTES;
		if (base > iova && base - iova >= length)
			break;
		start = base < iova ? iova - base : 0;
		last = MIN(CHUNK_BYTES - 1, iova + (length - 1) - base);
		take_chunk(log->chunks[i].bits, start, last, base, iova, page_size, bitmap);
	}
	return 0;
}
