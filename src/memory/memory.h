/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory: guest memory as a migration sees it.
 *
 *	who dirtied what               what to send next             on the other side
 *
 *	vm_ops.dirty_sync ─┐
 *	device 0's log ────┼─OR─> dirty bitmap ──memory_next──> batch ──wire──> memory_load
 *	device 1's log ────┘       (per region)   clears bits            in place, then digests
 *
 * Source: one bitmap per region. Reports OR into it (atomically, from several threads); taking a
 * batch clears the bits that it takes. A page that is reported while its copy is on the way is
 * dirty again and comes in a later round. Any failed report marks what it should have covered.
 *
 * Destination: one bitmap per region of pages that are not known to be right: all at first (never
 * received), set again when a live page arrives torn, cleared when it arrives whole. It must be
 * empty before PREPARED.
 *
 * Threads: memory_mark*, memory_or and memory_next may run at the same time in several threads.
 * The rest belongs to one thread at a time.
 */
#ifndef MEMORY_MEMORY_H
#define MEMORY_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <vfio-migrate/vm.h>
#include "wire/wire.h"

struct memory;

/* Checks the regions (see vfm_source_new) and copies them; there may be none. @error gets every
 * fault, not the first alone. -EINVAL, -ENOMEM. */
int memory_new(const struct vfm_region *regions, unsigned count, struct memory **memory,
	       struct vfm_error *error);
void memory_free(struct memory *memory);

unsigned memory_region_count(const struct memory *memory);
const struct vfm_region *memory_region(const struct memory *memory, unsigned index);
uint64_t memory_total_pages(const struct memory *memory);

/* ---- source ---- */

void memory_mark_all(struct memory *memory);
void memory_mark_region(struct memory *memory, unsigned index);
/* Mark pages by guest physical address; parts outside of all regions are ignored. */
void memory_mark_gpa(struct memory *memory, uint64_t gpa, uint64_t size);

/* OR a region's report in: @bitmap has a bit per page of the region. Bits past its end are
 * ignored. Returns the number of pages that were newly marked. */
uint64_t memory_or(struct memory *memory, unsigned index, const uint64_t *bitmap);

/* OR in a device's report of [iova, iova + size) with pages of @page_size (a power of two of at
 * least VFM_PAGE_SIZE): each bit marks all pages that it covers. */
uint64_t memory_or_iova(struct memory *memory, uint64_t iova, uint64_t size, uint64_t page_size,
			const uint64_t *bitmap);

uint64_t memory_dirty_pages(const struct memory *memory);

/* A scratch bitmap big enough for any one region, zeroed for region @index; owned by @memory,
 * steering thread only. */
uint64_t *memory_scratch(struct memory *memory, unsigned index);

/* Begin a pass: memory_next will walk all regions once from the start. */
void memory_rewind(struct memory *memory);

/* A batch: what goes into one MEMORY frame. iov points into guest memory. */
struct memory_batch {
	struct wire_memory wire; /* runs, digests, counts */
	struct iovec iov[WIRE_PAGES_MAX];
	int iov_count;
	uint64_t pages;          /* zero ones too */
	uint64_t zero_pages;
};

/* Take the next dirty pages: at most @max_bytes of pages with content. False: the pass is over. */
bool memory_next(struct memory *memory, struct memory_batch *batch, uint32_t max_bytes);

/* ---- destination ---- */

/* Where the bulk of a frame goes, after @wire was checked against the regions; adjoining pages share
 * one element. -EPROTO with the reason in @error (unmapped, out of range). */
int memory_load_begin(struct memory *memory, const struct wire_memory *wire, struct iovec *iov,
		      int *iov_count, struct vfm_error *error);

/* After the bulk has arrived in place: compare digests, zero the zero pages, keep the books.
 * @live false: a wrong digest is -EBADMSG. */
int memory_load_end(struct memory *memory, const struct wire_memory *wire, bool live,
		    struct vfm_error *error);

/* Pages not known to be right; 0 when all is here. */
uint64_t memory_unsure_pages(const struct memory *memory);

/* Pages loaded so far, zero ones too, repeats counted. */
uint64_t memory_loaded_pages(const struct memory *memory);

#endif
