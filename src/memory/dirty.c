/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who dirtied what.
 *
 * Theory of operation. Every report, whatever its unit, ends as words of page bits that mark_word
 * ORs into a region's map: a union, so that reports can come in any order, from any thread, and
 * say the same thing twice. A report can mark too much and never too little: a unit that is not
 * a whole number of pages marks every page that it touches, and a unit that makes no sense marks
 * the whole range that it was asked about.
 *
 *	a device's report, unit 16 KiB, iova 0x2000        a region at 0xa000
 *
 *	bit     0        1        2        3               pages a..  b..  c..  d..  e..
 *	        2..5     6..9     a..d     e..11            ^^^^^^^^^^^^^^^^^^^
 *	        0        0        1        0               marked: a, b, c, d
 *
 * Order. The content of a page was written before the report that marks it; marking releases, and
 * the claim in send.c acquires before it looks at the page. A store to the page after that look is
 * in a later report. So at every moment a page is clean, or marked, or about to be marked by a
 * report that is not yet read: no store is lost.
 */
#include "base/checked.h"
#include "base/compiler.h"
#include "memory/region.h"

/* The one place where a dirty bit is set. Returns how many were not set before. */
static uint64_t mark_word(uint64_t *word, uint64_t bits)
{
	uint64_t old = __atomic_fetch_or(word, bits, __ATOMIC_RELEASE);

	return (uint64_t)__builtin_popcountll(bits & ~old);
}

static uint64_t count_marked(struct memory *memory, uint64_t marked)
{
	__atomic_fetch_add(&memory->dirty_pages, (int64_t)marked, __ATOMIC_RELAXED);
	return marked;
}

/* The lowest @count bits, 1 to 64. */
static uint64_t low_bits(uint64_t count)
{
	return UINT64_MAX >> (BITMAP_WORD_BITS - count);
}

static uint64_t mark_pages(struct region *region, uint64_t page, uint64_t end)
{
	uint64_t marked = 0;

	while (page < end) {
		uint64_t shift = page % BITMAP_WORD_BITS;
		uint64_t count = MIN(BITMAP_WORD_BITS - shift, end - page);

		marked += mark_word(&region->dirty[page / BITMAP_WORD_BITS],
				    low_bits(count) << shift);
		page += count;
	}
	return marked;
}

/* @count bits (1 to 64) of @bitmap from @bit on. */
static uint64_t bits_at(const uint64_t *bitmap, uint64_t bit, uint64_t count)
{
	const uint64_t *word = &bitmap[bit / BITMAP_WORD_BITS];
	uint64_t shift = bit % BITMAP_WORD_BITS;
	uint64_t bits = word[0] >> shift;

	if (shift + count > BITMAP_WORD_BITS)
		bits |= word[1] << (BITMAP_WORD_BITS - shift);
	return bits & low_bits(count);
}

/* OR bits from @bit on into pages from @page on: a word at a time, whatever the two offsets. */
static uint64_t or_pages(struct region *region, uint64_t page, uint64_t end,
			 const uint64_t *bitmap, uint64_t bit)
{
	uint64_t marked = 0;

	while (page < end) {
		uint64_t shift = page % BITMAP_WORD_BITS;
		uint64_t count = MIN(BITMAP_WORD_BITS - shift, end - page);
		uint64_t bits = bits_at(bitmap, bit, count);

		if (bits)
			marked += mark_word(&region->dirty[page / BITMAP_WORD_BITS], bits << shift);
		page += count;
		bit += count;
	}
	return marked;
}

/* A piece of [start, end) that lies in one region. */
struct piece {
	struct region *region;
	uint64_t start; /* address of its first byte */
	uint64_t page;  /* first page of the region that it touches */
	uint64_t end;   /* page behind the last one */
};

/* Place in by_gpa of the first region that ends behind @gpa. */
static unsigned find_region(const struct memory *memory, uint64_t gpa)
{
	unsigned low = 0, high = memory->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (region_end(&memory->regions[memory->by_gpa[middle]]) <= gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The piece of [start, end) in the region at @place. False: there is none, nor in a later one. */
static bool find_piece(struct memory *memory, unsigned place, uint64_t start, uint64_t end,
		       struct piece *piece)
{
	struct region *region;
	uint64_t gpa;

	if (place >= memory->count)
		return false;
	region = &memory->regions[memory->by_gpa[place]];
	gpa = region->vfm.gpa;
	if (gpa >= end)
		return false;
	piece->region = region;
	piece->start = MAX(start, gpa);
	piece->page = (piece->start - gpa) / VFM_PAGE_SIZE;
	piece->end = div_round_up(MIN(end, region_end(region)) - gpa, VFM_PAGE_SIZE);
	return true;
}

/* The end of a range that may reach past the last address, where no region is. */
static uint64_t range_end(uint64_t start, uint64_t size)
{
	uint64_t end;

	return checked_add_u64(start, size, &end) ? end : UINT64_MAX;
}

static uint64_t mark_range(struct memory *memory, uint64_t start, uint64_t end)
{
	unsigned place = find_region(memory, start);
	uint64_t marked = 0;
	struct piece piece;

	if (start >= end)
		return 0;
	for (; find_piece(memory, place, start, end, &piece); place++)
		marked += mark_pages(piece.region, piece.page, piece.end);
	return marked;
}

void memory_mark_all(struct memory *memory)
{
	for (unsigned i = 0; i < memory->count; i++)
		memory_mark_region(memory, i);
}

void memory_mark_region(struct memory *memory, unsigned index)
{
	struct region *region = &memory->regions[index];

	count_marked(memory, mark_pages(region, 0, region->pages));
}

void memory_mark_gpa(struct memory *memory, uint64_t gpa, uint64_t size)
{
	count_marked(memory, mark_range(memory, gpa, range_end(gpa, size)));
}

uint64_t memory_or(struct memory *memory, unsigned index, const uint64_t *bitmap)
{
	struct region *region = &memory->regions[index];

	return count_marked(memory, or_pages(region, 0, region->pages, bitmap, 0));
}

/* The common case: the device's pages are ours. @iova is page aligned. */
static uint64_t or_same_pages(struct memory *memory, uint64_t iova, uint64_t end,
			      const uint64_t *bitmap)
{
	unsigned place = find_region(memory, iova);
	uint64_t marked = 0;
	struct piece piece;

	for (; find_piece(memory, place, iova, end, &piece); place++)
		marked += or_pages(piece.region, piece.page, piece.end, bitmap,
				   (piece.start - iova) / VFM_PAGE_SIZE);
	return marked;
}

/* Any other unit: runs of set bits become ranges of addresses. Bit i begins at iova + i units. */
static uint64_t or_units(struct memory *memory, uint64_t iova, uint64_t end, uint64_t unit,
			 const uint64_t *bitmap)
{
	uint64_t bits = div_round_up(end - iova, unit);
	uint64_t bit = bitmap_find_next_set(bitmap, bits, 0);
	uint64_t marked = 0;

	while (bit < bits) {
		uint64_t stop = bitmap_find_next_zero(bitmap, bits, bit);
		uint64_t until = stop < bits ? iova + stop * unit : end;

		marked += mark_range(memory, iova + bit * unit, until);
		bit = bitmap_find_next_set(bitmap, bits, stop);
	}
	return marked;
}

uint64_t memory_or_iova(struct memory *memory, uint64_t iova, uint64_t size, uint64_t page_size,
			const uint64_t *bitmap)
{
	uint64_t end = range_end(iova, size);
	uint64_t marked;

	if (!size)
		return 0;
	if (!is_power_of_two(page_size) || page_size < VFM_PAGE_SIZE)
		marked = mark_range(memory, iova, end);
	else if (page_size == VFM_PAGE_SIZE && is_aligned(iova, VFM_PAGE_SIZE))
		marked = or_same_pages(memory, iova, end, bitmap);
	else
		marked = or_units(memory, iova, end, page_size, bitmap);
	return count_marked(memory, marked);
}

uint64_t memory_dirty_pages(const struct memory *memory)
{
	int64_t pages = __atomic_load_n(&memory->dirty_pages, __ATOMIC_RELAXED);

	return pages > 0 ? (uint64_t)pages : 0;
}
