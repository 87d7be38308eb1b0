/* SPDX-License-Identifier: BSD-3-Clause */
/* The device and its regions: what they are, and access through the device fd. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/checked.h"
#include "base/cleanup.h"
#include "device/region-caps.h"
#include "device/vfio.h"

#define REGION_FIRST_TRY 4096u  /* bytes of region info that we make room for at first */
#define REGION_INFO_MAX  65536u /* and at most */

int vfio_get_device(const struct vfio_sys *sys, int fd, struct vfm_vfio_device *device)
{
	struct vfm_uapi_device_info info = {.argsz = sizeof(info)};
	int ret = sys->ioctl(sys, fd, VFM_IOCTL_DEVICE_GET_INFO, &info);

	if (ret < 0)
		return ret;
	if (info.num_regions > VFM_VFIO_REGIONS_MAX || info.num_irqs > VFM_VFIO_IRQS_MAX)
		return -EPROTO;
	device->flags = info.flags;
	device->num_regions = info.num_regions;
	device->num_irqs = info.num_irqs;
	return 0;
}

VFM_API int vfm_vfio_get_device(struct vfm_vfio *vfio, struct vfm_vfio_device *device)
{
	if (device->size < sizeof(*device))
		return -EINVAL;
	return vfio_get_device(vfio->sys, vfio->fd, device);
}

/* ---- region info ---- */

VFM_API void vfm_vfio_region_clear(struct vfm_vfio_region *region)
{
	free(region->areas);
	region->areas = NULL;
	region->area_count = 0;
}

static int take_caps(struct vfm_vfio_region *region, const unsigned char *answer, uint32_t room)
{
	struct region_caps caps;
	int ret = region_caps_read(&caps, answer, room, room);

	region->type = caps.type;
	region->subtype = caps.subtype;
	region->msix_mappable = caps.msix_mappable;
	region->has_sparse = caps.has_sparse;
	region->area_count = caps.area_count;
	region->areas = caps.areas;
	return ret;
}

static int ask_region(const struct vfio_sys *sys, int fd, uint32_t index, void *buf, uint32_t room,
		      struct vfm_uapi_region_info *info)
{
	int ret;

	memset(buf, 0, room);
	*info = (struct vfm_uapi_region_info){.argsz = room, .index = index};
	memcpy(buf, info, sizeof(*info));
	ret = sys->ioctl(sys, fd, VFM_IOCTL_DEVICE_GET_REGION_INFO, buf);
	memcpy(info, buf, sizeof(*info));
	return ret;
}

int vfio_get_region(const struct vfio_sys *sys, int fd, uint32_t index,
		    struct vfm_vfio_region *region)
{
	CLEANUP(cleanup_free) unsigned char *buf = NULL;
	struct vfm_uapi_region_info info;
	uint32_t room = REGION_FIRST_TRY;
	int ret;

	memset((char *)region + sizeof(region->size), 0, sizeof(*region) - sizeof(region->size));
	region->index = index;
	buf = malloc(REGION_INFO_MAX);
	if (!buf)
		return -ENOMEM;
	ret = ask_region(sys, fd, index, buf, room, &info);
	if (ret >= 0 && info.argsz > room && info.argsz <= REGION_INFO_MAX) {
		room = info.argsz;
		ret = ask_region(sys, fd, index, buf, room, &info);
	}
	if (ret < 0)
		return ret;
	region->flags = info.flags;
	region->bytes = info.size;
	region->offset = info.offset;
	return take_caps(region, buf, room);
}

VFM_API int vfm_vfio_get_region(struct vfm_vfio *vfio, uint32_t index,
				struct vfm_vfio_region *region)
{
	if (region->size < sizeof(*region) || index >= VFM_VFIO_REGIONS_MAX)
		return -EINVAL;
	return vfio_get_region(vfio->sys, vfio->fd, index, region);
}

/* ---- access ---- */

/* Where a region is in the device fd. */
static int get_extent(const struct vfio_sys *sys, int fd, uint32_t index,
		      struct vfio_extent *extent)
{
	struct vfm_uapi_region_info info = {.argsz = sizeof(info), .index = index};
	int ret = sys->ioctl(sys, fd, VFM_IOCTL_DEVICE_GET_REGION_INFO, &info);

	if (ret < 0)
		return ret;
	*extent = (struct vfio_extent){info.offset, info.size};
	return 0;
}

/* Regions that the device does not have, or does not tell, have no bytes. */
int vfio_get_extents(struct vfm_vfio *vfio)
{
	struct vfm_vfio_device device = {.size = sizeof(device)};
	int ret = vfio_get_device(vfio->sys, vfio->fd, &device);

	for (uint32_t i = 0; !ret && i < device.num_regions; i++)
		if (get_extent(vfio->sys, vfio->fd, i, &vfio->extents[i]) < 0)
			vfio->extents[i] = (struct vfio_extent){0, 0};
	return ret;
}

static int read_at(const struct vfio_sys *sys, int fd, const struct vfio_extent *extent,
		   uint64_t offset, void *buf, size_t len)
{
	ssize_t got;

	if (!range_within(offset, len, extent->size))
		return -EINVAL;
	for (size_t done = 0; done < len; done += (size_t)got) {
		got = sys->pread(sys, fd, (char *)buf + done, len - done,
				 extent->offset + offset + done);
		if (got == -EINTR)
			got = 0;
		else if (got <= 0)
			return got ? (int)got : -EIO;
	}
	return 0;
}

static int write_at(const struct vfio_sys *sys, int fd, const struct vfio_extent *extent,
		    uint64_t offset, const void *buf, size_t len)
{
	ssize_t got;

	if (!range_within(offset, len, extent->size))
		return -EINVAL;
	for (size_t done = 0; done < len; done += (size_t)got) {
		got = sys->pwrite(sys, fd, (const char *)buf + done, len - done,
				  extent->offset + offset + done);
		if (got == -EINTR)
			got = 0;
		else if (got <= 0)
			return got ? (int)got : -EIO;
	}
	return 0;
}

int vfio_region_read(const struct vfio_sys *sys, int fd, uint32_t region, uint64_t offset,
		     void *buf, size_t len)
{
	struct vfio_extent extent;
	int ret = get_extent(sys, fd, region, &extent);

	return ret < 0 ? ret : read_at(sys, fd, &extent, offset, buf, len);
}

VFM_API int vfm_vfio_region_read(struct vfm_vfio *vfio, uint32_t region, uint64_t offset,
				 void *buf, size_t len)
{
	if (region >= VFM_VFIO_REGIONS_MAX)
		return -EINVAL;
	return read_at(vfio->sys, vfio->fd, &vfio->extents[region], offset, buf, len);
}

VFM_API int vfm_vfio_region_write(struct vfm_vfio *vfio, uint32_t region, uint64_t offset,
				  const void *buf, size_t len)
{
	if (region >= VFM_VFIO_REGIONS_MAX)
		return -EINVAL;
	return write_at(vfio->sys, vfio->fd, &vfio->extents[region], offset, buf, len);
}
