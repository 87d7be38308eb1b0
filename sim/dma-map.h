/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's memory as the server may reach it: ranges of IOVA, each with a mapping of the fd
 * that came with it, or without one, and then reached by asking the client.
 */
#ifndef SIM_DMA_MAP_H
#define SIM_DMA_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DMA_MAPS_MAX 1024u

struct dma_range {
	uint64_t iova;
	uint64_t size;
	uint32_t flags; /* VFM_VFIO_USER_DMA_* */
	uint8_t *host;  /* NULL: ask the client */
};

struct dma_map {
	struct dma_range ranges[DMA_MAPS_MAX]; /* sorted by iova, no two overlap */
	unsigned count;
};

/* What may be mapped: -EINVAL for sizes, alignment and wrapping, -EEXIST for an overlap, -ENOSPC.
 * All arguments may come from a peer. @fd is borrowed, -1: none. */
int dma_map_add(struct dma_map *map, uint64_t iova, uint64_t size, uint32_t flags, int fd,
		uint64_t offset);

/* Exactly one earlier range. -ENOENT. */
int dma_map_remove(struct dma_map *map, uint64_t iova, uint64_t size);
void dma_map_clear(struct dma_map *map);

/* The range that holds @iova, NULL if none does. */
const struct dma_range *dma_map_find(const struct dma_map *map, uint64_t iova);

#endif
