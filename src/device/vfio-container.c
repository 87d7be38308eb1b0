/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A space as a type 1 container. It takes mappings only after its first group has come and
 * SET_IOMMU was called, and forgets them when its last group leaves.
 *
 *	open ──> group joins ──> SET_IOMMU ──> maps ... last group leaves: maps are gone
 *
 * A group can be opened once at a time, so that devices of one group share its fd.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device/vfio.h"

static int open_container(struct vfm_vfio_space *space, char *why, size_t why_size)
{
	const struct vfio_sys *sys = space->sys;
	int fd;

	if (space->container >= 0)
		return 0;
	fd = sys->open(sys, "/dev/vfio/vfio", O_RDWR);
	if (fd < 0)
		return vfio_why(why, why_size, fd, "/dev/vfio/vfio: %s%s", strerror(-fd),
				fd == -ENOENT ? ": load the module vfio" : "");
	if (sys->ioctl(sys, fd, VFM_IOCTL_GET_API_VERSION, NULL) != VFM_VFIO_API_VERSION ||
	    sys->ioctl(sys, fd, VFM_IOCTL_CHECK_EXTENSION, (void *)(uintptr_t)VFM_VFIO_TYPE1V2) <=
		    0) {
		sys->close(sys, fd);
		return vfio_why(why, why_size, -EOPNOTSUPP,
				"the kernel has no type 1 IOMMU driver: load the module "
				"vfio_iommu_type1");
	}
	space->container = fd;
	return 0;
}

static int check_viable(struct vfm_vfio_space *space, int fd, int number, char *why,
			size_t why_size)
{
	struct vfm_group_status status = {.argsz = sizeof(status)};
	int ret = vfio_space_ioctl(space, fd, VFM_IOCTL_GROUP_GET_STATUS, &status);

	if (ret < 0)
		return vfio_why(why, why_size, ret, "group %d does not tell its status: %s", number,
				strerror(-ret));
	if (!(status.flags & VFM_GROUP_VIABLE))
		return vfio_why(why, why_size, -EPERM,
				"group %d is not viable: bind all of its devices to VFIO drivers, "
				"or to none", number);
	return 0;
}

/* Into the container; the first one brings the IOMMU and all mappings. */
static int join(struct vfm_vfio_space *space, struct vfio_group *group, char *why,
		size_t why_size)
{
	uintptr_t type = VFM_VFIO_TYPE1V2;
	int ret = vfio_space_ioctl(space, group->fd, VFM_IOCTL_GROUP_SET_CONTAINER,
				   &space->container);

	if (ret < 0)
		return vfio_why(why, why_size, ret, "group %d does not fit the container: %s",
				group->number, strerror(-ret));
	if (space->groups)
		return 0;
	ret = vfio_space_ioctl(space, space->container, VFM_IOCTL_SET_IOMMU, (void *)type);
	if (ret < 0)
		return vfio_why(why, why_size, ret, "no type 1 IOMMU for group %d: %s",
				group->number, strerror(-ret));
	ret = vfio_space_map_all(space);
	if (ret < 0)
		return vfio_why(why, why_size, ret, "the memory cannot be mapped: %s%s",
				strerror(-ret),
				ret == -ENOMEM ? ": look at the limit of locked memory" : "");
	return 0;
}

static int open_group(struct vfm_vfio_space *space, int number, int *fd, char *why,
		      size_t why_size)
{
	char path[64];
	int ret;

	snprintf(path, sizeof(path), "/dev/vfio/%d", number);
	*fd = space->sys->open(space->sys, path, O_RDWR);
	if (*fd < 0)
		return vfio_why(why, why_size, *fd, "%s: %s%s", path, strerror(-*fd),
				*fd == -EBUSY ? ": another process has it" : "");
	ret = check_viable(space, *fd, number, why, why_size);
	if (ret < 0)
		space->sys->close(space->sys, *fd);
	return ret;
}

static int add_group(struct vfm_vfio_space *space, int number, struct vfio_group **group,
		     char *why, size_t why_size)
{
	struct vfio_group *made = calloc(1, sizeof(*made));
	int ret = made ? open_group(space, number, &made->fd, why, why_size) : -ENOMEM;

	if (ret < 0) {
		free(made);
		return ret;
	}
	made->number = number;
	ret = join(space, made, why, why_size);
	if (ret < 0) {
		space->sys->close(space->sys, made->fd);
		free(made);
		return ret;
	}
	made->next = space->groups;
	space->groups = made;
	*group = made;
	return 0;
}

static struct vfio_group *find_group(struct vfm_vfio_space *space, int number)
{
	struct vfio_group *group = space->groups;

	while (group && group->number != number)
		group = group->next;
	return group;
}

int vfio_space_get_group(struct vfm_vfio_space *space, int number, struct vfio_group **group,
			 char *why, size_t why_size)
{
	int ret = open_container(space, why, why_size);

	*group = find_group(space, number);
	if (!ret && !*group)
		ret = add_group(space, number, group, why, why_size);
	if (ret < 0)
		return ret;
	(*group)->users++;
	space->way = VFM_VFIO_GROUP;
	return 0;
}

void vfio_space_put_group(struct vfm_vfio_space *space, struct vfio_group *group)
{
	struct vfio_group **at = &space->groups;

	if (--group->users)
		return;
	while (*at != group)
		at = &(*at)->next;
	*at = group->next;
	space->sys->close(space->sys, group->fd);
	free(group);
}
