/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What lies where in the guest, and the machine's state at its first instruction: long mode, flat
 * segments, an identity map of 2 MiB pages. Guest physical addresses come from one cursor that
 * moves up, so that the same configuration gives the same layout on both sides.
 *
 * The working set is contiguous: behind everything else below the hole, or above the hole where it
 * only fits there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/checked.h"
#include "sim/regs.h"
#include "vmm/layout.h"
#include "vmm/vm.h"

#define RING_ENTRIES   512u
#define PTE_PRESENT_RW 0x3ull
#define PTE_LARGE      0x80ull
#define GIB            (1ull << 30)
#define LARGE_PAGE     (2ull << 20)
#define TABLE_WORDS    512u

static uint64_t take(uint64_t *cursor, uint64_t size)
{
	uint64_t at = *cursor;

	*cursor += align_down(size + GUEST_PAGE - 1, GUEST_PAGE);
	return at;
}

/* GiB that the page tables map: all memory, and the devices below 4 GiB. */
static uint64_t mapped_gib(const struct vmm *vm)
{
	return div_round_up(MAX(vm->memory.span, 4 * GIB), GIB);
}

static void plan_devices(struct vmm *vm, uint64_t *cursor)
{
	unsigned i;

	for (i = 0; i < vm->params.devices; i++) {
		struct guest_params_device *d = &vm->params.device[i];

		d->entries = RING_ENTRIES;
		d->ring = take(cursor, RING_ENTRIES * SIM_RECORD_SIZE);
		d->index = take(cursor, sizeof(struct sim_ring_index));
		d->vector = GUEST_VECTOR_DEVICE + i;
	}
}

static int plan_working_set(struct vmm *vm, uint64_t cursor, char *why)
{
	const struct vfm_region *low = &vm->memory.region[0], *high = &vm->memory.region[1];
	uint64_t want = vm->config.working_set, room = low->size - cursor;
	uint64_t at = cursor;

	if (vm->memory.count > 1 && high->size > room) {
		room = high->size;
		if (want != UINT64_MAX ? want > low->size - cursor : true)
			at = high->gpa;
	}
	if (want == UINT64_MAX)
		want = MIN(vm->config.memory / 2, at == cursor ? low->size - cursor : room);
	want = align_down(want, GUEST_PAGE);
	if (want > room) {
		snprintf(why, VMM_WHY_MAX,
			 "--working-set: %llu KiB do not fit: at most %llu KiB with this memory",
			 (unsigned long long)want >> 10, (unsigned long long)room >> 10);
		return -ERANGE;
	}
	vm->params.working_set = at;
	vm->params.working_pages = want / GUEST_PAGE;
	return 0;
}

int layout_plan(struct vmm *vm, char *why)
{
	uint64_t cursor = GUEST_IMAGE_GPA + GUEST_IMAGE_MAX;
	struct guest_params *p = &vm->params;

	p->magic = GUEST_PARAMS_MAGIC;
	p->version = GUEST_PARAMS_VERSION;
	p->cpus = vm->config.cpus;
	p->devices = vm->config.devices;
	p->pages_per_sec = div_round_up(vm->config.dirty_rate, GUEST_PAGE);
	vm->tables = take(&cursor, mapped_gib(vm) * GUEST_PAGE);
	vm->stacks = take(&cursor, GUEST_CPUS_MAX * GUEST_STACK_SIZE);
	p->cpu_area = take(&cursor, GUEST_CPUS_MAX * GUEST_PAGE);
	plan_devices(vm, &cursor);
	if (cursor > vm->memory.region[0].size) {
		snprintf(why, VMM_WHY_MAX, "--memory: %u devices and %llu KiB do not fit together",
			 vm->config.devices, (unsigned long long)vm->config.memory >> 10);
		return -ERANGE;
	}
	return plan_working_set(vm, cursor, why);
}

static void load_tables(struct vmm *vm)
{
	uint64_t *gdt = (uint64_t *)(vm->memory.base + LAYOUT_GDT);
	uint64_t *pml4 = (uint64_t *)(vm->memory.base + LAYOUT_PML4);
	uint64_t *pdpt = (uint64_t *)(vm->memory.base + LAYOUT_PDPT);
	uint64_t *pd = (uint64_t *)(vm->memory.base + vm->tables);
	uint64_t gib = mapped_gib(vm), i;

	gdt[LAYOUT_CODE / 8] = 0x00af9b000000ffffull;
	gdt[LAYOUT_DATA / 8] = 0x00cf93000000ffffull;
	pml4[0] = LAYOUT_PDPT | PTE_PRESENT_RW;
	for (i = 0; i < gib; i++)
		pdpt[i] = (vm->tables + i * GUEST_PAGE) | PTE_PRESENT_RW;
	for (i = 0; i < gib * TABLE_WORDS; i++)
		pd[i] = i * LARGE_PAGE | PTE_PRESENT_RW | PTE_LARGE;
}

/* Every word at generation 0; see guest/abi.h. The tag is the generation itself. */
static void fill_working_set(struct vmm *vm)
{
	uint64_t page, gpa = vm->params.working_set, *words;
	unsigned i;

	for (page = 0; page < vm->params.working_pages; page++, gpa += GUEST_PAGE) {
		words = (uint64_t *)(vm->memory.base + gpa);
		words[0] = 0;
		for (i = 1; i < GUEST_PAGE_WORDS; i++)
			words[i] = guest_pattern(gpa, i, 0);
	}
}

void layout_load(struct vmm *vm)
{
	size_t size;
	const void *image = layout_image(&size);

	memcpy(vm->memory.base + GUEST_IMAGE_GPA, image, size);
	memcpy(vm->memory.base + GUEST_PARAMS_GPA, &vm->params, sizeof(vm->params));
	load_tables(vm);
	fill_working_set(vm);
}

/* The generation that last wrote @word of a page whose tag is @tag. */
static uint64_t written_at(unsigned word, uint64_t tag)
{
	unsigned column = word % GUEST_COLUMNS;
	uint64_t back;

	if (!column || !tag)
		return 0;
	/* The newest g <= tag with guest_column(g) == column. */
	back = (guest_column(tag) + GUEST_ROTATION - column) % GUEST_ROTATION;
	return back < tag ? tag - back : 0;
}

/* A vCPU can have been stopped in the middle of a page: words of the next column may be written,
 * and the tag not yet. */
static bool is_right(uint64_t gpa, unsigned i, uint64_t tag, uint64_t found)
{
	if (found == guest_pattern(gpa, i, written_at(i, tag)))
		return true;
	return i % GUEST_COLUMNS == guest_column(tag + 1) &&
	       found == guest_pattern(gpa, i, tag + 1);
}

int layout_check_page(const struct vmm *vm, uint64_t page, uint64_t *tag)
{
	uint64_t gpa = vm->params.working_set + page * GUEST_PAGE;
	const uint64_t *words = (const uint64_t *)(vm->memory.base + gpa);
	unsigned i;

	*tag = words[0];
	for (i = 1; i < GUEST_PAGE_WORDS; i++)
		if (!is_right(gpa, i, *tag, words[i]))
			return (int)i;
	return 0;
}
