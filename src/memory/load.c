/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * On the other side.
 *
 * Theory of operation. Pages arrive where they belong: memory_load_begin turns a frame's runs into
 * iovecs into guest memory, the channel fills them, memory_load_end looks at what has come. The
 * memory is nobody's meanwhile, since no vCPU and no device of this side runs before COMMIT.
 *
 * Torn pages. A page that a running guest stored to between its digest and the socket's copy does
 * not match its digest. That is no error while the guest runs, nor is the page of any use: it is
 * one that the source's tracker reports, so that it comes again. Two bits per page keep the books:
 *
 *	sure touched
 *	  0     0	never received
 *	  0     1	a bulk is on its way into it, or arrived torn
 *	  1     x	right, as of its last digest
 *
 *	event			sure	touched		a page that tears and recovers:
 *	begin, with content	0	1		frame 1 (live)    begin 0 1, end  torn  0 1
 *	end, digest right	1			frame 2 (live)    begin 0 1, end  right 1 1
 *	end, digest wrong			  	frame 3 (stopped) begin 0 1, end  right 1 1
 *	end, zero		1
 *
 * So a lost second copy, whoever lost it, shows as a page that is not sure, and PREPARED cannot be
 * said. A torn page of a stopped guest has no excuse: -EBADMSG. A corrupted bulk of a live
 * frame looks torn and stays unsure, as its source has no reason to send it again; the migration
 * then fails at its end rather than at once, which costs time and not the VM.
 *
 * Zero pages. Memory of a VFM_REGION_ZEROED region that no bulk touched is zero already and is not
 * even looked at, so that the kernel need not back it. Elsewhere a page is read first, and
 * written only if it has to be.
 *
 * Limits: one loader at a time. Positions were in bounds on the wire (wire_get_memory); here they
 * meet the regions, and since these are the last lines before guest memory is written, so do the
 * counts.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "base/checked.h"
#include "base/compiler.h"
#include "base/error.h"
#include "memory/region.h"

static int check_run(const struct region *region, const struct wire_run *run, uint64_t behind,
		     struct vfm_error *error)
{
	if (!run->count || !range_within(run->first, run->count, region->pages))
		return error_set(error, EPROTO,
				 "memory: %u pages from %" PRIu64 " in region %s that has %" PRIu64,
				 run->count, run->first, region->vfm.name, region->pages);
	if (run->first < behind)
		return error_set(error, EPROTO,
				 "memory: page %" PRIu64 " in region %s overlaps an earlier run",
				 run->first, region->vfm.name);
	return 0;
}

static int check_runs(const struct region *region, const struct wire_memory *wire,
		      struct vfm_error *error)
{
	uint64_t pages = 0, content = 0, behind = 0;

	if (!wire->run_count || wire->run_count > WIRE_RUNS_MAX)
		return error_set(error, EPROTO, "memory: %u runs", wire->run_count);
	for (uint32_t i = 0; i < wire->run_count; i++) {
		const struct wire_run *run = &wire->runs[i];
		int ret = check_run(region, run, behind, error);

		if (ret)
			return ret;
		behind = run->first + run->count;
		pages += run->count;
		content += run->zero ? 0 : run->count;
	}
	if (pages > FRAME_PAGES_MAX)
		return error_set(error, EPROTO, "memory: %" PRIu64 " pages of at most %u",
				 pages, FRAME_PAGES_MAX);
	if (content != wire->page_count || content > WIRE_PAGES_MAX)
		return error_set(error, EPROTO,
				 "memory: runs of %" PRIu64 " pages, %u pages of content",
				 content, wire->page_count);
	return 0;
}

static void count_sure(struct memory *memory, uint64_t more, uint64_t less)
{
	__atomic_fetch_add(&memory->sure_pages, more - less, __ATOMIC_RELAXED);
}

/* A bulk is about to be written over these pages: they are nothing until it was looked at. */
static void expect_run(struct memory *memory, struct region *region, const struct wire_run *run)
{
	count_sure(memory, 0, bitmap_count_range(region->sure, run->first, run->count));
	bitmap_clear_range(region->sure, run->first, run->count);
	bitmap_set_range(region->touched, run->first, run->count);
}

static void add_iovec(struct iovec *iov, int *count, void *base, size_t len)
{
	struct iovec *last = *count ? &iov[*count - 1] : NULL;

	if (last && (char *)last->iov_base + last->iov_len == base)
		last->iov_len += len;
	else
		iov[(*count)++] = (struct iovec){base, len};
}

int memory_load_begin(struct memory *memory, const struct wire_memory *wire, struct iovec *iov,
		      int *iov_count, struct vfm_error *error)
{
	struct region *region;
	int ret;

	*iov_count = 0;
	if (wire->region >= memory->count)
		return error_set(error, EPROTO, "memory: region %u of %u", wire->region,
				 memory->count);
	region = &memory->regions[wire->region];
	ret = check_runs(region, wire, error);
	if (ret)
		return ret;
	for (uint32_t i = 0; i < wire->run_count; i++) {
		const struct wire_run *run = &wire->runs[i];

		if (run->zero)
			continue;
		expect_run(memory, region, run);
		add_iovec(iov, iov_count, region_page(region, run->first),
			  (size_t)run->count * VFM_PAGE_SIZE);
	}
	return 0;
}

static void set_sure(struct memory *memory, struct region *region, uint64_t page)
{
	count_sure(memory, !bitmap_test(region->sure, page), 0);
	bitmap_set(region->sure, page);
}

static void load_zero(struct memory *memory, struct region *region, const struct wire_run *run)
{
	bool zeroed = region->vfm.flags & VFM_REGION_ZEROED;

	for (uint64_t page = run->first; page < run->first + run->count; page++) {
		void *data = region_page(region, page);

		if ((!zeroed || bitmap_test(region->touched, page)) && !memory_page_is_zero(data))
			memset(data, 0, VFM_PAGE_SIZE);
		set_sure(memory, region, page);
	}
}

/* Compare one page with its digest. */
static int load_page(struct memory *memory, struct region *region, uint64_t page, uint64_t digest,
		     bool live, struct vfm_error *error)
{
	if (wire_digest(region_page(region, page), VFM_PAGE_SIZE) == digest) {
		set_sure(memory, region, page);
		return 0;
	}
	if (live)
		return 0;
	return error_set(error, EBADMSG, "page 0x%" PRIx64 " of region %s arrived corrupted",
			 region->vfm.gpa + page * VFM_PAGE_SIZE, region->vfm.name);
}

static int load_content(struct memory *memory, struct region *region, const struct wire_run *run,
			const uint64_t *digests, bool live, struct vfm_error *error)
{
	for (uint32_t i = 0; i < run->count; i++) {
		int ret = load_page(memory, region, run->first + i, digests[i], live, error);

		if (ret)
			return ret;
	}
	return 0;
}

int memory_load_end(struct memory *memory, const struct wire_memory *wire, bool live,
		    struct vfm_error *error)
{
	struct region *region = &memory->regions[wire->region];
	const uint64_t *digests = wire->digests;
	uint64_t pages = 0;

	for (uint32_t i = 0; i < wire->run_count; i++) {
		const struct wire_run *run = &wire->runs[i];

		pages += run->count;
		if (run->zero) {
			load_zero(memory, region, run);
		} else {
			int ret = load_content(memory, region, run, digests, live, error);

			if (ret)
				return ret;
			digests += run->count;
		}
	}
	__atomic_fetch_add(&memory->loaded_pages, pages, __ATOMIC_RELAXED);
	return 0;
}

uint64_t memory_unsure_pages(const struct memory *memory)
{
	return memory->total_pages - __atomic_load_n(&memory->sure_pages, __ATOMIC_RELAXED);
}

uint64_t memory_loaded_pages(const struct memory *memory)
{
	return __atomic_load_n(&memory->loaded_pages, __ATOMIC_RELAXED);
}
