/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "engine/bandwidth.h"

enum { LARGE_BYTES = 1 << 20 }; /* less says little about the wire */

uint64_t bandwidth_of(uint64_t bytes, uint64_t ns)
{
	return ns ? (uint64_t)((double)bytes * 1e9 / (double)ns) : 0;
}

/* Together as large as a large one, else nothing. */
static uint64_t of_small(const struct bandwidth *b)
{
	return b->small_bytes < LARGE_BYTES ? 0 : bandwidth_of(b->small_bytes, b->small_ns);
}

void bandwidth_add(struct bandwidth *b, uint64_t bytes, uint64_t took_ns, uint64_t trip_ns,
		   uint64_t guess)
{
	uint64_t measured = bandwidth_of(bytes, took_ns - MIN(trip_ns, took_ns / 2));

	if (!b->first) {
		b->first = bytes < BANDWIDTH_TINY ? guess : measured;
		return;
	}
	if (bytes >= LARGE_BYTES) {
		b->large = measured;
	} else {
		b->small_bytes += bytes;
		b->small_ns += took_ns;
	}
	b->now = b->large ? b->large : MAX(b->first, of_small(b));
}
