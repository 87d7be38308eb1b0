/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty tracking of one device: the best tracker that works, and reports in any shape.
 *
 * Theory of operation. At the start the trackers are tried in their order: the device's own log,
 * the IOMMU's through a page table, the IOMMU's through a container. That a probe says yes
 * promises nothing (a kernel without the code for reports starts logging all the same), so that a
 * tracker is taken only after it has given one report; otherwise it is stopped and the next one
 * tried. What was refused is handed on, to be told.
 *
 * A report is asked for as the caller likes, and trackers are particular: one wants its queries
 * inside one range, from a multiple of 64 pages on, another a mapping as a whole (rule 18). So
 * the log is fetched in units that they take, into bits that are pending, and a report takes from
 * there what it asked for:
 *
 *	a range       |<---- unit ---->|<---- unit ---->|<-- unit -->|
 *	asked for              |==========|
 *	fetched       |--------------------------------|
 *	given out              |..........|
 *	pending       |xxxxxxxx            xxxxxxxxxxxx|    until somebody asks
 *
 * Units are fetched anew for each report that touches them, so that it holds all that was written
 * before it began. A tracker that gives a mapping as a whole would make a walk in small steps cost
 * the square of the mapping; there, a walk goes on with what its first step fetched. What was
 * written meanwhile is in the next walk.
 *
 * A fetch that fails makes the report fail: all of memory is dirty then, which the caller sees to.
 */
#include "device/vfio-log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/bitmap.h"
#include "base/checked.h"

#define UNIT_PAGES (UINT64_C(1) << 18)         /* 1 GiB at 4 KiB */
#define PAGES_MAX  (UINT64_C(1) << 38)         /* of one range: 32 GiB of bits are no log */
#define PAGE_MAX   (UINT64_C(1) << 40)         /* bytes that one bit may stand for */
#define PAGE_MIN   UINT64_C(4096)

static const struct vfio_tracker *const trackers[] = {
	&vfio_tracker_device,
	&vfio_tracker_iommufd,
	&vfio_tracker_container,
};

void vfio_log_init(struct vfio_log *log, const struct vfio_sys *sys,
		   const struct vfm_vfio_fds *fds)
{
	*log = (struct vfio_log){.sys = sys, .fds = fds};
}

static void free_ranges(struct vfio_log *log)
{
	for (unsigned i = 0; i < log->count; i++)
		free(log->ranges[i].pending);
	free(log->ranges);
	log->ranges = NULL;
	log->count = 0;
}

void vfio_log_destroy(struct vfio_log *log)
{
	vfio_log_stop(log);
}

enum vfm_tracker vfio_log_probe(struct vfio_log *log)
{
	for (unsigned i = 0; i < ARRAY_SIZE(trackers); i++)
		if (trackers[i]->probe(log))
			return trackers[i]->kind;
	return VFM_TRACKER_NONE;
}

/* ---- start ---- */

static int make_ranges(struct vfio_log *log, const struct vfio_ranges *ranges)
{
	log->ranges = calloc(ranges->count, sizeof(*log->ranges));
	if (!log->ranges)
		return -ENOMEM;
	for (; log->count < ranges->count; log->count++) {
		const struct device_range *from = &ranges->at[log->count];
		struct vfio_log_range *range = &log->ranges[log->count];
		uint64_t pages = div_round_up(from->size, log->page_size);

		if (pages > PAGES_MAX)
			return -E2BIG;
		range->iova = from->iova;
		range->size = from->size;
		range->served = from->size;
		range->pending = calloc(bitmap_words(pages), sizeof(*range->pending));
		if (!range->pending)
			return -ENOMEM;
	}
	return 0;
}

/* Does it give a report, too? */
static int try_report(struct vfio_log *log)
{
	struct vfio_log_range *range = &log->ranges[0];
	uint64_t size = log->tracker->whole ? range->size : MIN(range->size, log->page_size);

	return log->tracker->fetch(log, range->iova, size, range->pending);
}

static int try_tracker(struct vfio_log *log, const struct vfio_tracker *tracker,
		       struct vfio_ranges *ranges, uint64_t *page_size)
{
	int ret;

	log->tracker = tracker;
	ret = tracker->start(log, ranges, page_size);
	if (ret < 0) {
		log->tracker = NULL;
		return ret;
	}
	log->page_size = *page_size;
	if (!is_power_of_two(*page_size) || *page_size < PAGE_MIN || *page_size > PAGE_MAX)
		ret = -EPROTO;
	if (!ret)
		ret = make_ranges(log, ranges);
	if (!ret)
		ret = try_report(log);
	if (ret < 0)
		vfio_log_stop(log);
	return ret;
}

int vfio_log_start(struct vfio_log *log, const struct device_range *ranges, unsigned count,
		   uint64_t *page_size, enum vfm_tracker *kind, int *refusal)
{
	struct vfio_ranges wanted, taken;
	int ret = vfio_ranges_set(&wanted, ranges, count);
	uint64_t page;

	*kind = VFM_TRACKER_NONE;
	*refusal = 0;
	if (ret < 0)
		return ret;
	vfio_log_stop(log);
	ret = -EOPNOTSUPP;
	for (unsigned i = 0; i < ARRAY_SIZE(trackers); i++) {
		if (!trackers[i]->probe(log))
			continue;
		taken = wanted;
		page = *page_size;
		ret = try_tracker(log, trackers[i], &taken, &page);
		if (!ret) {
			*kind = trackers[i]->kind;
			*page_size = page;
			return 0;
		}
		if (!*refusal)
			*refusal = ret;
	}
	return ret;
}

int vfio_log_stop(struct vfio_log *log)
{
	int ret = 0;

	if (log->tracker)
		ret = log->tracker->stop(log);
	log->tracker = NULL;
	free_ranges(log);
	return ret;
}

/* ---- report ---- */

/* Fetch the units that bytes [start, end) of the range touch. */
static int fetch_units(struct vfio_log *log, struct vfio_log_range *range, uint64_t start,
		       uint64_t end)
{
	uint64_t unit = UNIT_PAGES * log->page_size; /* at most 2^58 */
	int ret = 0;

	for (uint64_t at = start / unit * unit; at < end && !ret; at += unit)
		ret = log->tracker->fetch(log, range->iova + at, MIN(unit, range->size - at),
					  range->pending + at / log->page_size / BITMAP_WORD_BITS);
	return ret;
}

/* A walk begins where the last one has been already. */
static int fetch_whole(struct vfio_log *log, struct vfio_log_range *range, uint64_t start,
		       uint64_t end)
{
	int ret = 0;

	if (start < range->served)
		ret = log->tracker->fetch(log, range->iova, range->size, range->pending);
	if (!ret)
		range->served = end;
	return ret;
}

/* A report under way: bits from address @iova on. */
struct answer {
	uint64_t iova;
	uint64_t size;
	uint64_t *bitmap;
};

/* One dirty page of a range: every page of the answer that it touches. */
static void give_page(struct vfio_log *log, const struct vfio_log_range *range, uint64_t page,
		      const struct answer *answer)
{
	uint64_t first = range->iova + page * log->page_size;
	uint64_t last = range->iova +
			MIN(page * log->page_size + (log->page_size - 1), range->size - 1);
	uint64_t end = answer->iova + (answer->size - 1);
	uint64_t bit = (MAX(first, answer->iova) - answer->iova) / log->page_size;

	bitmap_set_range(answer->bitmap, bit,
			 (MIN(last, end) - answer->iova) / log->page_size - bit + 1);
	/* What lies partly outside is asked for again with what is there. */
	if (first >= answer->iova && last <= end)
		bitmap_clear(range->pending, page);
}

/* Bytes [start, end) of the range. */
static void give(struct vfio_log *log, const struct vfio_log_range *range, uint64_t start,
		 uint64_t end, const struct answer *answer)
{
	uint64_t stop = div_round_up(end, log->page_size);
	uint64_t page = bitmap_find_next_set(range->pending, stop, start / log->page_size);

	for (; page < stop; page = bitmap_find_next_set(range->pending, stop, page + 1))
		give_page(log, range, page, answer);
}

static int report_range(struct vfio_log *log, struct vfio_log_range *range,
			const struct answer *answer, uint64_t *covered)
{
	uint64_t last = MIN(range->iova + (range->size - 1), answer->iova + (answer->size - 1));
	uint64_t first = MAX(range->iova, answer->iova);
	uint64_t start = first - range->iova, end = last - range->iova + 1;
	int ret;

	if (!ranges_overlap(range->iova, range->size, answer->iova, answer->size))
		return 0;
	ret = log->tracker->whole ? fetch_whole(log, range, start, end)
				  : fetch_units(log, range, start, end);
	if (ret < 0)
		return ret;
	give(log, range, start, end, answer);
	*covered += end - start;
	return 0;
}

int vfio_log_report(struct vfio_log *log, uint64_t iova, uint64_t size, uint64_t page_size,
		    uint64_t *bitmap)
{
	struct answer answer = {iova, size, bitmap};
	uint64_t covered = 0, last;
	int ret = 0;

	if (!log->tracker || !size || page_size != log->page_size ||
	    !checked_add_u64(iova, size - 1, &last))
		return -EINVAL;
	for (unsigned i = 0; i < log->count && !ret; i++)
		ret = report_range(log, &log->ranges[i], &answer, &covered);
	/* Nobody knows about the rest. */
	if (!ret && covered != size)
		ret = -ERANGE;
	return ret;
}
