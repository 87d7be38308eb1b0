/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A type 1 container's dirty pages: those that drivers pinned, where all of its devices pin (as
 * mediated devices do), else everything. One page size, mappings as a whole, and a bitmap that is
 * written over instead of ORed into.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/bitmap.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "device/vfio-log.h"

#define INFO_MAX 4096u /* bytes of container info */
#define CAP_MIGRATION 2u

/* The head of the answer to VFM_IOCTL_IOMMU_GET_INFO. */
struct info {
	uint32_t argsz;
	uint32_t flags;
	uint64_t page_sizes;
	uint32_t cap_offset;
	uint32_t reserved;
};
#define INFO_CAPS (1u << 1)

struct cap_migration {
	struct vfm_info_cap cap;
	uint32_t flags;
	uint32_t reserved;
	uint64_t page_sizes;
	uint64_t bitmap_max; /* bytes */
};

/* Walk the chain. It may only lead forwards, so that it has an end. */
static int find_cap(const unsigned char *buf, size_t size, uint32_t offset,
		    struct cap_migration *found)
{
	uint32_t least = sizeof(struct info);
	struct vfm_info_cap cap;

	while (offset >= least && range_within(offset, sizeof(cap), size)) {
		memcpy(&cap, buf + offset, sizeof(cap));
		if (cap.id == CAP_MIGRATION && range_within(offset, sizeof(*found), size)) {
			memcpy(found, buf + offset, sizeof(*found));
			return 0;
		}
		least = offset + (uint32_t)sizeof(cap);
		offset = cap.next;
	}
	return -EOPNOTSUPP;
}

static int get_cap(struct vfio_log *log, struct cap_migration *cap)
{
	CLEANUP(cleanup_free) unsigned char *buf = calloc(1, INFO_MAX);
	struct info info = {.argsz = INFO_MAX};
	int ret;

	if (!buf)
		return -ENOMEM;
	memcpy(buf, &info, sizeof(info));
	ret = log->sys->ioctl(log->sys, log->fds->container, VFM_IOCTL_IOMMU_GET_INFO, buf);
	if (ret < 0)
		return ret;
	memcpy(&info, buf, sizeof(info));
	if (!(info.flags & INFO_CAPS))
		return -EOPNOTSUPP;
	return find_cap(buf, MIN(info.argsz, INFO_MAX), info.cap_offset, cap);
}

static bool probe(struct vfio_log *log)
{
	struct cap_migration cap;

	return log->fds->container >= 0 && get_cap(log, &cap) == 0;
}

static int dirty_pages(struct vfio_log *log, struct vfm_dirty_pages *arg, uint32_t size)
{
	int ret;

	arg->argsz = size;
	ret = log->sys->ioctl(log->sys, log->fds->container, VFM_IOCTL_IOMMU_DIRTY_PAGES, arg);
	return ret < 0 ? ret : 0;
}

static int start(struct vfio_log *log, struct vfio_ranges *ranges, uint64_t *page_size)
{
	struct vfm_dirty_pages arg = {.flags = VFM_DIRTY_PAGES_START};
	struct cap_migration cap;
	int ret = get_cap(log, &cap);

	if (ret < 0)
		return ret;
	*page_size = cap.page_sizes & -cap.page_sizes; /* the smallest is the only one */
	if (!*page_size)
		return -EPROTO;
	for (unsigned i = 0; i < ranges->count; i++)
		if (ranges->at[i].size / *page_size / 8 > cap.bitmap_max)
			return -E2BIG;
	return dirty_pages(log, &arg, VFM_DIRTY_PAGES_HEAD);
}

static int stop(struct vfio_log *log)
{
	struct vfm_dirty_pages arg = {.flags = VFM_DIRTY_PAGES_STOP};

	return dirty_pages(log, &arg, VFM_DIRTY_PAGES_HEAD);
}

static int fetch(struct vfio_log *log, uint64_t iova, uint64_t size, uint64_t *bitmap)
{
	uint64_t words = bitmap_words(div_round_up(size, log->page_size));
	CLEANUP(cleanup_free) uint64_t *bits = calloc(words, sizeof(*bits));
	struct vfm_dirty_pages arg = {
		.flags = VFM_DIRTY_PAGES_GET,
		.iova = iova,
		.size = size,
		.page_size = log->page_size,
		.bitmap_size = words * sizeof(*bits),
		.bitmap = (uintptr_t)bits,
	};
	int ret = bits ? dirty_pages(log, &arg, sizeof(arg)) : -ENOMEM;

	for (uint64_t i = 0; !ret && i < words; i++)
		bitmap[i] |= bits[i];
	return ret;
}

const struct vfio_tracker vfio_tracker_container = {
	.kind = VFM_TRACKER_CONTAINER,
	.whole = true,
	.probe = probe,
	.start = start,
	.stop = stop,
	.fetch = fetch,
};
