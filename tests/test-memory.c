/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory against a naive model: one byte per page says whether it is dirty, and every rule
 * is written down a second time without words, masks or cursors.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>
#include "base/bitmap.h"
#include "base/compiler.h"
#include "memory/memory.h"
#include "memory/region.h"

#define PAGE VFM_PAGE_SIZE

/* Unsorted on purpose; regions 1 and 2 adjoin; 3 has edges inside of 2 MiB pages. */
static const struct {
	uint64_t page;
	uint64_t pages;
} layout[] = {
	{1003, 1500}, {64, 200}, {264, 1}, {0, 37}, {UINT64_C(0x100000), 64},
};
#define REGIONS     ARRAY_SIZE(layout)
#define PAGES_LIMIT 1500

struct guest {
	struct vfm_region regions[REGIONS];
	struct memory *memory;
	uint8_t dirty[REGIONS][PAGES_LIMIT]; /* the model */
	uint64_t seed;
};

static uint64_t rnd(struct guest *g)
{
	g->seed ^= g->seed << 13;
	g->seed ^= g->seed >> 7;
	g->seed ^= g->seed << 17;
	return g->seed;
}

static uint64_t below(struct guest *g, uint64_t limit)
{
	return rnd(g) % limit;
}

static void *map(uint64_t pages, int prot)
{
	void *at = mmap(NULL, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(at != MAP_FAILED);
	return at;
}

static uint8_t *page_of(struct guest *g, unsigned region, uint64_t page)
{
	return (uint8_t *)g->regions[region].host + page * PAGE;
}

static void guest_init(struct guest *g, uint32_t flags)
{
	struct vfm_error error = {0};

	memset(g, 0, sizeof(*g));
	g->seed = 0x9e3779b97f4a7c15;
	for (unsigned i = 0; i < REGIONS; i++) {
		struct vfm_region *region = &g->regions[i];

		snprintf(region->name, sizeof(region->name), "ram%u", i);
		region->gpa = layout[i].page * PAGE;
		region->size = layout[i].pages * PAGE;
		region->host = map(layout[i].pages, PROT_READ | PROT_WRITE);
		region->flags = flags;
	}
	assert_int_equal(memory_new(g->regions, REGIONS, &g->memory, &error), 0);
	assert_int_equal(error.code, 0);
}

/* Half of the pages get content: a few bytes, so that zero detection has to look. */
static void guest_fill(struct guest *g)
{
	for (unsigned i = 0; i < REGIONS; i++)
		for (uint64_t page = 0; page < layout[i].pages; page++)
			if (rnd(g) & 1)
				page_of(g, i, page)[below(g, PAGE)] = (uint8_t)(rnd(g) | 1);
}

static void guest_destroy(struct guest *g)
{
	memory_free(g->memory);
	for (unsigned i = 0; i < REGIONS; i++)
		munmap(g->regions[i].host, g->regions[i].size);
}

static struct guest *guest_new(uint32_t flags)
{
	struct guest *g = malloc(sizeof(*g));

	assert_non_null(g);
	guest_init(g, flags);
	return g;
}

static void guest_free(struct guest *g)
{
	guest_destroy(g);
	free(g);
}

/* ---- the model ---- */

static uint64_t model_count(struct guest *g)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < REGIONS; i++)
		for (uint64_t page = 0; page < layout[i].pages; page++)
			count += g->dirty[i][page];
	return count;
}

/* @last is the last byte, so that nothing wraps. */
static void model_mark(struct guest *g, uint64_t first, uint64_t last)
{
	for (unsigned i = 0; i < REGIONS; i++)
		for (uint64_t page = 0; page < layout[i].pages; page++) {
			uint64_t gpa = g->regions[i].gpa + page * PAGE;

			if (gpa <= last && gpa + PAGE - 1 >= first)
				g->dirty[i][page] = 1;
		}
}

/* Is a bit set whose unit shares a byte with the page at @gpa, as far as the report reaches? */
static bool model_reported(uint64_t gpa, uint64_t iova, uint64_t size, uint64_t unit,
			   const uint64_t *bitmap)
{
	uint64_t first = MAX(gpa, iova), last = MIN(gpa + PAGE, iova + size) - 1;

	if (gpa >= iova + size || gpa + PAGE <= iova)
		return false;
	for (uint64_t bit = (first - iova) / unit; bit <= (last - iova) / unit; bit++)
		if (bitmap_test(bitmap, bit))
			return true;
	return false;
}

static void model_report(struct guest *g, uint64_t iova, uint64_t size, uint64_t unit,
			 const uint64_t *bitmap)
{
	for (unsigned i = 0; i < REGIONS; i++)
		for (uint64_t page = 0; page < layout[i].pages; page++)
			g->dirty[i][page] |= model_reported(g->regions[i].gpa + page * PAGE, iova,
							    size, unit, bitmap);
}

/* ---- passes ---- */

static void check_page(struct guest *g, struct memory_batch *batch, uint64_t page, bool zero,
		       uint32_t *content, const uint8_t **bulk)
{
	static const uint8_t nothing[PAGE];
	unsigned region = batch->wire.region;
	uint8_t *data = page_of(g, region, page);

	assert_int_equal(g->dirty[region][page], 1);
	g->dirty[region][page] = 0;
	assert_int_equal(zero, !memcmp(data, nothing, PAGE));
	if (zero)
		return;
	assert_true(batch->wire.digests[*content] == wire_digest(data, PAGE));
	assert_ptr_equal(bulk[*content], data);
	++*content;
}

/* Where each page of the bulk comes from. Adjoining elements would have been one. */
static uint32_t spread_iov(const struct memory_batch *batch, const uint8_t **bulk)
{
	uint32_t count = 0;

	for (int i = 0; i < batch->iov_count; i++) {
		uint8_t *base = batch->iov[i].iov_base;

		assert_int_equal(batch->iov[i].iov_len % PAGE, 0);
		if (i)
			assert_true((uint8_t *)batch->iov[i - 1].iov_base +
					    batch->iov[i - 1].iov_len != base);
		for (size_t at = 0; at < batch->iov[i].iov_len; at += PAGE) {
			assert_true(count < WIRE_PAGES_MAX);
			bulk[count++] = base + at;
		}
	}
	return count;
}

static void check_batch(struct guest *g, struct memory_batch *batch, uint32_t max_bytes)
{
	const uint8_t *bulk[WIRE_PAGES_MAX];
	uint64_t pages = 0, zero = 0, behind = 0;
	uint32_t content = 0;

	assert_in_range(batch->wire.run_count, 1, WIRE_RUNS_MAX);
	assert_true(batch->wire.page_count <= MAX(max_bytes / PAGE, 1u));
	assert_int_equal(spread_iov(batch, bulk), batch->wire.page_count);
	for (uint32_t i = 0; i < batch->wire.run_count; i++) {
		const struct wire_run *run = &batch->wire.runs[i];

		assert_true(i == 0 || run->first >= behind);
		behind = run->first + run->count;
		pages += run->count;
		zero += run->zero ? run->count : 0;
		for (uint64_t page = run->first; page < behind; page++)
			check_page(g, batch, page, run->zero, &content, bulk);
	}
	assert_int_equal(content, batch->wire.page_count);
	assert_int_equal(pages, batch->pages);
	assert_int_equal(zero, batch->zero_pages);
}

/* Every marked page, each once, and no other; afterwards none. */
static void check_pass(struct guest *g, uint32_t max_bytes)
{
	struct memory_batch *batch = malloc(sizeof(*batch));

	assert_non_null(batch);
	memory_rewind(g->memory);
	while (memory_next(g->memory, batch, max_bytes))
		check_batch(g, batch, max_bytes);
	assert_int_equal(model_count(g), 0);
	assert_int_equal(memory_dirty_pages(g->memory), 0);
	assert_false(memory_next(g->memory, batch, max_bytes));
	free(batch);
}

/* ---- source: marks ---- */

/* Sparse, dense or full, in words of either kind. */
static void random_bitmap(struct guest *g, uint64_t *bitmap, uint64_t words)
{
	unsigned kind = (unsigned)below(g, 4);

	for (uint64_t i = 0; i < words; i++) {
		bitmap[i] = kind == 0 ? UINT64_MAX : rnd(g) & rnd(g);
		if (kind == 1 || (kind == 2 && below(g, 4)))
			bitmap[i] = below(g, 8) ? 0 : UINT64_C(1) << below(g, 64);
	}
}

static uint64_t mark_random_gpa(struct guest *g)
{
	uint64_t gpa = below(g, 2600 * PAGE);
	uint64_t size = below(g, below(g, 8) ? 5 * PAGE : 400 * PAGE);
	uint64_t before = memory_dirty_pages(g->memory);

	if (below(g, 4) == 0)
		gpa += layout[4].page * PAGE - 30 * PAGE;
	memory_mark_gpa(g->memory, gpa, size);
	if (size)
		model_mark(g, gpa, gpa + size - 1);
	return memory_dirty_pages(g->memory) - before;
}

static uint64_t mark_random_region(struct guest *g)
{
	unsigned region = (unsigned)below(g, REGIONS);
	uint64_t *bitmap = memory_scratch(g->memory, region);

	for (uint64_t i = 0; i < bitmap_words(layout[region].pages); i++)
		assert_true(bitmap[i] == 0);
	/* Bits behind the end too: they are to be ignored. */
	random_bitmap(g, bitmap, bitmap_words(layout[region].pages));
	for (uint64_t page = 0; page < layout[region].pages; page++)
		g->dirty[region][page] |= bitmap_test(bitmap, page);
	return memory_or(g->memory, region, bitmap);
}

static uint64_t mark_random_iova(struct guest *g)
{
	uint64_t unit = (uint64_t)PAGE << below(g, 10);
	uint64_t iova = below(g, 2600) * PAGE;
	uint64_t size = (1 + below(g, 2600)) * PAGE;
	uint64_t bitmap[2600 / 64 + 1];

	if (below(g, 8) == 0)
		iova += layout[4].page * PAGE - 100 * PAGE;
	if (below(g, 8) == 0)
		iova += below(g, PAGE);
	if (below(g, 8) == 0)
		size -= below(g, PAGE);
	random_bitmap(g, bitmap, ARRAY_SIZE(bitmap));
	model_report(g, iova, size, unit, bitmap);
	return memory_or_iova(g->memory, iova, size, unit, bitmap);
}

static void mark_random(struct guest *g)
{
	uint64_t before = model_count(g);
	uint64_t marked;

	switch (below(g, 3)) {
	case 0:
		marked = mark_random_gpa(g);
		break;
	case 1:
		marked = mark_random_region(g);
		break;
	default:
		marked = mark_random_iova(g);
		break;
	}
	assert_int_equal(marked, model_count(g) - before);
	assert_int_equal(memory_dirty_pages(g->memory), model_count(g));
}

static void test_random_marks(void **state)
{
	static const uint32_t sizes[] = {WIRE_BULK_MAX, 16 * PAGE, 5 * PAGE, PAGE, 1, UINT32_MAX};
	struct guest *g = guest_new(0);

	for (unsigned pass = 0; pass < 1000; pass++) {
		uint64_t marks = 1 + below(g, 5);

		if (pass % 20 == 0)
			guest_fill(g);
		while (marks--)
			mark_random(g);
		check_pass(g, sizes[pass % ARRAY_SIZE(sizes)]);
	}
	guest_free(g);
}

static void test_mark_all(void **state)
{
	struct guest *g = guest_new(0);

	memory_mark_all(g->memory);
	assert_int_equal(memory_dirty_pages(g->memory), memory_total_pages(g->memory));
	model_mark(g, 0, UINT64_MAX);
	check_pass(g, WIRE_BULK_MAX);
	memory_mark_region(g->memory, 2);
	assert_int_equal(memory_dirty_pages(g->memory), 1);
	g->dirty[2][0] = 1;
	check_pass(g, WIRE_BULK_MAX);
	guest_free(g);
}

/* Ranges that reach past the last address, and units that are none: too much, never too little. */
static void test_mark_extremes(void **state)
{
	static const uint64_t units[] = {0, 1, 2048, 3 * PAGE, UINT64_MAX};
	struct guest *g = guest_new(0);
	uint64_t bitmap[2] = {0, 0};

	memory_mark_gpa(g->memory, 0, UINT64_MAX);
	assert_int_equal(memory_dirty_pages(g->memory), memory_total_pages(g->memory));
	model_mark(g, 0, UINT64_MAX);
	check_pass(g, WIRE_BULK_MAX);

	memory_mark_gpa(g->memory, layout[4].page * PAGE, UINT64_MAX);
	memory_mark_gpa(g->memory, UINT64_MAX, UINT64_MAX);
	memory_mark_gpa(g->memory, 0, 0);
	model_mark(g, layout[4].page * PAGE, UINT64_MAX);
	check_pass(g, WIRE_BULK_MAX);

	for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
		memory_or_iova(g->memory, 64 * PAGE + 1, 10 * PAGE, units[i], bitmap);
		model_mark(g, 64 * PAGE + 1, 74 * PAGE);
		check_pass(g, WIRE_BULK_MAX);
	}
	bitmap[0] = 1;
	assert_int_equal(memory_or_iova(g->memory, 0, UINT64_MAX, UINT64_C(1) << 63, bitmap),
			 memory_total_pages(g->memory));
	assert_int_equal(memory_or_iova(g->memory, 0, 0, PAGE, bitmap), 0);
	model_mark(g, 0, UINT64_MAX);
	check_pass(g, WIRE_BULK_MAX);
	guest_free(g);
}

/* ---- source: batches ---- */

/* Marks behind the cursor wait for the next pass, marks before it are taken. */
static void test_mark_during_pass(void **state)
{
	struct guest *g = guest_new(0);
	struct memory_batch *batch = malloc(sizeof(*batch));

	assert_non_null(batch);
	memset(g->regions[3].host, 1, g->regions[3].size);
	memory_mark_gpa(g->memory, 0, 10 * PAGE);
	memory_rewind(g->memory);
	assert_true(memory_next(g->memory, batch, 4 * PAGE));
	assert_int_equal(batch->pages, 4);
	memory_mark_gpa(g->memory, 0, PAGE);
	memory_mark_gpa(g->memory, 3 * PAGE, PAGE);
	memory_mark_gpa(g->memory, 20 * PAGE, PAGE);
	model_mark(g, 4 * PAGE, 10 * PAGE - 1);
	model_mark(g, 20 * PAGE, 20 * PAGE);
	while (memory_next(g->memory, batch, 4 * PAGE))
		check_batch(g, batch, 4 * PAGE);
	assert_int_equal(model_count(g), 0);
	assert_int_equal(memory_dirty_pages(g->memory), 2);
	model_mark(g, 0, 0);
	model_mark(g, 3 * PAGE, 3 * PAGE);
	check_pass(g, 4 * PAGE);
	free(batch);
	guest_free(g);
}

static struct memory *one_region(struct vfm_region *region, uint64_t pages, uint32_t flags,
				 int prot)
{
	struct vfm_error error = {0};
	struct memory *memory;

	*region = (struct vfm_region){.name = "one", .size = pages * PAGE, .flags = flags};
	region->host = map(pages, prot);
	assert_int_equal(memory_new(region, 1, &memory, &error), 0);
	return memory;
}

static void one_region_free(struct memory *memory, struct vfm_region *region)
{
	memory_free(memory);
	munmap(region->host, region->size);
}

/* Every other page dirty and zero: a frame is full of runs before it is full of anything else. */
static void test_batch_runs_limit(void **state)
{
	const uint64_t pages = 3 * WIRE_RUNS_MAX * 2;
	struct vfm_region region;
	struct memory *memory = one_region(&region, pages, 0, PROT_READ | PROT_WRITE);
	struct memory_batch *batch = malloc(sizeof(*batch));
	unsigned batches = 0;

	assert_non_null(batch);
	for (uint64_t page = 0; page < pages; page += 2)
		memory_mark_gpa(memory, page * PAGE, 1);
	memory_rewind(memory);
	while (memory_next(memory, batch, WIRE_BULK_MAX)) {
		assert_int_equal(batch->wire.run_count, WIRE_RUNS_MAX);
		assert_int_equal(batch->zero_pages, WIRE_RUNS_MAX);
		assert_int_equal(batch->iov_count, 0);
		batches++;
	}
	assert_int_equal(batches, 3);
	free(batch);
	one_region_free(memory, &region);
}

/* Zero pages take no room, but time: a frame has a limit of them. */
static void test_batch_zero_limit(void **state)
{
	const uint64_t pages = 2 * FRAME_PAGES_MAX + 7;
	struct vfm_region region;
	struct memory *memory = one_region(&region, pages, 0, PROT_READ | PROT_WRITE);
	struct memory_batch *batch = malloc(sizeof(*batch));
	uint64_t left = pages;

	assert_non_null(batch);
	memory_mark_all(memory);
	memory_rewind(memory);
	while (memory_next(memory, batch, WIRE_BULK_MAX)) {
		assert_int_equal(batch->wire.run_count, 1);
		assert_int_equal(batch->pages, MIN(left, FRAME_PAGES_MAX));
		left -= batch->pages;
	}
	assert_int_equal(left, 0);
	free(batch);
	one_region_free(memory, &region);
}

static void test_batch_adjoining_share_iovec(void **state)
{
	struct vfm_region region;
	struct memory *memory = one_region(&region, 300, 0, PROT_READ | PROT_WRITE);
	struct memory_batch *batch = malloc(sizeof(*batch));

	assert_non_null(batch);
	memset(region.host, 1, region.size);
	memory_mark_all(memory);
	memory_rewind(memory);
	assert_true(memory_next(memory, batch, WIRE_BULK_MAX));
	assert_int_equal(batch->iov_count, 1);
	assert_int_equal(batch->iov[0].iov_len, WIRE_BULK_MAX);
	assert_int_equal(batch->wire.run_count, 1);
	assert_true(memory_next(memory, batch, WIRE_BULK_MAX));
	assert_int_equal(batch->pages, 300 - WIRE_PAGES_MAX);
	free(batch);
	one_region_free(memory, &region);
}

static void test_zero_page_sees_every_byte(void **state)
{
	uint8_t *page = map(1, PROT_READ | PROT_WRITE);

	assert_true(memory_page_is_zero(page));
	for (unsigned i = 0; i < PAGE; i++) {
		page[i] = 0x80;
		assert_false(memory_page_is_zero(page));
		page[i] = 0;
	}
	assert_true(memory_page_is_zero(page));
	munmap(page, PAGE);
}

/* ---- source: threads ---- */

#define MARKS  20000
#define TAKERS 2

struct race {
	struct guest *g;
	pthread_barrier_t barrier;
	uint64_t marked;           /* the marker's */
	bool marker_done;          /* atomic */
	bool stop;                 /* changes between the barriers alone */
	uint64_t delivered;        /* atomic */
	uint32_t twice_in_a_batch; /* atomic: bad batches */
};

/* Small reports in few words, so that everybody meets everybody. */
static void *marker(void *opaque)
{
	struct race *race = opaque;
	struct guest *g = race->g;
	uint64_t bitmap[4];

	for (unsigned i = 0; i < MARKS; i++) {
		random_bitmap(g, bitmap, ARRAY_SIZE(bitmap));
		race->marked += memory_or(g->memory, 1, bitmap);
		race->marked += memory_or_iova(g->memory, below(g, 270) * PAGE, 60 * PAGE,
					       (uint64_t)PAGE << below(g, 3), bitmap);
	}
	__atomic_store_n(&race->marker_done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Runs that do not ascend would mean a page twice in a frame. */
static bool ascending(const struct memory_batch *batch)
{
	uint64_t behind = 0;

	for (uint32_t i = 0; i < batch->wire.run_count; i++) {
		if (batch->wire.runs[i].first < behind)
			return false;
		behind = batch->wire.runs[i].first + batch->wire.runs[i].count;
	}
	return true;
}

static void *taker(void *opaque)
{
	struct race *race = opaque;
	struct memory_batch *batch = malloc(sizeof(*batch));

	while (!race->stop) {
		while (batch && memory_next(race->g->memory, batch, 5 * PAGE)) {
			__atomic_fetch_add(&race->delivered, batch->pages, __ATOMIC_RELAXED);
			if (!ascending(batch))
				__atomic_fetch_add(&race->twice_in_a_batch, 1, __ATOMIC_RELAXED);
		}
		if (pthread_barrier_wait(&race->barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
			race->stop = __atomic_load_n(&race->marker_done, __ATOMIC_ACQUIRE);
			memory_rewind(race->g->memory);
		}
		pthread_barrier_wait(&race->barrier);
	}
	free(batch);
	return NULL;
}

/* Each mark that was new is delivered exactly once, whoever takes it. */
static void test_threads(void **state)
{
	struct guest *g = guest_new(0);
	struct race race = {.g = g};
	struct memory_batch *batch = malloc(sizeof(*batch));
	pthread_t threads[TAKERS + 1];

	assert_non_null(batch);
	guest_fill(g);
	pthread_barrier_init(&race.barrier, NULL, TAKERS);
	for (unsigned i = 0; i < TAKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, taker, &race), 0);
	assert_int_equal(pthread_create(&threads[TAKERS], NULL, marker, &race), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);

	assert_int_equal(race.twice_in_a_batch, 0);
	assert_int_equal(memory_dirty_pages(g->memory), race.marked - race.delivered);
	memory_rewind(g->memory);
	while (memory_next(g->memory, batch, WIRE_BULK_MAX))
		race.delivered += batch->pages;
	assert_int_equal(race.delivered, race.marked);
	assert_int_equal(memory_dirty_pages(g->memory), 0);
	pthread_barrier_destroy(&race.barrier);
	free(batch);
	guest_free(g);
}

/* ---- both sides ---- */

/* A frame as it is on the wire: what memory_next gave, copied at that moment. */
struct frame {
	struct wire_header header;
	uint8_t head[WIRE_HEAD_MAX];
	uint8_t bulk[WIRE_BULK_MAX];
	struct wire_memory decoded;
};

static void frame_make(struct frame *frame, const struct memory_batch *batch)
{
	size_t at = 0;

	frame->header = (struct wire_header){.type = WIRE_MEMORY, .stream = WIRE_STREAM_MEMORY};
	frame->header.head = (uint32_t)wire_put_memory(frame->head, &batch->wire);
	for (int i = 0; i < batch->iov_count; i++) {
		memcpy(frame->bulk + at, batch->iov[i].iov_base, batch->iov[i].iov_len);
		at += batch->iov[i].iov_len;
	}
	frame->header.bulk = (uint32_t)at;
}

static int frame_load(struct frame *frame, struct memory *memory, bool live,
		      struct vfm_error *error)
{
	struct iovec iov[WIRE_PAGES_MAX];
	size_t at = 0;
	int count, ret;

	assert_int_equal(wire_get_memory(&frame->header, frame->head, &frame->decoded), 0);
	ret = memory_load_begin(memory, &frame->decoded, iov, &count, error);
	if (ret)
		return ret;
	for (int i = 0; i < count; i++) {
		memcpy(iov[i].iov_base, frame->bulk + at, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	assert_int_equal(at, frame->header.bulk);
	return memory_load_end(memory, &frame->decoded, live, error);
}

/* One pass from @from to @to. Returns the pages sent. */
static uint64_t transfer(struct memory *from, struct memory *to)
{
	struct memory_batch *batch = malloc(sizeof(*batch));
	struct frame *frame = malloc(sizeof(*frame));
	struct vfm_error error = {0};
	uint64_t pages = 0;

	assert_non_null(batch);
	assert_non_null(frame);
	memory_rewind(from);
	while (memory_next(from, batch, WIRE_BULK_MAX)) {
		frame_make(frame, batch);
		assert_int_equal(frame_load(frame, to, false, &error), 0);
		pages += batch->pages;
	}
	free(batch);
	free(frame);
	return pages;
}

static void assert_same(struct guest *a, struct guest *b)
{
	for (unsigned i = 0; i < REGIONS; i++)
		assert_memory_equal(a->regions[i].host, b->regions[i].host, a->regions[i].size);
}

static void round_trip(uint32_t flags)
{
	struct guest *from = guest_new(0), *to = guest_new(flags);
	uint64_t total = memory_total_pages(from->memory);
	uint64_t loaded = total;

	/* Memory that claims nothing may hold anything. */
	for (unsigned i = 0; i < REGIONS && !flags; i++)
		memset(to->regions[i].host, 0xa5, to->regions[i].size);
	guest_fill(from);
	memory_mark_all(from->memory);
	assert_int_equal(memory_unsure_pages(to->memory), total);
	assert_int_equal(transfer(from->memory, to->memory), total);
	assert_int_equal(memory_unsure_pages(to->memory), 0);
	assert_same(from, to);

	/* Rounds: some pages get content, others lose it. */
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < 50; i++) {
			unsigned region = (unsigned)below(from, REGIONS);
			uint64_t page = below(from, layout[region].pages);

			memset(page_of(from, region, page), rnd(from) & 1 ? 0x5a : 0, PAGE);
			memory_mark_gpa(from->memory, from->regions[region].gpa + page * PAGE, 1);
		}
		loaded += transfer(from->memory, to->memory);
		assert_same(from, to);
		assert_int_equal(memory_unsure_pages(to->memory), 0);
		assert_int_equal(memory_loaded_pages(to->memory), loaded);
	}
	guest_free(from);
	guest_free(to);
}

static void test_round_trip(void **state)
{
	round_trip(0);
	round_trip(VFM_REGION_ZEROED);
}

/* One region on each side, a page of content and the batch that carries it. */
struct pair {
	struct vfm_region from_region, to_region;
	struct memory *from, *to;
	struct memory_batch batch;
	struct frame frame;
};

static struct pair *pair_new(uint64_t pages, uint32_t flags)
{
	struct pair *pair = malloc(sizeof(*pair));

	assert_non_null(pair);
	pair->from = one_region(&pair->from_region, pages, 0, PROT_READ | PROT_WRITE);
	pair->to = one_region(&pair->to_region, pages, flags, PROT_READ | PROT_WRITE);
	return pair;
}

static void pair_free(struct pair *pair)
{
	one_region_free(pair->from, &pair->from_region);
	one_region_free(pair->to, &pair->to_region);
	free(pair);
}

static void pair_take(struct pair *pair)
{
	memory_rewind(pair->from);
	assert_true(memory_next(pair->from, &pair->batch, WIRE_BULK_MAX));
}

/* The guest stores between the digest and the socket's copy, and the tracker reports it. */
static void test_torn_page_recovers(void **state)
{
	struct pair *pair = pair_new(8, 0);
	struct vfm_error error = {0};
	uint8_t *data = pair->from_region.host;

	memset(data, 7, 8 * PAGE);
	memory_mark_all(pair->from);
	pair_take(pair);
	data[3 * PAGE + 100] = 8;
	frame_make(&pair->frame, &pair->batch);
	memory_mark_gpa(pair->from, 3 * PAGE, PAGE);
	assert_int_equal(frame_load(&pair->frame, pair->to, true, &error), 0);
	assert_int_equal(memory_unsure_pages(pair->to), 1);

	/* Torn once more, then sent while stopped. */
	pair_take(pair);
	assert_int_equal(pair->batch.pages, 1);
	data[3 * PAGE + 200] = 9;
	frame_make(&pair->frame, &pair->batch);
	memory_mark_gpa(pair->from, 3 * PAGE, PAGE);
	assert_int_equal(frame_load(&pair->frame, pair->to, true, &error), 0);
	assert_int_equal(memory_unsure_pages(pair->to), 1);
	assert_int_equal(transfer(pair->from, pair->to), 1);
	assert_int_equal(memory_unsure_pages(pair->to), 0);
	assert_memory_equal(pair->to_region.host, data, 8 * PAGE);
	assert_int_equal(error.code, 0);
	pair_free(pair);
}

/* A page that was right is not so any more when a later copy of it is torn. */
static void test_torn_later_copy_is_unsure(void **state)
{
	struct pair *pair = pair_new(8, 0);
	struct vfm_error error = {0};
	uint8_t *data = pair->from_region.host;

	memset(data, 7, 8 * PAGE);
	memory_mark_all(pair->from);
	assert_int_equal(transfer(pair->from, pair->to), 8);
	assert_int_equal(memory_unsure_pages(pair->to), 0);
	memory_mark_gpa(pair->from, 0, 2 * PAGE);
	pair_take(pair);
	data[PAGE] = 1;
	frame_make(&pair->frame, &pair->batch);
	assert_int_equal(frame_load(&pair->frame, pair->to, true, &error), 0);
	assert_int_equal(memory_unsure_pages(pair->to), 1);
	pair_free(pair);
}

/* The same page of a stopped guest is an error that names the place. */
static void test_torn_page_of_stopped_guest(void **state)
{
	struct pair *pair = pair_new(8, 0);
	struct vfm_error error = {0};

	memset(pair->from_region.host, 7, 8 * PAGE);
	memory_mark_all(pair->from);
	pair_take(pair);
	frame_make(&pair->frame, &pair->batch);
	pair->frame.bulk[5 * PAGE] ^= 1;
	assert_int_equal(frame_load(&pair->frame, pair->to, false, &error), -EBADMSG);
	assert_int_equal(error.code, EBADMSG);
	assert_non_null(strstr(error.text, "0x5000"));
	assert_non_null(strstr(error.text, "region one"));
	assert_int_not_equal(memory_unsure_pages(pair->to), 0);
	pair_free(pair);
}

/* A bulk that was begun and never ended (a lost connection) leaves its pages in doubt. */
static void test_begun_page_is_unsure(void **state)
{
	struct pair *pair = pair_new(8, 0);
	struct vfm_error error = {0};
	struct iovec iov[WIRE_PAGES_MAX];
	int count;

	memset(pair->from_region.host, 7, 8 * PAGE);
	memory_mark_all(pair->from);
	assert_int_equal(transfer(pair->from, pair->to), 8);
	memory_mark_gpa(pair->from, 0, 3 * PAGE);
	pair_take(pair);
	assert_int_equal(memory_load_begin(pair->to, &pair->batch.wire, iov, &count, &error), 0);
	assert_int_equal(count, 1);
	assert_int_equal(memory_unsure_pages(pair->to), 3);
	pair_free(pair);
}

/* A page that is cleared on the source after it was sent, torn, to zeroed memory. */
static void test_torn_then_zero(void **state)
{
	struct pair *pair = pair_new(8, VFM_REGION_ZEROED);
	struct vfm_error error = {0};
	uint8_t *data = pair->from_region.host;

	memset(data, 7, 8 * PAGE);
	memory_mark_all(pair->from);
	pair_take(pair);
	memset(data + 2 * PAGE, 9, PAGE);
	frame_make(&pair->frame, &pair->batch);
	assert_int_equal(frame_load(&pair->frame, pair->to, true, &error), 0);
	assert_int_equal(memory_unsure_pages(pair->to), 1);
	memset(data + 2 * PAGE, 0, PAGE);
	memory_mark_gpa(pair->from, 2 * PAGE, PAGE);
	pair_take(pair);
	assert_int_equal(pair->batch.zero_pages, 1);
	frame_make(&pair->frame, &pair->batch);
	assert_int_equal(frame_load(&pair->frame, pair->to, false, &error), 0);
	assert_int_equal(memory_unsure_pages(pair->to), 0);
	assert_memory_equal(pair->to_region.host, data, 8 * PAGE);
	pair_free(pair);
}

static void load_zeroes(struct memory *memory, uint32_t pages)
{
	struct wire_memory *wire = calloc(1, sizeof(*wire));
	struct vfm_error error = {0};
	struct iovec iov[WIRE_PAGES_MAX];
	int count;

	assert_non_null(wire);
	wire->run_count = 1;
	wire->runs[0] = (struct wire_run){.first = 0, .count = pages, .zero = true};
	assert_int_equal(memory_load_begin(memory, wire, iov, &count, &error), 0);
	assert_int_equal(count, 0);
	assert_int_equal(memory_load_end(memory, wire, false, &error), 0);
	assert_int_equal(memory_unsure_pages(memory), 0);
	free(wire);
}

/* The mapping faults on any access: loading zero pages makes none. */
static void test_zeroed_region_is_not_touched(void **state)
{
	struct vfm_region region;
	struct memory *memory = one_region(&region, 64, VFM_REGION_ZEROED, PROT_NONE);

	load_zeroes(memory, 64);
	one_region_free(memory, &region);
}

/* The mapping faults on a store: pages that are zero already are not written. */
static void test_zero_page_is_not_rewritten(void **state)
{
	struct vfm_region region;
	struct memory *memory = one_region(&region, 64, 0, PROT_READ);

	load_zeroes(memory, 64);
	one_region_free(memory, &region);
}

/* ---- destination: what is refused ---- */

static void assert_refused(struct guest *g, struct wire_memory *wire, const char *why)
{
	struct vfm_error error = {0};
	struct iovec iov[WIRE_PAGES_MAX];
	int count;

	assert_int_equal(memory_load_begin(g->memory, wire, iov, &count, &error), -EPROTO);
	assert_int_equal(count, 0);
	assert_int_equal(error.code, EPROTO);
	assert_non_null(strstr(error.text, why));
	assert_int_equal(memory_unsure_pages(g->memory), memory_total_pages(g->memory));
	assert_int_equal(memory_loaded_pages(g->memory), 0);
}

static void set_runs(struct wire_memory *wire, uint32_t region, uint64_t first, uint32_t count,
		     uint64_t first2, uint32_t count2)
{
	memset(wire, 0, sizeof(*wire));
	wire->region = region;
	wire->run_count = count2 ? 2 : 1;
	wire->runs[0] = (struct wire_run){.first = first, .count = count};
	wire->runs[1] = (struct wire_run){.first = first2, .count = count2};
	wire->page_count = count + count2;
}

static void test_refused_frames(void **state)
{
	struct guest *g = guest_new(0);
	struct wire_memory *wire = malloc(sizeof(*wire));

	assert_non_null(wire);
	set_runs(wire, REGIONS, 0, 1, 0, 0);
	assert_refused(g, wire, "region 5 of 5");
	set_runs(wire, UINT32_MAX, 0, 1, 0, 0);
	assert_refused(g, wire, "region 4294967295");
	set_runs(wire, 1, 200, 1, 0, 0);
	assert_refused(g, wire, "has 200");
	set_runs(wire, 1, 199, 2, 0, 0);
	assert_refused(g, wire, "has 200");
	set_runs(wire, 1, UINT64_MAX, 1, 0, 0);
	assert_refused(g, wire, "has 200");
	set_runs(wire, 1, 1, UINT32_MAX, 0, 0);
	assert_refused(g, wire, "has 200");
	set_runs(wire, 1, 5, 0, 0, 0);
	assert_refused(g, wire, "has 200");
	set_runs(wire, 1, 5, 3, 7, 1);
	assert_refused(g, wire, "overlaps");
	set_runs(wire, 1, 5, 3, 1, 1);
	assert_refused(g, wire, "overlaps");
	set_runs(wire, 1, 5, 3, 8, 1);
	wire->page_count = 3;
	assert_refused(g, wire, "3 pages of content");
	set_runs(wire, 0, 0, WIRE_PAGES_MAX, WIRE_PAGES_MAX, 1);
	assert_refused(g, wire, "257 pages");
	set_runs(wire, 1, 0, 1, 0, 0);
	wire->run_count = 0;
	assert_refused(g, wire, "0 runs");
	wire->run_count = WIRE_RUNS_MAX + 1;
	assert_refused(g, wire, "1025 runs");
	free(wire);
	guest_free(g);
}

static void test_refused_long_frame(void **state)
{
	struct vfm_region region;
	struct memory *memory = one_region(&region, FRAME_PAGES_MAX + 1, 0, PROT_NONE);
	struct wire_memory *wire = calloc(1, sizeof(*wire));
	struct vfm_error error = {0};
	struct iovec iov[WIRE_PAGES_MAX];
	int count;

	assert_non_null(wire);
	wire->run_count = 1;
	wire->runs[0] = (struct wire_run){.count = FRAME_PAGES_MAX + 1, .zero = true};
	assert_int_equal(memory_load_begin(memory, wire, iov, &count, &error), -EPROTO);
	free(wire);
	one_region_free(memory, &region);
}

/* Runs of content that adjoin are one element, however the peer cut them. */
static void test_load_joins_runs(void **state)
{
	struct guest *g = guest_new(0);
	struct wire_memory *wire = malloc(sizeof(*wire));
	struct vfm_error error = {0};
	struct iovec iov[WIRE_PAGES_MAX];
	int count;

	assert_non_null(wire);
	set_runs(wire, 1, 5, 3, 8, 2);
	assert_int_equal(memory_load_begin(g->memory, wire, iov, &count, &error), 0);
	assert_int_equal(count, 1);
	assert_ptr_equal(iov[0].iov_base, page_of(g, 1, 5));
	assert_int_equal(iov[0].iov_len, 5 * PAGE);
	free(wire);
	guest_free(g);
}

/* ---- regions ---- */

static void test_regions(void **state)
{
	struct guest *g = guest_new(0);

	assert_int_equal(memory_region_count(g->memory), REGIONS);
	assert_int_equal(memory_total_pages(g->memory), 1500 + 200 + 1 + 37 + 64);
	for (unsigned i = 0; i < REGIONS; i++)
		assert_memory_equal(memory_region(g->memory, i), &g->regions[i],
				    sizeof(g->regions[i]));
	guest_free(g);
	memory_free(NULL);
}

static void assert_regions_refused(const struct vfm_region *regions, unsigned count,
				   const char *const *why)
{
	struct vfm_error error = {0};
	struct memory *memory;

	assert_int_equal(memory_new(regions, count, &memory, &error), -EINVAL);
	assert_null(memory);
	assert_int_equal(error.code, EINVAL);
	for (; *why; why++)
		if (!strstr(error.text, *why))
			fail_msg("\"%s\" is not in \"%s\"", *why, error.text);
}

static void test_region_faults(void **state)
{
	char *host = map(16, PROT_NONE);
	struct vfm_region regions[] = {
		{.name = "a", .gpa = 0x800, .size = PAGE, .host = host},
		{.name = "", .gpa = 0x10000, .size = 2 * PAGE, .host = host},
		{.name = "c", .gpa = 0x20000, .size = 0, .host = host},
		{.name = "d", .gpa = 0x30000, .size = PAGE + 1, .host = host},
		{.name = "e", .gpa = UINT64_MAX - PAGE + 1, .size = PAGE, .host = host},
		{.name = "f", .gpa = 0x40000, .size = PAGE, .host = host + 8},
		{.name = "g", .gpa = 0x50000, .size = PAGE},
		{.name = "h", .gpa = 0x11000, .size = PAGE, .host = host},
		{.name = "a", .gpa = 0x70000, .size = PAGE, .host = host, .flags = 6},
	};
	const char *const all[] = {
		"region 0 (a): address 0x800 is not page aligned",
		"region 1: its name is empty",
		"region 2 (c): size 0x0",
		"region 3 (d): size 0x1001",
		"region 4 (e): reaches past the last address",
		"region 5 (f): host address",
		"region 6 (g): host address",
		"regions 1 and 7 overlap",
		"region 8 (a): unknown flags 0x6",
		"regions 0 and 8 are both named a",
		NULL,
	};
	const char *const overlap[] = {
		"regions 0 and 1 overlap", "regions 0 and 1 are both named x", NULL,
	};

	assert_regions_refused(regions, ARRAY_SIZE(regions), all);
	regions[0] = (struct vfm_region){.name = "x", .size = 2 * PAGE, .host = host};
	regions[1] = (struct vfm_region){.name = "x", .gpa = PAGE, .size = PAGE, .host = host};
	assert_regions_refused(regions, 2, overlap);
	memset(regions[1].name, 'y', sizeof(regions[1].name));
	assert_regions_refused(regions, 2, (const char *const[]){"longer than 63 bytes", NULL});
	munmap(host, 16 * PAGE);
}

/* More than a line can hold: the rest is counted. */
static void test_many_region_faults(void **state)
{
	struct vfm_region regions[20];
	struct vfm_error error = {0};
	struct memory *memory;
	unsigned shown = 0, more = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(regions); i++) {
		regions[i] = (struct vfm_region){.gpa = i * 16 * PAGE, .size = PAGE};
		snprintf(regions[i].name, sizeof(regions[i].name), "ram%u", i);
	}
	assert_int_equal(memory_new(regions, ARRAY_SIZE(regions), &memory, &error), -EINVAL);
	for (const char *at = error.text; (at = strstr(at, "host address")); at++)
		shown++;
	assert_int_equal(sscanf(strstr(error.text, "; and "), "; and %u more", &more), 1);
	assert_int_equal(shown + more, ARRAY_SIZE(regions));
	assert_true(shown > 3);
}

static void test_region_count(void **state)
{
	struct vfm_region *regions = calloc(VFM_REGIONS_MAX + 1, sizeof(*regions));
	const char *const why[] = {"up to 256 are possible", NULL};

	assert_non_null(regions);
	assert_regions_refused(regions, VFM_REGIONS_MAX + 1, why);
	free(regions);
}

/* Devices that move alone. */
static void test_no_region(void **state)
{
	struct memory_batch *batch = malloc(sizeof(*batch));
	struct vfm_error error = {0};
	struct memory *memory;

	assert_non_null(batch);
	assert_int_equal(memory_new(NULL, 0, &memory, &error), 0);
	assert_int_equal(memory_total_pages(memory), 0);
	memory_mark_all(memory);
	memory_mark_gpa(memory, 0, UINT64_MAX);
	assert_int_equal(memory_dirty_pages(memory), 0);
	assert_int_equal(memory_unsure_pages(memory), 0);
	memory_rewind(memory);
	assert_false(memory_next(memory, batch, 1 << 20));
	memory_free(memory);
	free(batch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_region),
		cmocka_unit_test(test_regions),
		cmocka_unit_test(test_region_faults),
		cmocka_unit_test(test_many_region_faults),
		cmocka_unit_test(test_region_count),
		cmocka_unit_test(test_random_marks),
		cmocka_unit_test(test_mark_all),
		cmocka_unit_test(test_mark_extremes),
		cmocka_unit_test(test_mark_during_pass),
		cmocka_unit_test(test_batch_runs_limit),
		cmocka_unit_test(test_batch_zero_limit),
		cmocka_unit_test(test_batch_adjoining_share_iovec),
		cmocka_unit_test(test_zero_page_sees_every_byte),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_torn_page_recovers),
		cmocka_unit_test(test_torn_later_copy_is_unsure),
		cmocka_unit_test(test_torn_page_of_stopped_guest),
		cmocka_unit_test(test_begun_page_is_unsure),
		cmocka_unit_test(test_torn_then_zero),
		cmocka_unit_test(test_zeroed_region_is_not_touched),
		cmocka_unit_test(test_zero_page_is_not_rewritten),
		cmocka_unit_test(test_refused_frames),
		cmocka_unit_test(test_refused_long_frame),
		cmocka_unit_test(test_load_joins_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
