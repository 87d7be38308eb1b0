/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bandwidth: what the wire carries, as the rounds show it.
 *
 * A round with much to send tells by itself. The first one tells little: it pays for memory that
 * the destination touches for the first time, and most of what it looks at may be pages of zeroes.
 * Small rounds are taken together, with their round trips, and so tell too little rather than too
 * much; they count where no large one came, and where they are better than the first.
 */
#ifndef ENGINE_BANDWIDTH_H
#define ENGINE_BANDWIDTH_H

#include <stdint.h>

/* Less tells how long a trip takes, and nothing of the wire: bytes. */
#define BANDWIDTH_TINY (UINT64_C(64) << 10)

/* Bytes per second, 0: not known. Zero bytes: nothing is. */
struct bandwidth {
	uint64_t now;   /* what to count on; not known before the second round */
	uint64_t first; /* of the first round */
	uint64_t large; /* of the last large round */
	uint64_t small_bytes, small_ns;
};

/* A round took @took_ns for @bytes, of which its mark and the answer @trip_ns. @guess: bandwidth
 * where a first round carried next to nothing. */
void bandwidth_add(struct bandwidth *b, uint64_t bytes, uint64_t took_ns, uint64_t trip_ns,
		   uint64_t guess);

/* @bytes in @ns; 0 where no time has passed. */
uint64_t bandwidth_of(uint64_t bytes, uint64_t ns);

#endif
