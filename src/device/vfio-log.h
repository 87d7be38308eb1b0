/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who tells which memory a kernel device wrote to: three trackers behind one table, and what is
 * common to them. The model is at the top of vfio-log.c.
 */
#ifndef DEVICE_VFIO_LOG_H
#define DEVICE_VFIO_LOG_H

#include "device/device.h"
#include "device/vfio.h"

/* ---- vfio-ranges.c: what is tracked ---- */

#define VFIO_RANGES_MAX 256u /* one page of them: what the kernel takes (rule 17) */

struct vfio_ranges {
	struct device_range at[VFIO_RANGES_MAX]; /* sorted, not overlapping */
	unsigned count;
};

/* Copy and sort. -EINVAL: none, overlapping, wrapping; -E2BIG: too many. */
int vfio_ranges_set(struct vfio_ranges *ranges, const struct device_range *from, unsigned count);

/* Join neighbours, those with the smallest gap first, until there are at most @most. */
void vfio_ranges_limit(struct vfio_ranges *ranges, unsigned most);

/* Widen each to whole pages of @page_size, and join those that meet. False: they were whole. */
bool vfio_ranges_align(struct vfio_ranges *ranges, uint64_t page_size);

/* ---- vfio-log.c ---- */

/* A tracked range with what was fetched of its log and not given out yet. */
struct vfio_log_range {
	uint64_t iova;
	uint64_t size;
	uint64_t *pending; /* a bit per page, from iova on */
	uint64_t served;   /* bytes up to which the last fetch of the whole was given out */
};

struct vfio_log {
	const struct vfio_sys *sys;
	const struct vfm_vfio_fds *fds;
	const struct vfio_tracker *tracker; /* NULL: off */
	struct vfio_log_range *ranges;      /* sorted */
	unsigned count;
	uint64_t page_size;
};

struct vfio_tracker {
	enum vfm_tracker kind;

	/* A mapping's log comes as a whole, or not at all. */
	bool whole;

	/* Could it work? Nothing is started. */
	bool (*probe)(struct vfio_log *log);

	/* Start with @ranges, which it may change to what it took; @page_size as in device_ops. */
	int (*start)(struct vfio_log *log, struct vfio_ranges *ranges, uint64_t *page_size);
	int (*stop)(struct vfio_log *log);

	/* OR the log of [iova, iova + size), inside one range and from a multiple of 64 pages of it
	 * on, into @bitmap, and clear it. */
	int (*fetch)(struct vfio_log *log, uint64_t iova, uint64_t size, uint64_t *bitmap);
};

extern const struct vfio_tracker vfio_tracker_device;
extern const struct vfio_tracker vfio_tracker_iommufd;
extern const struct vfio_tracker vfio_tracker_container;

void vfio_log_init(struct vfio_log *log, const struct vfio_sys *sys,
		   const struct vfm_vfio_fds *fds);
void vfio_log_destroy(struct vfio_log *log);

/* The best tracker that seems to be there. */
enum vfm_tracker vfio_log_probe(struct vfio_log *log);

/* As in device_ops. @kind: who tracks now; @refusal: why not a better one, 0. */
int vfio_log_start(struct vfio_log *log, const struct device_range *ranges, unsigned count,
		   uint64_t *page_size, enum vfm_tracker *kind, int *refusal);
int vfio_log_stop(struct vfio_log *log);
int vfio_log_report(struct vfio_log *log, uint64_t iova, uint64_t size, uint64_t page_size,
		    uint64_t *bitmap);

#endif
