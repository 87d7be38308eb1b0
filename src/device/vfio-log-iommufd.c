/* SPDX-License-Identifier: BSD-3-Clause */
/* The IOMMU's dirty bits, of a page table of an iommufd that was made for it. Devices that share
 * the table share the bits: each page is told to one of them, and their reports are ORed. */
#include <errno.h>
#include "device/vfio-log.h"

static bool probe(struct vfio_log *log)
{
	return log->fds->iommufd >= 0 && log->fds->hwpt;
}

static int set_tracking(struct vfio_log *log, uint32_t flags)
{
	struct vfm_hwpt_set_dirty arg = {
		.size = sizeof(arg), .flags = flags, .hwpt_id = log->fds->hwpt};
	int ret = log->sys->ioctl(log->sys, log->fds->iommufd, VFM_IOCTL_IOMMU_HWPT_SET_DIRTY,
				  &arg);

	return ret < 0 ? ret : 0;
}

static int start(struct vfio_log *log, struct vfio_ranges *ranges UNUSED,
		 uint64_t *page_size UNUSED)
{
	return set_tracking(log, VFM_HWPT_DIRTY_ENABLE);
}

static int stop(struct vfio_log *log)
{
	return set_tracking(log, 0);
}

static int fetch(struct vfio_log *log, uint64_t iova, uint64_t size, uint64_t *bitmap)
{
	struct vfm_hwpt_get_dirty arg = {
		.size = sizeof(arg),
		.hwpt_id = log->fds->hwpt,
		.iova = iova,
		.length = size,
		.page_size = log->page_size,
		.bitmap = (uintptr_t)bitmap,
	};
	int ret = log->sys->ioctl(log->sys, log->fds->iommufd, VFM_IOCTL_IOMMU_HWPT_GET_DIRTY,
				  &arg);

	return ret < 0 ? ret : 0;
}

const struct vfio_tracker vfio_tracker_iommufd = {
	.kind = VFM_TRACKER_IOMMUFD,
	.probe = probe,
	.start = start,
	.stop = stop,
	.fetch = fetch,
};
