/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory as the devices see it: a type 1 container with its groups, or an iommufd with one
 * IOAS.
 *
 * Theory of operation. The list of mappings is ours; the kernel has it as long as there is
 * something to hold it. A container takes mappings only after its first group has come and
 * SET_IOMMU was called, and forgets them when its last group leaves; an IOAS holds them from the
 * beginning. So each mapping is put into the list, and into the kernel when that takes it; a first
 * group gets the whole list.
 *
 *	container:  open ──> group joins ──> SET_IOMMU ──> maps ... last group leaves: maps are gone
 *	iommufd:    open ──> IOAS ──> maps ... device binds, attaches ... detaches ... close
 *
 * A group can be opened once at a time, so that devices of one group share its fd.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/checked.h"
#include "device/vfio.h"

#define MAPS_MAX   65536u /* of a space */
#define PAGE_BYTES 4096u  /* the least that any IOMMU maps */

int vfio_space_new(const struct vfio_sys *sys, enum vfm_vfio_way way,
		   struct vfm_vfio_space **space)
{
	struct vfm_vfio_space *made;

	if (way != VFM_VFIO_ANY && way != VFM_VFIO_CDEV && way != VFM_VFIO_GROUP)
		return -EINVAL;
	made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->sys = sys;
	made->way = way;
	made->container = -1;
	made->iommufd = -1;
	*space = made;
	return 0;
}

VFM_API int vfm_vfio_space_new(enum vfm_vfio_way way, struct vfm_vfio_space **space)
{
	return vfio_space_new(&vfio_sys_kernel, way, space);
}

/* Closing what holds them undoes all mappings. */
VFM_API void vfm_vfio_space_free(struct vfm_vfio_space *space)
{
	if (!space)
		return;
	if (space->container >= 0)
		space->sys->close(space->sys, space->container);
	if (space->iommufd >= 0)
		space->sys->close(space->sys, space->iommufd);
	free(space->maps);
	free(space);
}

VFM_API enum vfm_vfio_way vfm_vfio_space_way(const struct vfm_vfio_space *space)
{
	return space->way;
}

/* ---- the kernel's side of a mapping ---- */

static int kernel_ioctl(struct vfm_vfio_space *space, int fd, unsigned long request, void *arg)
{
	int ret = space->sys->ioctl(space->sys, fd, request, arg);

	return ret < 0 ? ret : 0;
}

static bool kernel_takes_maps(const struct vfm_vfio_space *space)
{
	return space->iommufd >= 0 || space->groups;
}

static int kernel_map(struct vfm_vfio_space *space, const struct vfio_map *map)
{
	struct vfm_dma_map dma = {
		.argsz = sizeof(dma),
		.flags = VFM_DMA_MAP_READ | VFM_DMA_MAP_WRITE,
		.vaddr = (uintptr_t)map->host, .iova = map->iova, .size = map->size,
	};
	struct vfm_ioas_map ioas = {
		.size = sizeof(ioas),
		.flags = VFM_IOAS_MAP_FIXED_IOVA | VFM_IOAS_MAP_WRITEABLE | VFM_IOAS_MAP_READABLE,
		.ioas_id = space->ioas,
		.user_va = (uintptr_t)map->host, .length = map->size, .iova = map->iova,
	};

	if (space->iommufd >= 0)
		return kernel_ioctl(space, space->iommufd, VFM_IOCTL_IOMMU_IOAS_MAP, &ioas);
	return kernel_ioctl(space, space->container, VFM_IOCTL_IOMMU_MAP_DMA, &dma);
}

static int kernel_unmap(struct vfm_vfio_space *space, const struct vfio_map *map)
{
	struct vfm_dma_unmap dma = {.argsz = sizeof(dma), .iova = map->iova, .size = map->size};
	struct vfm_ioas_unmap ioas = {.size = sizeof(ioas), .ioas_id = space->ioas,
				      .iova = map->iova, .length = map->size};

	if (space->iommufd >= 0)
		return kernel_ioctl(space, space->iommufd, VFM_IOCTL_IOMMU_IOAS_UNMAP, &ioas);
	return kernel_ioctl(space, space->container, VFM_IOCTL_IOMMU_UNMAP_DMA, &dma);
}

static int kernel_map_all(struct vfm_vfio_space *space)
{
	int ret = 0;

	for (unsigned i = 0; i < space->map_count && !ret; i++)
		ret = kernel_map(space, &space->maps[i]);
	return ret;
}

/* ---- the list ---- */

/* The first mapping that does not begin before @iova. */
static unsigned find_place(const struct vfm_vfio_space *space, uint64_t iova)
{
	unsigned low = 0, high = space->map_count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (space->maps[middle].iova < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_taken(const struct vfm_vfio_space *space, unsigned place, uint64_t iova,
		     uint64_t size)
{
	const struct vfio_map *maps = space->maps;

	if (place < space->map_count && maps[place].iova - iova < size)
		return true;
	return place && iova - maps[place - 1].iova < maps[place - 1].size;
}

static int make_room(struct vfm_vfio_space *space)
{
	unsigned room = space->map_room ? 2 * space->map_room : 16;
	struct vfio_map *maps;

	if (space->map_count < space->map_room)
		return 0;
	if (room > MAPS_MAX)
		return -ENOSPC;
	maps = realloc(space->maps, room * sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	space->maps = maps;
	space->map_room = room;
	return 0;
}

static void insert(struct vfm_vfio_space *space, unsigned place, const struct vfio_map *map)
{
	memmove(&space->maps[place + 1], &space->maps[place],
		(space->map_count - place) * sizeof(*space->maps));
	space->maps[place] = *map;
	space->map_count++;
}

VFM_API int vfm_vfio_space_map(struct vfm_vfio_space *space, uint64_t iova, uint64_t size,
			       void *host)
{
	struct vfio_map map = {iova, size, host};
	unsigned place = find_place(space, iova);
	uint64_t last;
	int ret;

	if (!size || !is_aligned(iova | size | (uintptr_t)host, PAGE_BYTES) ||
	    !checked_add_u64(iova, size - 1, &last))
		return -EINVAL;
	if (is_taken(space, place, iova, size))
		return -EEXIST;
	ret = make_room(space);
	if (!ret && kernel_takes_maps(space))
		ret = kernel_map(space, &map);
	if (!ret)
		insert(space, place, &map);
	return ret;
}

VFM_API int vfm_vfio_space_unmap(struct vfm_vfio_space *space, uint64_t iova, uint64_t size)
{
	unsigned place = find_place(space, iova);
	struct vfio_map *map;
	int ret = 0;

	if (place == space->map_count)
		return -ENOENT;
	map = &space->maps[place];
	if (map->iova != iova || map->size != size)
		return -ENOENT;
	if (kernel_takes_maps(space))
		ret = kernel_unmap(space, map);
	if (ret < 0)
		return ret;
	space->map_count--;
	memmove(map, map + 1, (space->map_count - place) * sizeof(*map));
	return 0;
}

/* ---- container and groups ---- */

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
	int ret = kernel_ioctl(space, fd, VFM_IOCTL_GROUP_GET_STATUS, &status);

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
	int ret = kernel_ioctl(space, group->fd, VFM_IOCTL_GROUP_SET_CONTAINER, &space->container);

	if (ret < 0)
		return vfio_why(why, why_size, ret, "group %d does not fit the container: %s",
				group->number, strerror(-ret));
	if (space->groups)
		return 0;
	ret = kernel_ioctl(space, space->container, VFM_IOCTL_SET_IOMMU, (void *)type);
	if (ret < 0)
		return vfio_why(why, why_size, ret, "no type 1 IOMMU for group %d: %s",
				group->number, strerror(-ret));
	ret = kernel_map_all(space);
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

/* ---- iommufd ---- */

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
	ret = kernel_ioctl(space, fd, VFM_IOCTL_IOMMU_IOAS_ALLOC, &alloc);
	if (!ret) {
		space->iommufd = fd;
		space->ioas = alloc.out_ioas_id;
		ret = kernel_map_all(space);
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

	if (kernel_ioctl(space, space->iommufd, VFM_IOCTL_IOMMU_HWPT_ALLOC, &alloc) < 0)
		return 0;
	return alloc.out_hwpt_id;
}

static int attach(struct vfm_vfio_space *space, int fd, uint32_t pt)
{
	struct vfm_attach_pt arg = {.argsz = sizeof(arg), .pt_id = pt};

	return kernel_ioctl(space, fd, VFM_IOCTL_DEVICE_ATTACH_PT, &arg);
}

static void destroy_hwpt(struct vfm_vfio_space *space, uint32_t hwpt)
{
	struct vfm_iommu_destroy destroy = {.size = sizeof(destroy), .id = hwpt};

	kernel_ioctl(space, space->iommufd, VFM_IOCTL_IOMMU_DESTROY, &destroy);
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
	int ret = kernel_ioctl(vfio->space, vfio->fd, VFM_IOCTL_DEVICE_BIND_IOMMUFD, &bind);

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
		kernel_ioctl(vfio->space, vfio->fd, VFM_IOCTL_DEVICE_DETACH_PT, &arg);
}
