/* SPDX-License-Identifier: BSD-3-Clause */
/* memory, inside: what its files share. */
#ifndef MEMORY_REGION_H
#define MEMORY_REGION_H

#include <pthread.h>
#include "base/bitmap.h"
#include "memory/memory.h"

/* Most pages of a frame, zero ones too: those take no room in it, but time on both sides, between
 * two looks for cancellation. */
#define FRAME_PAGES_MAX 16384u

/* One bit per page in each map. All start as zero, so that the kernel backs only what is used. */
struct region {
	struct vfm_region vfm;
	uint64_t pages;
	uint64_t *dirty;   /* source: to be sent; words are atomic */
	uint64_t *sure;    /* destination: known to be right */
	uint64_t *touched; /* destination: was the target of a frame's bulk, right or not */
};

struct memory {
	unsigned count;
	uint64_t total_pages;
	uint64_t *scratch;

	/* Marks minus claims, atomic. Marks are counted after their bits are set, so that it can be
	 * below the truth, and below 0, while somebody is inside a mark. */
	int64_t dirty_pages;

	pthread_mutex_t cursor_lock; /* guards the next two; innermost, not held over page data */
	unsigned cursor_region;
	uint64_t cursor_page;

	uint64_t sure_pages;   /* atomic for the sake of readers */
	uint64_t loaded_pages; /* the same */

	unsigned by_gpa[VFM_REGIONS_MAX]; /* numbers of regions by ascending address */
	struct region regions[];
};

static inline uint64_t region_end(const struct region *region)
{
	return region->vfm.gpa + region->vfm.size;
}

static inline void *region_page(const struct region *region, uint64_t page)
{
	return (char *)region->vfm.host + page * VFM_PAGE_SIZE;
}

/* Is this page, aligned, all zero? It may be written to meanwhile: see send.c. */
bool memory_page_is_zero(const void *page);

#endif
