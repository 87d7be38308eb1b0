/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * recent: the last few measurements of one thing, told by their median, so that one that was
 * disturbed counts for nothing. Zero bytes: none yet.
 */
#ifndef ENGINE_RECENT_H
#define ENGINE_RECENT_H

#include <stdint.h>

enum { RECENT_MAX = 5 };

struct recent {
	uint64_t value[RECENT_MAX];
	unsigned count; /* ever taken */
};

void recent_add(struct recent *recent, uint64_t value);

/* The lower one of two in the middle; 0: none was taken yet. */
uint64_t recent_median(const struct recent *recent);

#endif
