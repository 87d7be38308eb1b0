/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "memory/region.h"

/*
 * Most pages with content show it in their first cache line, and most others are zero to the end:
 * one test per line is as good as any cleverness. A guest that writes here meanwhile is outside
 * of C's memory model, and of the thread sanitizer's.
 */
NO_TSAN bool memory_page_is_zero(const void *page)
{
	const uint64_t *word = page;
	const uint64_t *end = word + VFM_PAGE_SIZE / sizeof(*word);

	for (; word < end; word += 8) {
		if (word[0] | word[1] | word[2] | word[3] | word[4] | word[5] | word[6] | word[7])
			return false;
	}
	return true;
}
