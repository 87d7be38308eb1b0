/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A space as an iommufd with one IOAS, which holds mappings from the beginning.
 *
 *	open ──> IOAS ──> maps ... device binds, attaches ... detaches ... close
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "device/vfio.h"

static int open_iommufd(struct vfm_vfio_space *space, char *why, size_t why_size)
{
	struct vfm_ioas_alloc alloc = {.size = sizeof(alloc)};
	const struct vfio_sys *sys = space->sys;
	int fd, ret;

	if (space->iommufd >= 0)
		return 0;
	fd = sys->open(sys, "/dev/iommu", O_RDWR);
	if (fd < 0)
		return vfio_why(why, why_size, fd, "/dev/iommu: %s", strerror(-fd));
	ret = vfio_space_ioctl(space, fd, VFM_IOCTL_IOMMU_IOAS_ALLOC, &alloc);
	if (!ret) {
		space->iommufd = fd;
		space->ioas = alloc.out_ioas_id;
		ret = vfio_space_map_all(space);
	}
	if (ret < 0) {
		space->iommufd = -1;
		sys->close(sys, fd);
		return vfio_why(why, why_size, ret, "no I/O address space: %s", strerror(-ret));
	}
	return 0;
}

/* A page table with dirty tracking, where the IOMMU has that; 0: it has not, or the device is
 * behind none. */
static uint32_t alloc_hwpt(struct vfm_vfio_space *space, uint32_t devid)
{
	struct vfm_hwpt_alloc alloc = {
		.size = sizeof(alloc), .flags = VFM_HWPT_ALLOC_DIRTY_TRACKING,
		.dev_id = devid, .pt_id = space->ioas,
	};

	if (vfio_space_ioctl(space, space->iommufd, VFM_IOCTL_IOMMU_HWPT_ALLOC, &alloc) < 0)
		return 0;
	return alloc.out_hwpt_id;
}

static int attach(struct vfm_vfio_space *space, int fd, uint32_t pt)
{
	struct vfm_attach_pt arg = {.argsz = sizeof(arg), .pt_id = pt};

	return vfio_space_ioctl(space, fd, VFM_IOCTL_DEVICE_ATTACH_PT, &arg);
}

static void destroy_hwpt(struct vfm_vfio_space *space, uint32_t hwpt)
{
	struct vfm_iommu_destroy destroy = {.size = sizeof(destroy), .id = hwpt};

	vfio_space_ioctl(space, space->iommufd, VFM_IOCTL_IOMMU_DESTROY, &destroy);
}

void vfio_space_detach(struct vfm_vfio_space *space, uint32_t hwpt)
{
	if (!hwpt || (hwpt == space->hwpt && --space->hwpt_users))
		return;
	if (hwpt == space->hwpt)
		space->hwpt = 0;
	destroy_hwpt(space, hwpt);
}

/* To a page table with dirty tracking: that of another device, since they are large, else one of
 * its own. 0: there is none for it. */
static uint32_t attach_tracked(struct vfm_vfio_space *space, int fd, uint32_t devid)
{
	uint32_t hwpt = space->hwpt;

	if (hwpt && attach(space, fd, hwpt) == 0) {
		space->hwpt_users++;
		return hwpt;
	}
	hwpt = alloc_hwpt(space, devid);
	if (hwpt && attach(space, fd, hwpt) < 0) {
		destroy_hwpt(space, hwpt);
		hwpt = 0;
	}
	if (hwpt && !space->hwpt) {
		space->hwpt = hwpt;
		space->hwpt_users = 1;
	}
	return hwpt;
}

static int bind(struct vfm_vfio *vfio, uint32_t *devid, char *why, size_t why_size)
{
	struct vfm_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = vfio->space->iommufd};
	int ret = vfio_space_ioctl(vfio->space, vfio->fd, VFM_IOCTL_DEVICE_BIND_IOMMUFD, &bind);

	/* A device can be opened often, and bound once. */
	if (ret < 0)
		return vfio_why(why, why_size, ret, "it does not bind to the iommufd: %s%s",
				strerror(-ret),
				ret == -EINVAL ? ": somebody else may have it open" : "");
	vfio->bound = true;
	*devid = bind.out_devid;
	return 0;
}

static int bind_and_attach(struct vfm_vfio *vfio, char *why, size_t why_size)
{
	struct vfm_vfio_space *space = vfio->space;
	uint32_t devid = 0;
	int ret = bind(vfio, &devid, why, why_size);

	if (ret < 0)
		return ret;
	vfio->hwpt = attach_tracked(space, vfio->fd, devid);
	if (!vfio->hwpt)
		ret = attach(space, vfio->fd, space->ioas);
	if (ret < 0)
		return vfio_why(why, why_size, ret, "it does not attach to the memory: %s",
				strerror(-ret));
	vfio->attached = true;
	return 0;
}

/* An iommufd that no device came to is closed again: the next device may come by its group, and
 * a space is of one way. */
int vfio_space_attach(struct vfm_vfio *vfio, char *why, size_t why_size)
{
	struct vfm_vfio_space *space = vfio->space;
	bool first = space->iommufd < 0;
	int ret = open_iommufd(space, why, why_size);

	if (ret < 0)
		return ret;
	ret = bind_and_attach(vfio, why, why_size);
	if (!ret) {
		space->way = VFM_VFIO_CDEV;
	} else if (first) {
		space->sys->close(space->sys, space->iommufd);
		space->iommufd = -1;
	}
	return ret;
}

void vfio_space_leave(struct vfm_vfio *vfio)
{
	struct vfm_detach_pt arg = {.argsz = sizeof(arg)};

	if (vfio->attached)
		vfio_space_ioctl(vfio->space, vfio->fd, VFM_IOCTL_DEVICE_DETACH_PT, &arg);
}
