/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's own log: DMA_LOGGING_START, REPORT, STOP.
 *
 * The kernel takes a page of ranges, a driver fewer; some other page size than the one that was
 * asked for may come back (rule 17), and ranges that are not whole pages of that could not be asked
 * for to their ends. So the start is tried with fewer ranges, and with larger pages, until both
 * sides agree.
 */
#include <errno.h>
#include <string.h>
#include "base/checked.h"
#include "device/vfio-log.h"

#define PAGE_TRIES 3 /* a driver that answers with yet another page size each time is refused */

static bool probe(struct vfio_log *log)
{
	int fd = log->fds->device;

	return vfio_feature_probe(log->sys, fd, VFM_FEATURE_DMA_LOGGING_START | VFM_FEATURE_SET) &&
	       vfio_feature_probe(log->sys, fd, VFM_FEATURE_DMA_LOGGING_REPORT | VFM_FEATURE_GET);
}

static int stop(struct vfio_log *log)
{
	return vfio_feature(log->sys, log->fds->device,
			    VFM_FEATURE_DMA_LOGGING_STOP | VFM_FEATURE_SET, NULL, 0);
}

static int start_once(struct vfio_log *log, const struct vfio_ranges *ranges, uint64_t *page_size)
{
	struct vfm_feature_logging_range list[VFIO_RANGES_MAX];
	struct vfm_feature_logging_control arg = {
		.page_size = *page_size,
		.num_ranges = ranges->count,
		.ranges = (uintptr_t)list,
	};
	int ret;

	for (unsigned i = 0; i < ranges->count; i++)
		list[i] = (struct vfm_feature_logging_range){ranges->at[i].iova,
							     ranges->at[i].size};
	ret = vfio_feature(log->sys, log->fds->device,
			   VFM_FEATURE_DMA_LOGGING_START | VFM_FEATURE_SET, &arg, sizeof(arg));
	if (!ret)
		*page_size = arg.page_size;
	return ret;
}

/* With fewer and fewer ranges as long as there are too many. */
static int start_fewer(struct vfio_log *log, struct vfio_ranges *ranges, uint64_t *page_size)
{
	int ret = start_once(log, ranges, page_size);

	while (ret == -E2BIG && ranges->count > 1) {
		vfio_ranges_limit(ranges, ranges->count / 2);
		ret = start_once(log, ranges, page_size);
	}
	return ret;
}

static int start(struct vfio_log *log, struct vfio_ranges *ranges, uint64_t *page_size)
{
	uint64_t wanted = *page_size;
	int ret = start_fewer(log, ranges, page_size);

	/* Perhaps it is on: one START needs one STOP. */
	if ((ret == -EINVAL || ret == -EBUSY) && stop(log) == 0)
		ret = start_fewer(log, ranges, page_size);
	for (unsigned i = 0; !ret && *page_size != wanted; i++) {
		if (!is_power_of_two(*page_size) || i == PAGE_TRIES) {
			stop(log);
			return -EPROTO;
		}
		wanted = *page_size;
		if (!vfio_ranges_align(ranges, wanted))
			break;
		stop(log);
		ret = start_fewer(log, ranges, page_size);
	}
	return ret;
}

static int fetch(struct vfio_log *log, uint64_t iova, uint64_t size, uint64_t *bitmap)
{
	struct vfm_feature_logging_report arg = {
		.iova = iova,
		.length = size,
		.page_size = log->page_size,
		.bitmap = (uintptr_t)bitmap,
	};

	return vfio_feature(log->sys, log->fds->device,
			    VFM_FEATURE_DMA_LOGGING_REPORT | VFM_FEATURE_GET, &arg, sizeof(arg));
}

const struct vfio_tracker vfio_tracker_device = {
	.kind = VFM_TRACKER_DEVICE,
	.probe = probe,
	.start = start,
	.stop = stop,
	.fetch = fetch,
};
