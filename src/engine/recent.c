/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>
#include "base/compiler.h"
#include "engine/recent.h"

void recent_add(struct recent *recent, uint64_t value)
{
	recent->value[recent->count++ % RECENT_MAX] = value;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t recent_median(const struct recent *recent)
{
	unsigned count = MIN(recent->count, (unsigned)RECENT_MAX);
	uint64_t sorted[RECENT_MAX];

	if (!count)
		return 0;
	memcpy(sorted, recent->value, sizeof(sorted));
	qsort(sorted, count, sizeof(*sorted), compare);
	return sorted[(count - 1) / 2];
}
