/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Internal memory: what makes the device worth migrating. Its contents follow from the seed and
 * from how many pages have been changed, so that two runs of one seed are alike.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "sim/device.h"
#include "sim/platform.h"

#define YIELD_PAGES 1024u /* are written at a stretch */

static uint64_t *new_bitmap(uint64_t bits)
{
	return calloc(bitmap_words(bits), sizeof(uint64_t));
}

int memory_create(struct memory *memory, uint64_t size)
{
	memory->data = platform_alloc(size);
	if (!memory->data)
		return -ENOMEM;
	memory->size = size;
	memory->pages = div_round_up(size, SIM_PAGE_SIZE);
	memory->pending = new_bitmap(memory->pages);
	memory->early = new_bitmap(memory->pages);
	memory->held = new_bitmap(memory->pages);
	return memory->pending && memory->early && memory->held ? 0 : -ENOMEM;
}

void memory_destroy(struct memory *memory)
{
	platform_free(memory->data, memory->size);
	free(memory->pending);
	free(memory->early);
	free(memory->held);
	*memory = (struct memory){0};
}

uint64_t memory_bytes(const struct memory *memory, uint64_t start, uint64_t pages)
{
	return MIN(pages * SIM_PAGE_SIZE, memory->size - start * SIM_PAGE_SIZE);
}

/* A page of numbers that look random: a linear congruential sequence from @seed on. */
static void write_page(struct memory *memory, uint64_t page, uint64_t seed)
{
	uint64_t *words = (uint64_t *)(memory->data + page * SIM_PAGE_SIZE);
	unsigned i;

	for (i = 0; i < memory_bytes(memory, page, 1) / sizeof(*words); i++) {
		words[i] = seed;
		seed = seed * 6364136223846793005u + 1442695040888963407u;
	}
}

void memory_fill(struct memory *memory, uint64_t seed)
{
	uint64_t page;

	for (page = 0; page < memory->pages; page++) {
		write_page(memory, page, sim_mix(seed) ^ sim_mix(page));
		if (page % YIELD_PAGES == YIELD_PAGES - 1)
			platform_yield();
	}
}

/* A save has to know of the change; when pre-copy may send it is the personality's. */
static void note_change(struct sim *sim, uint64_t page)
{
	bitmap_set(sim->memory.pending, page);
	if (!sim->who->setup_only)
		bitmap_set(sim->who->saves_on_query ? sim->memory.held : sim->memory.early, page);
}

void memory_change(struct sim *sim, uint64_t pages)
{
	struct memory *memory = &sim->memory;
	uint64_t page, random;

	for (; pages; pages--) {
		random = sim_mix(sim->opts.seed ^ sim_mix(sim->regs.random++));
		page = random % memory->pages;
		write_page(memory, page, sim_mix(random));
		sim->regs.mutated += memory_bytes(memory, page, 1);
		if (sim->save.open)
			note_change(sim, page);
	}
}

uint64_t memory_hash(const struct memory *memory)
{
	return XXH64(memory->data, memory->size, 0);
}
