/* SPDX-License-Identifier: BSD-3-Clause */
#include <vfio-migrate/device.h>
#include "base/checked.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "engine/growth.h"

enum { APART_NS = 10 * 1000 * 1000 }; /* shorter, and single pages would look like a rate */

/* The sizes are the device's word. */
static uint64_t rate_of(uint64_t bytes, uint64_t ns)
{
	return (uint64_t)MIN((double)bytes * NS_PER_SEC / (double)ns, 1e18);
}

void growth_note(struct growth *growth, uint64_t now_ns, uint64_t left, uint64_t read)
{
	uint64_t total, before = growth->total, then = growth->at_ns;

	if (left == VFM_SIZE_UNKNOWN || !checked_add_u64(left, read, &total)) {
		growth->at_ns = 0;
		return;
	}
	growth->largest = MAX(growth->largest, left);
	if (then && now_ns < then + APART_NS)
		return;
	growth->at_ns = now_ns;
	growth->total = total;
	if (then)
		recent_add(&growth->rates,
			   total > before ? rate_of(total - before, now_ns - then) : 0);
}

uint64_t growth_rate(const struct growth *growth)
{
	return recent_median(&growth->rates);
}

uint64_t growth_room(const struct growth *growth, uint64_t left)
{
	return growth->largest - MIN(left, growth->largest);
}
