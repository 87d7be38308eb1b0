/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions: checked once, then fixed for the life of a struct memory. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/checked.h"
#include "base/compiler.h"
#include "base/error.h"
#include "memory/region.h"

/* Faults are gathered in one line, parted by "; ", so that the user sees them all at once. */
struct faults {
	unsigned count;
	unsigned shown;
	size_t used;
	char text[VFM_ERROR_TEXT_MAX - 32]; /* leaves room for "; and N more" */
};

PRINTF(2, 3) static void fault(struct faults *faults, const char *fmt, ...)
{
	size_t room = sizeof(faults->text) - faults->used;
	char line[VFM_NAME_MAX * 2 + 128];
	va_list args;
	int len;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	/* Nothing is shown after the first that did not fit: the rest is a number. */
	if (faults->shown == faults->count++) {
		len = snprintf(faults->text + faults->used, room, "%s%s", faults->used ? "; " : "",
			       line);
		if (len >= 0 && (size_t)len < room) {
			faults->used += (size_t)len;
			faults->shown++;
		} else {
			faults->text[faults->used] = '\0';
		}
	}
}

static int report_faults(const struct faults *faults, struct vfm_error *error)
{
	if (!faults->count)
		return 0;
	if (faults->shown == faults->count)
		return error_set(error, EINVAL, "%s", faults->text);
	return error_set(error, EINVAL, "%s; and %u more", faults->text,
			 faults->count - faults->shown);
}

static bool name_is_valid(const struct vfm_region *region)
{
	return region->name[0] && memchr(region->name, '\0', sizeof(region->name));
}

/* What is wrong with one region by itself. */
static void check_region(const struct vfm_region *region, unsigned number, struct faults *faults)
{
	const char *name = name_is_valid(region) ? region->name : "?";
	uint64_t end;

	if (!name_is_valid(region))
		fault(faults, "region %u: its name is empty or longer than %d bytes", number,
		      VFM_NAME_MAX - 1);
	if (!is_aligned(region->gpa, VFM_PAGE_SIZE))
		fault(faults, "region %u (%s): address 0x%llx is not page aligned", number, name,
		      (unsigned long long)region->gpa);
	if (!region->size || !is_aligned(region->size, VFM_PAGE_SIZE))
		fault(faults, "region %u (%s): size 0x%llx is not a multiple of %u above 0", number,
		      name, (unsigned long long)region->size, VFM_PAGE_SIZE);
	if (!checked_add_u64(region->gpa, region->size, &end))
		fault(faults, "region %u (%s): reaches past the last address", number, name);
	if (!region->host || !is_aligned((uintptr_t)region->host, VFM_PAGE_SIZE))
		fault(faults, "region %u (%s): host address is null or not page aligned", number,
		      name);
	if (region->flags & ~(uint32_t)VFM_REGION_ZEROED)
		fault(faults, "region %u (%s): unknown flags 0x%x", number, name, region->flags);
}

static void check_pair(const struct vfm_region *regions, unsigned a, unsigned b,
		       struct faults *faults)
{
	if (ranges_overlap(regions[a].gpa, regions[a].size, regions[b].gpa, regions[b].size))
		fault(faults, "regions %u and %u overlap", a, b);
	if (name_is_valid(&regions[a]) && !strncmp(regions[a].name, regions[b].name, VFM_NAME_MAX))
		fault(faults, "regions %u and %u are both named %s", a, b, regions[a].name);
}

static int check_regions(const struct vfm_region *regions, unsigned count, struct vfm_error *error)
{
	struct faults faults = {0};

	if (count > VFM_REGIONS_MAX)
		return error_set(error, EINVAL, "%u memory regions given, up to %u are possible",
				 count, VFM_REGIONS_MAX);
	for (unsigned i = 0; i < count; i++) {
		check_region(&regions[i], i, &faults);
		for (unsigned j = 0; j < i; j++)
			check_pair(regions, j, i, &faults);
	}
	return report_faults(&faults, error);
}

static int region_init(struct region *region, const struct vfm_region *vfm)
{
	uint64_t words;

	region->vfm = *vfm;
	region->pages = vfm->size / VFM_PAGE_SIZE;
	words = bitmap_words(region->pages);
	region->dirty = calloc(words, sizeof(uint64_t));
	region->sure = calloc(words, sizeof(uint64_t));
	region->touched = calloc(words, sizeof(uint64_t));
	return region->dirty && region->sure && region->touched ? 0 : -ENOMEM;
}

/* Insertion: there are few, and most VMMs give them in order. */
static void sort_in(struct memory *memory, unsigned index)
{
	unsigned at = index;

	for (; at && memory->regions[memory->by_gpa[at - 1]].vfm.gpa >
			     memory->regions[index].vfm.gpa; at--)
		memory->by_gpa[at] = memory->by_gpa[at - 1];
	memory->by_gpa[at] = index;
}

static int memory_init(struct memory *memory, const struct vfm_region *regions, unsigned count)
{
	uint64_t longest = 1; /* devices alone have no region, and nobody need know */

	memory->count = count;
	for (unsigned i = 0; i < count; i++) {
		if (region_init(&memory->regions[i], &regions[i]))
			return -ENOMEM;
		sort_in(memory, i);
		memory->total_pages += memory->regions[i].pages;
		longest = MAX(longest, memory->regions[i].pages);
	}
	memory->scratch = calloc(bitmap_words(longest), sizeof(uint64_t));
	return memory->scratch ? 0 : -ENOMEM;
}

int memory_new(const struct vfm_region *regions, unsigned count, struct memory **memory,
	       struct vfm_error *error)
{
	struct memory *made;
	int ret;

	*memory = NULL;
	ret = check_regions(regions, count, error);
	if (ret)
		return ret;
	made = calloc(1, sizeof(*made) + count * sizeof(made->regions[0]));
	if (!made)
		return error_set(error, ENOMEM, "no memory for %u regions", count);
	pthread_mutex_init(&made->cursor_lock, NULL);
	ret = memory_init(made, regions, count);
	if (ret) {
		memory_free(made);
		return error_set(error, ENOMEM, "no memory for the bitmaps of %u regions", count);
	}
	*memory = made;
	return 0;
}

void memory_free(struct memory *memory)
{
	if (!memory)
		return;
	for (unsigned i = 0; i < memory->count; i++) {
		free(memory->regions[i].dirty);
		free(memory->regions[i].sure);
		free(memory->regions[i].touched);
	}
	free(memory->scratch);
	pthread_mutex_destroy(&memory->cursor_lock);
	free(memory);
}

unsigned memory_region_count(const struct memory *memory)
{
	return memory->count;
}

const struct vfm_region *memory_region(const struct memory *memory, unsigned index)
{
	return &memory->regions[index].vfm;
}

uint64_t memory_total_pages(const struct memory *memory)
{
	return memory->total_pages;
}

uint64_t *memory_scratch(struct memory *memory, unsigned index)
{
	uint64_t words = bitmap_words(memory->regions[index].pages);

	return memset(memory->scratch, 0, words * sizeof(uint64_t));
}
