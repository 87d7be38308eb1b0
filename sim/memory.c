/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Internal memory: what makes the device worth migrating. Its contents follow from the seed and
 * from how many pages have been changed, so that two runs of one seed are alike.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/bitmap.h"
#include "sim/device.h"

static uint64_t *new_bitmap(uint64_t bits)
{
	return calloc(bitmap_words(bits), sizeof(uint64_t));
}

int memory_create(struct memory *memory, uint64_t size)
{
	void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (data == MAP_FAILED)
		return -errno;
	memory->data = data;
	memory->size = size;
	memory->pages = size / SIM_PAGE_SIZE;
	memory->pending = new_bitmap(memory->pages);
	memory->early = new_bitmap(memory->pages);
	return memory->pending && memory->early ? 0 : -ENOMEM;
}

void memory_destroy(struct memory *memory)
{
	if (memory->data)
		munmap(memory->data, memory->size);
	free(memory->pending);
	free(memory->early);
	*memory = (struct memory){0};
}

/* A page of numbers that look random: a linear congruential sequence from @seed on. */
static void write_page(uint8_t *page, uint64_t seed)
{
	uint64_t *words = (uint64_t *)page;
	unsigned i;

	for (i = 0; i < SIM_PAGE_SIZE / sizeof(*words); i++) {
		words[i] = seed;
		seed = seed * 6364136223846793005u + 1442695040888963407u;
	}
}

void memory_fill(struct memory *memory, uint64_t seed)
{
	uint64_t page;

	for (page = 0; page < memory->pages; page++)
		write_page(memory->data + page * SIM_PAGE_SIZE, sim_mix(seed) ^ sim_mix(page));
}

void memory_change(struct sim *sim, uint64_t pages)
{
	struct memory *memory = &sim->memory;
	uint64_t page, random;

	for (; pages; pages--) {
		random = sim_mix(sim->opts.seed ^ sim_mix(sim->regs.random++));
		page = random % memory->pages;
		write_page(memory->data + page * SIM_PAGE_SIZE, sim_mix(random));
		sim->regs.mutated += SIM_PAGE_SIZE;
		if (!sim->save.open)
			continue;
		bitmap_set(memory->pending, page);
		bitmap_set(memory->early, page);
	}
}

uint64_t memory_hash(const struct memory *memory)
{
	return XXH3_64bits(memory->data, memory->size);
}
