/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening a device by its group, by its character device, or as an fd that somebody opened. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device/vfio.h"

static int open_by_group(struct vfm_vfio *vfio, char *why, size_t why_size)
{
	const struct vfio_sys *sys = vfio->sys;
	int ret;

	if (vfio->place.group < 0)
		return vfio_why(why, why_size, -ENXIO, "%s is in no IOMMU group",
				vfio->place.address);
	ret = vfio_space_get_group(vfio->space, vfio->place.group, &vfio->group, why, why_size);
	if (ret < 0) {
		vfio->group = NULL;
		return ret;
	}
	vfio->fd = sys->ioctl(sys, vfio->group->fd, VFM_IOCTL_GROUP_GET_DEVICE_FD,
			      vfio->place.address);
	if (vfio->fd >= 0)
		return 0;
	return vfio_why(why, why_size, vfio->fd, "group %d does not give %s: %s: %s is no VFIO driver, "
			"or the device is in use", vfio->place.group, vfio->place.address,
			strerror(-vfio->fd), vfio->place.driver);
}

static int open_by_cdev(struct vfm_vfio *vfio, char *why, size_t why_size)
{
	const struct vfio_sys *sys = vfio->sys;

	if (!vfio->place.node[0])
		return vfio_why(why, why_size, -ENXIO,
				"%s, bound to %s, has no character device: attach it by group, or use a "
				"kernel with VFIO_DEVICE_CDEV", vfio->place.address,
				vfio->place.driver);
	vfio->fd = sys->open(sys, vfio->place.node, O_RDWR);
	if (vfio->fd < 0)
		return vfio_why(why, why_size, vfio->fd, "%s: %s", vfio->place.node,
				strerror(-vfio->fd));
	return vfio_space_attach(vfio, why, why_size);
}

/* A new space: the better way that is there. */
static int open_any(struct vfm_vfio *vfio, char *why, size_t why_size)
{
	const struct vfio_sys *sys = vfio->sys;
	int iommufd = vfio->place.node[0] ? sys->open(sys, "/dev/iommu", O_RDWR) : -ENOENT;

	if (iommufd < 0)
		return open_by_group(vfio, why, why_size);
	sys->close(sys, iommufd);
	return open_by_cdev(vfio, why, why_size);
}

/* Its user has attached it, or it is a character device that waits for that. */
static int take_fd_number(struct vfm_vfio *vfio, const char *number, char *why, size_t why_size)
{
	struct vfm_vfio_device device = {.size = sizeof(device)};
	char *end;
	long fd = strtol(number, &end, 10);
	int ret;

	if (end == number || *end || fd < 0 || fd > INT32_MAX)
		return vfio_why(why, why_size, -EINVAL, "fd:%.32s is no number of an fd", number);
	snprintf(vfio->place.address, sizeof(vfio->place.address), "fd:%ld", fd);
	vfio->fd = (int)fd;
	ret = vfio_get_device(vfio->sys, vfio->fd, &device);
	if (ret == -EINVAL && vfio->space->way != VFM_VFIO_GROUP) {
		ret = vfio_space_attach(vfio, why, why_size);
	} else if (ret < 0) {
		vfio_why(why, why_size, ret, "fd:%ld is no attached VFIO device: %s", fd,
			 strerror(-ret));
	}
	return ret;
}

static int find_and_open(struct vfm_vfio *vfio, const char *address, char *why, size_t why_size)
{
	int ret;

	if (!strncmp(address, "fd:", 3))
		return take_fd_number(vfio, address + 3, why, why_size);
	ret = vfio_find(vfio->sys, address, &vfio->place, why, why_size);
	if (ret < 0)
		return ret;
	switch (vfio->space->way) {
	case VFM_VFIO_CDEV:
		return open_by_cdev(vfio, why, why_size);
	case VFM_VFIO_GROUP:
		return open_by_group(vfio, why, why_size);
	default:
		return open_any(vfio, why, why_size);
	}
}

VFM_API void vfm_vfio_close(struct vfm_vfio *vfio)
{
	if (!vfio)
		return;
	if (vfio->fd >= 0)
		vfio->sys->close(vfio->sys, vfio->fd);
	if (vfio->group)
		vfio_space_put_group(vfio->space, vfio->group);
	if (vfio->attached)
		vfio_space_detach(vfio->space, vfio->hwpt);
	free(vfio);
}

/* An fd whose opening failed is the caller's still. */
static void give_back(struct vfm_vfio *vfio, char *why, size_t why_size)
{
	size_t used = why ? strnlen(why, why_size) : 0;

	vfio_space_leave(vfio);
	if (vfio->bound && used < why_size)
		snprintf(why + used, why_size - used, "; %s stays bound, and cannot be taken again: "
			 "close it", vfio->place.address);
	vfio->fd = -1;
}

int vfio_open(struct vfm_vfio_space *space, const char *address, struct vfm_vfio **vfio, char *why,
	      size_t why_size)
{
	struct vfm_vfio *made = calloc(1, sizeof(*made));
	int ret;

	if (!made)
		return vfio_why(why, why_size, -ENOMEM, "no memory");
	made->sys = space->sys;
	made->space = space;
	made->fd = -1;
	made->place.size = sizeof(made->place);
	made->place.group = -1;
	ret = find_and_open(made, address, why, why_size);
	if (!ret) {
		ret = vfio_get_extents(made);
		if (ret < 0)
			vfio_why(why, why_size, ret, "%s does not tell what it is: %s",
				 made->place.address, strerror(-ret));
	}
	if (!ret) {
		*vfio = made;
		return 0;
	}
	if (!strncmp(address, "fd:", 3))
		give_back(made, why, why_size);
	vfm_vfio_close(made);
	return ret;
}

VFM_API int vfm_vfio_open(struct vfm_vfio_space *space, const char *address,
			  struct vfm_vfio **vfio, char *why, size_t why_size)
{
	return vfio_open(space, address, vfio, why, why_size);
}

VFM_API int vfm_vfio_in_space(const struct vfm_vfio *vfio)
{
	return vfio->attached || vfio->group;
}

VFM_API int vfm_vfio_fd(const struct vfm_vfio *vfio)
{
	return vfio->fd;
}

VFM_API int vfm_vfio_get_place(const struct vfm_vfio *vfio, struct vfm_vfio_place *place)
{
	size_t size = place->size;

	if (size < sizeof(*place))
		return -EINVAL;
	*place = vfio->place;
	place->size = size;
	return 0;
}

VFM_API int vfm_vfio_reset(struct vfm_vfio *vfio)
{
	int ret = vfio->sys->ioctl(vfio->sys, vfio->fd, VFM_IOCTL_DEVICE_RESET, NULL);

	return ret < 0 ? ret : 0;
}
