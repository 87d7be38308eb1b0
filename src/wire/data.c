/* SPDX-License-Identifier: BSD-3-Clause */
/* Heads that go with a bulk: MEMORY, DEVICE, VM_STATE; and CREDIT, which answers to DEVICE. */
#include "wire/wire.h"

#include <errno.h>
#include <string.h>
#include "base/checked.h"
#include "wire/format.h"

static void put_run(struct wire_run_le *le, const struct wire_run *run)
{
	le->first = put_le64(run->first);
	le->count = put_le32(run->count);
	le->flags = put_le32(run->zero ? WIRE_RUN_ZERO : 0);
}

size_t wire_put_memory(uint8_t *out, const struct wire_memory *memory)
{
	struct wire_memory_le *le = (struct wire_memory_le *)out;
	struct wire_run_le *runs = (struct wire_run_le *)(le + 1);
	le64 *digests;

	assert(memory->run_count <= WIRE_RUNS_MAX && memory->page_count <= WIRE_PAGES_MAX);
	le->region = put_le32(memory->region);
	le->run_count = put_le32(memory->run_count);
	le->page_count = put_le32(memory->page_count);
	le->reserved = put_le32(0);
	for (uint32_t i = 0; i < memory->run_count; i++)
		put_run(&runs[i], &memory->runs[i]);
	digests = (le64 *)(runs + memory->run_count);
	for (uint32_t i = 0; i < memory->page_count; i++)
		digests[i] = put_le64(memory->digests[i]);
	return (size_t)((uint8_t *)(digests + memory->page_count) - out);
}

/* The counts against each other and against both lengths, before a run is looked at. */
static int validate_memory(const struct wire_header *header, const struct wire_memory *memory)
{
	if (memory->region >= VFM_REGIONS_MAX)
		return -EPROTO;
	if (!memory->run_count || memory->run_count > WIRE_RUNS_MAX)
		return -EPROTO;
	if (memory->page_count > WIRE_PAGES_MAX)
		return -EPROTO;
	if (header->bulk != memory->page_count * VFM_PAGE_SIZE)
		return -EPROTO;
	if (header->head != sizeof(struct wire_memory_le) +
				    memory->run_count * sizeof(struct wire_run_le) +
				    memory->page_count * sizeof(le64))
		return -EPROTO;
	return 0;
}

/* A run that does not begin before @end, the end of the one before it. */
static int get_run(const struct wire_run_le *le, struct wire_run *run, uint64_t *end)
{
	uint32_t flags = get_le32(le->flags);

	run->first = get_le64(le->first);
	run->count = get_le32(le->count);
	run->zero = flags & WIRE_RUN_ZERO;
	if (flags & ~WIRE_RUN_ZERO || !run->count || run->first < *end)
		return -EPROTO;
	if (!range_within(run->first, run->count, WIRE_PAGE_END))
		return -EPROTO;
	*end = run->first + run->count;
	return 0;
}

static int get_runs(const struct wire_run_le *le, struct wire_memory *memory)
{
	uint64_t end = 0, pages = 0; /* at most 1024 times 2^32 pages: no wrap */

	for (uint32_t i = 0; i < memory->run_count; i++) {
		if (get_run(&le[i], &memory->runs[i], &end))
			return -EPROTO;
		if (!memory->runs[i].zero)
			pages += memory->runs[i].count;
	}
	return pages == memory->page_count ? 0 : -EPROTO;
}

int wire_get_memory(const struct wire_header *header, const void *head, struct wire_memory *memory)
{
	const struct wire_memory_le *le = head;
	const struct wire_run_le *runs = (const struct wire_run_le *)(le + 1);
	const le64 *digests;

	if (header->head < sizeof(*le) || get_le32(le->reserved))
		return -EPROTO;
	memory->region = get_le32(le->region);
	memory->run_count = get_le32(le->run_count);
	memory->page_count = get_le32(le->page_count);
	if (validate_memory(header, memory) || get_runs(runs, memory))
		return -EPROTO;
	digests = (const le64 *)(runs + memory->run_count);
	for (uint32_t i = 0; i < memory->page_count; i++)
		memory->digests[i] = get_le64(digests[i]);
	return 0;
}

size_t wire_put_bulk(uint8_t *out, const struct wire_bulk *bulk)
{
	struct wire_bulk_le le = {
		.offset = put_le64(bulk->offset),
		.digest = put_le64(bulk->digest),
	};

	memcpy(out, &le, sizeof(le));
	return sizeof(le);
}

static int validate_bulk(const struct wire_header *header, const struct wire_bulk *bulk)
{
	uint64_t limit = header->type == WIRE_VM_STATE ? VFM_VM_STATE_MAX : UINT64_MAX;

	if (!range_within(bulk->offset, header->bulk, limit))
		return -EPROTO;
	/* A frame without bytes says only that the stream ends. */
	if (!header->bulk && !(header->flags & (WIRE_FLAG_LAST | WIRE_FLAG_INITIAL)))
		return -EPROTO;
	return 0;
}

int wire_get_bulk(const struct wire_header *header, const void *head, struct wire_bulk *bulk)
{
	const struct wire_bulk_le *le = head;

	if (header->head != sizeof(*le))
		return -EPROTO;
	bulk->offset = get_le64(le->offset);
	bulk->digest = get_le64(le->digest);
	return validate_bulk(header, bulk);
}

size_t wire_put_credit(uint8_t *out, const struct wire_credit *credit)
{
	struct wire_credit_le le = {
		.device = put_le32(credit->device),
		.frames = put_le64(credit->frames),
		.consumed = put_le64(credit->consumed),
		.load_ns = put_le64(credit->load_ns),
	};

	memcpy(out, &le, sizeof(le));
	return sizeof(le);
}

int wire_get_credit(const void *head, size_t size, struct wire_credit *credit)
{
	const struct wire_credit_le *le = head;

	if (size != sizeof(*le) || get_le32(le->reserved))
		return -EPROTO;
	credit->device = get_le32(le->device);
	credit->frames = get_le64(le->frames);
	credit->consumed = get_le64(le->consumed);
	credit->load_ns = get_le64(le->load_ns);
	return credit->device < VFM_DEVICES_MAX ? 0 : -EPROTO;
}
