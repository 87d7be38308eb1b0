/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An fd is mapped only if the file reaches as far as the range. A client that shrinks the file
 * afterwards takes its own device away (SIGBUS): what a device may touch is the client's to keep.
 */
#include "sim/dma-map.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <vfio-migrate/vfio-user-protocol.h>
#include "base/checked.h"
#include "sim/core.h"

#define DMA_FLAGS (VFM_VFIO_USER_DMA_READABLE | VFM_VFIO_USER_DMA_WRITEABLE)

/* How many ranges begin at or before @iova. */
static unsigned count_up_to(const struct dma_map *map, uint64_t iova)
{
	unsigned low = 0, high = map->count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (map->ranges[middle].iova <= iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct dma_range *dma_map_find(const struct dma_map *map, uint64_t iova)
{
	unsigned place = count_up_to(map, iova);
	const struct dma_range *range;

	if (!place)
		return NULL;
	range = &map->ranges[place - 1];
	return iova - range->iova < range->size ? range : NULL;
}

static int check(const struct dma_map *map, uint64_t iova, uint64_t size, uint32_t flags,
		 uint64_t offset)
{
	unsigned place = count_up_to(map, iova);
	uint64_t end;

	if (!size || flags & ~DMA_FLAGS || !is_aligned(iova | size | offset, SIM_PAGE_SIZE) ||
	    !checked_add_u64(iova, size - 1, &end) || !checked_add_u64(offset, size, &end) ||
	    end > INT64_MAX)
		return -EINVAL;
	if (dma_map_find(map, iova) ||
	    (place < map->count && map->ranges[place].iova - iova < size))
		return -EEXIST;
	return map->count < DMA_MAPS_MAX ? 0 : -ENOSPC;
}

static int map_file(int fd, uint64_t size, uint32_t flags, uint64_t offset, uint8_t **host)
{
	int prot = (flags & VFM_VFIO_USER_DMA_READABLE ? PROT_READ : 0) |
		   (flags & VFM_VFIO_USER_DMA_WRITEABLE ? PROT_WRITE : 0);
	struct stat st;
	void *at;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || offset + size > (uint64_t)st.st_size)
		return -EINVAL;
	at = mmap(NULL, size, prot, MAP_SHARED, fd, (off_t)offset);
	if (at == MAP_FAILED)
		return -errno;
	*host = at;
	return 0;
}

int dma_map_add(struct dma_map *map, uint64_t iova, uint64_t size, uint32_t flags, int fd,
		uint64_t offset)
{
	struct dma_range range = {.iova = iova, .size = size, .flags = flags};
	unsigned place = count_up_to(map, iova);
	int ret = check(map, iova, size, flags, offset);

	if (!ret && fd >= 0)
		ret = map_file(fd, size, flags, offset, &range.host);
	if (ret)
		return ret;
	memmove(&map->ranges[place + 1], &map->ranges[place],
		(map->count - place) * sizeof(range));
	map->ranges[place] = range;
	map->count++;
	return 0;
}

static void unmap(const struct dma_range *range)
{
	if (range->host)
		munmap(range->host, range->size);
}

int dma_map_remove(struct dma_map *map, uint64_t iova, uint64_t size)
{
	unsigned place = count_up_to(map, iova);

	if (!place || map->ranges[place - 1].iova != iova || map->ranges[place - 1].size != size)
		return -ENOENT;
	unmap(&map->ranges[place - 1]);
	memmove(&map->ranges[place - 1], &map->ranges[place],
		(map->count - place) * sizeof(map->ranges[0]));
	map->count--;
	return 0;
}

void dma_map_clear(struct dma_map *map)
{
	while (map->count)
		unmap(&map->ranges[--map->count]);
}
