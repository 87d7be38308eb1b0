/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What to send next.
 *
 * Theory of operation. A pass walks all regions once, by a cursor that several sender threads
 * share. memory_next takes turns at two steps until its batch is full:
 *
 *	claim	under the cursor's lock: move on over clean words, take set bits with a fetch-and-
 *		clear, at most as many as would fit if every page had content and a run of its own
 *	add	without a lock: look at each claimed page, and either count it as zero or digest it
 *		and point an iovec at it
 *
 *	dirty	..111111 1.......  two claims of at most 4 pages, one thread:
 *	           ^  ^ page 5 is zero
 *	claim	  2345			cursor: 6
 *	add	  runs {2,3} {5,1 zero}		iov: one element of 3 pages
 *	claim	      678		cursor: 9   (a zero page took no room)
 *	add	  runs {2,3} {5,1 zero} {6,3}	iov: 3 pages, 3 pages
 *
 * A claim belongs to one region and begins where the last one ended, so a batch's runs ascend. A
 * page that is marked again behind the cursor waits for the next pass, so a pass ends, whatever
 * the guest does. Nobody but a claim clears a dirty bit.
 *
 * Live pages. The guest may store to a page at any time between claim and socket. The claim comes
 * first, then the look, then the socket's copy; a store after the claim is in a later report of
 * the tracker, and the page is dirty again. What the destination meanwhile gets is
 *	- a page whose digest does not match its bytes (stored to between digest and copy): it is
 *	  torn, which the destination sees and notes (load.c), or
 *	- a page called zero that is so no longer: whole and old, as if sent a moment earlier,
 * and either is mended by the later copy. Once vCPUs and devices are stopped there are no stores,
 * and neither can happen.
 *
 * Cost. No system call. A clean word, 64 pages, costs one load. Memory that was never touched is
 * read like any other: the kernel backs such a page of a shared mapping when it is looked at.
 */
#include "base/compiler.h"
#include "memory/region.h"

#define REGION_ANY UINT32_MAX

/* Pages taken at once, one entry per word of the region's map that had any. */
struct claim {
	uint32_t region; /* in: the only one to take from, or REGION_ANY */
	unsigned count;
	uint64_t pages;
	struct {
		uint64_t word;
		uint64_t bits;
	} words[WIRE_PAGES_MAX];
};

/* The first word at or behind @word that is not clean, @words if all are. */
static uint64_t skip_clean(const uint64_t *dirty, uint64_t word, uint64_t words)
{
	while (word < words && !__atomic_load_n(&dirty[word], __ATOMIC_RELAXED))
		word++;
	return word;
}

/* The lowest @count set bits of @bits. */
static uint64_t lowest(uint64_t bits, uint64_t count)
{
	uint64_t kept = 0;

	if ((uint64_t)__builtin_popcountll(bits) <= count)
		return bits;
	for (; count; count--) {
		kept |= bits & -bits;
		bits &= bits - 1;
	}
	return kept;
}

static unsigned highest(uint64_t bits)
{
	return 63u - (unsigned)__builtin_clzll(bits);
}

/* Take at most @count pages of @word from page @from on. Returns the page behind the last look. */
static uint64_t claim_word(struct region *region, uint64_t from, uint64_t count,
			   struct claim *claim)
{
	uint64_t word = from / BITMAP_WORD_BITS;
	uint64_t bits = __atomic_load_n(&region->dirty[word], __ATOMIC_RELAXED);
	uint64_t taken;

	bits &= UINT64_MAX << (from % BITMAP_WORD_BITS);
	taken = lowest(bits, count);
	if (taken) {
		__atomic_fetch_and(&region->dirty[word], ~taken, __ATOMIC_ACQ_REL);
		claim->words[claim->count].word = word;
		claim->words[claim->count].bits = taken;
		claim->count++;
		claim->pages += (uint64_t)__builtin_popcountll(taken);
	}
	return word * BITMAP_WORD_BITS + (taken == bits ? BITMAP_WORD_BITS : highest(taken) + 1);
}

/* Take at most @count pages from @page on. Returns where to go on. */
static uint64_t claim_pages(struct region *region, uint64_t page, uint64_t count,
			    struct claim *claim)
{
	uint64_t words = bitmap_words(region->pages);

	while (page < region->pages && claim->pages < count) {
		uint64_t word = skip_clean(region->dirty, page / BITMAP_WORD_BITS, words);

		page = MAX(page, word * BITMAP_WORD_BITS);
		if (page < region->pages)
			page = claim_word(region, page, count - claim->pages, claim);
	}
	return page;
}

/* With the lock held. */
static void claim_at_cursor(struct memory *memory, uint64_t count, struct claim *claim)
{
	while (memory->cursor_region < memory->count && !claim->pages) {
		struct region *region = &memory->regions[memory->cursor_region];

		if (claim->region != REGION_ANY && claim->region != memory->cursor_region)
			return;
		memory->cursor_page = claim_pages(region, memory->cursor_page, count, claim);
		if (claim->pages)
			claim->region = memory->cursor_region;
		if (memory->cursor_page >= region->pages) {
			memory->cursor_region++;
			memory->cursor_page = 0;
		}
	}
}

static bool claim_next(struct memory *memory, uint64_t count, struct claim *claim)
{
	claim->count = 0;
	claim->pages = 0;
	pthread_mutex_lock(&memory->cursor_lock);
	claim_at_cursor(memory, count, claim);
	pthread_mutex_unlock(&memory->cursor_lock);
	__atomic_fetch_sub(&memory->dirty_pages, (int64_t)claim->pages, __ATOMIC_RELAXED);
	return claim->pages != 0;
}

/* Count @page into the last run, or begin one. True: it went into the last one. */
static bool add_to_runs(struct wire_memory *wire, uint64_t page, bool zero)
{
	struct wire_run *run = wire->run_count ? &wire->runs[wire->run_count - 1] : NULL;

	if (run && run->zero == zero && run->first + run->count == page) {
		run->count++;
		return true;
	}
	wire->runs[wire->run_count++] = (struct wire_run){.first = page, .count = 1, .zero = zero};
	return false;
}

static void add_page(struct memory_batch *batch, struct region *region, uint64_t page)
{
	void *data = region_page(region, page);
	bool zero = memory_page_is_zero(data);
	bool joined = add_to_runs(&batch->wire, page, zero);

	batch->pages++;
	if (zero) {
		batch->zero_pages++;
		return;
	}
	batch->wire.digests[batch->wire.page_count++] = wire_digest(data, VFM_PAGE_SIZE);
	if (joined)
		batch->iov[batch->iov_count - 1].iov_len += VFM_PAGE_SIZE;
	else
		batch->iov[batch->iov_count++] = (struct iovec){data, VFM_PAGE_SIZE};
}

static void add_claim(struct memory_batch *batch, struct region *region, const struct claim *claim)
{
	for (unsigned i = 0; i < claim->count; i++) {
		uint64_t first = claim->words[i].word * BITMAP_WORD_BITS;
		uint64_t bits = claim->words[i].bits;

		for (; bits; bits &= bits - 1)
			add_page(batch, region, first + (uint64_t)__builtin_ctzll(bits));
	}
}

/* How many pages surely still fit. */
static uint64_t room(const struct memory_batch *batch, uint64_t content_max)
{
	uint64_t left = FRAME_PAGES_MAX - batch->pages;

	left = MIN(left, content_max - batch->wire.page_count);
	return MIN(left, WIRE_RUNS_MAX - batch->wire.run_count);
}

static void batch_init(struct memory_batch *batch)
{
	batch->wire.region = 0;
	batch->wire.run_count = 0;
	batch->wire.page_count = 0;
	batch->iov_count = 0;
	batch->pages = 0;
	batch->zero_pages = 0;
}

void memory_rewind(struct memory *memory)
{
	pthread_mutex_lock(&memory->cursor_lock);
	memory->cursor_region = 0;
	memory->cursor_page = 0;
	pthread_mutex_unlock(&memory->cursor_lock);
}

bool memory_next(struct memory *memory, struct memory_batch *batch, uint32_t max_bytes)
{
	uint32_t content_max = MIN(max_bytes / VFM_PAGE_SIZE, WIRE_PAGES_MAX);
	struct claim claim;
	uint64_t left;

	/* A limit below one page would never end. */
	content_max = MAX(content_max, 1u);
	claim.region = REGION_ANY;
	batch_init(batch);
	while ((left = room(batch, content_max)) && claim_next(memory, left, &claim)) {
		batch->wire.region = claim.region;
		add_claim(batch, &memory->regions[claim.region], &claim);
	}
	return batch->pages != 0;
}
