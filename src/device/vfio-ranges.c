/* SPDX-License-Identifier: BSD-3-Clause */
/* Ranges of memory to track: sorted, joined, widened. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/checked.h"
#include "device/vfio-log.h"

static int compare(const void *a, const void *b)
{
	const struct device_range *one = a, *two = b;

	return one->iova < two->iova ? -1 : one->iova > two->iova;
}

static uint64_t last_of(const struct device_range *range)
{
	return range->iova + (range->size - 1);
}

int vfio_ranges_set(struct vfio_ranges *ranges, const struct device_range *from, unsigned count)
{
	uint64_t last;

	if (count > VFIO_RANGES_MAX)
		return -E2BIG;
	if (!count)
		return -EINVAL;
	memcpy(ranges->at, from, count * sizeof(*from));
	ranges->count = count;
	qsort(ranges->at, count, sizeof(*ranges->at), compare);
	for (unsigned i = 0; i < count; i++) {
		const struct device_range *r = &ranges->at[i];

		if (!r->size || !checked_add_u64(r->iova, r->size - 1, &last) ||
		    (i && last_of(r - 1) >= r->iova))
			return -EINVAL;
	}
	return 0;
}

/* Range @i swallows the one behind it. */
static void join(struct vfio_ranges *ranges, unsigned i)
{
	struct device_range *r = &ranges->at[i];

	r->size = MAX(last_of(r), last_of(r + 1)) - r->iova + 1;
	memmove(r + 1, r + 2, (ranges->count - i - 2) * sizeof(*r));
	ranges->count--;
}

void vfio_ranges_limit(struct vfio_ranges *ranges, unsigned most)
{
	while (ranges->count > MAX(most, 1u)) {
		unsigned best = 0;
		uint64_t least = UINT64_MAX;

		for (unsigned i = 0; i + 1 < ranges->count; i++) {
			uint64_t gap = ranges->at[i + 1].iova - last_of(&ranges->at[i]);

			if (gap < least) {
				least = gap;
				best = i;
			}
		}
		join(ranges, best);
	}
}

bool vfio_ranges_align(struct vfio_ranges *ranges, uint64_t page_size)
{
	bool changed = false;

	for (unsigned i = 0; i < ranges->count; i++) {
		struct device_range *r = &ranges->at[i];
		uint64_t start = align_down(r->iova, page_size);
		uint64_t last = last_of(r) | (page_size - 1);

		/* The whole address space has no size: leave its last page out. */
		if (!start && last == UINT64_MAX)
			last -= page_size;
		changed |= start != r->iova || last != last_of(r);
		r->iova = start;
		r->size = last - start + 1;
	}
	for (unsigned i = 0; i + 1 < ranges->count;)
		if (last_of(&ranges->at[i]) >= ranges->at[i + 1].iova)
			join(ranges, i);
		else
			i++;
	return changed;
}
