/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory as the devices see it: a type 1 container with its groups (vfio-container.c), or an
 * iommufd with one IOAS (vfio-iommufd.c).
 *
 * Theory of operation. The list of mappings is ours; the kernel has it as long as there is
 * something to hold it: a container while a group is in it, an iommufd from its opening on. So each
 * mapping is put into the list, and into the kernel when that takes it; what begins to hold them
 * gets the whole list. A space is of one way from its first device on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
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

int vfio_space_ioctl(struct vfm_vfio_space *space, int fd, unsigned long request, void *arg)
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
		return vfio_space_ioctl(space, space->iommufd, VFM_IOCTL_IOMMU_IOAS_MAP, &ioas);
	return vfio_space_ioctl(space, space->container, VFM_IOCTL_IOMMU_MAP_DMA, &dma);
}

static int kernel_unmap(struct vfm_vfio_space *space, const struct vfio_map *map)
{
	struct vfm_dma_unmap dma = {.argsz = sizeof(dma), .iova = map->iova, .size = map->size};
	struct vfm_ioas_unmap ioas = {.size = sizeof(ioas), .ioas_id = space->ioas,
				      .iova = map->iova, .length = map->size};

	if (space->iommufd >= 0)
		return vfio_space_ioctl(space, space->iommufd, VFM_IOCTL_IOMMU_IOAS_UNMAP, &ioas);
	return vfio_space_ioctl(space, space->container, VFM_IOCTL_IOMMU_UNMAP_DMA, &dma);
}

int vfio_space_map_all(struct vfm_vfio_space *space)
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
