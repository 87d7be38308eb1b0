/* SPDX-License-Identifier: BSD-3-Clause */
/* The one clock of the library: monotonic, in nanoseconds. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_SEC  UINT64_C(1000000000)
#define NS_PER_MSEC UINT64_C(1000000)
#define NS_PER_USEC UINT64_C(1000)

static inline uint64_t clock_ns(void)
{
	struct timespec now;

	/* Cannot fail: Linux always has this clock, and the address is ours. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* The moment @ns from now; UINT64_MAX, never, where that is past the last one. */
static inline uint64_t clock_after(uint64_t ns)
{
	uint64_t now = clock_ns();

	return ns > UINT64_MAX - now ? UINT64_MAX : now + ns;
}

#endif
