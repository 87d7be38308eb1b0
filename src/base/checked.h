/* SPDX-License-Identifier: BSD-3-Clause */
/* Arithmetic on numbers that a peer may have chosen: a false return instead of a wrong sum. */
#ifndef BASE_CHECKED_H
#define BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/compiler.h"

/* True: the exact result is in @out. False: it does not fit, and @out is not to be used. */
MUST_CHECK static inline bool checked_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

MUST_CHECK static inline bool checked_sub_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_sub_overflow(a, b, out);
}

MUST_CHECK static inline bool checked_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

MUST_CHECK static inline bool checked_add_size(size_t a, size_t b, size_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

MUST_CHECK static inline bool checked_mul_size(size_t a, size_t b, size_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

/* Does [start, start + len) lie inside [0, limit)? An empty range may start at the limit. */
static inline bool range_within(uint64_t start, uint64_t len, uint64_t limit)
{
	return start <= limit && len <= limit - start;
}

/* Do the two ranges share a byte? Right for any numbers, also when a sum would wrap. */
static inline bool ranges_overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	if (!a_len || !b_len)
		return false;
	return a < b ? b - a < a_len : a - b < b_len;
}

/* @align is a power of two in all of these. */
static inline bool is_power_of_two(uint64_t value)
{
	return value && !(value & (value - 1));
}

static inline bool is_aligned(uint64_t value, uint64_t align)
{
	return !(value & (align - 1));
}

static inline uint64_t align_down(uint64_t value, uint64_t align)
{
	return value & ~(align - 1);
}

MUST_CHECK static inline bool checked_align_up(uint64_t value, uint64_t align, uint64_t *out)
{
	uint64_t sum;

	if (!checked_add_u64(value, align - 1, &sum))
		return false;
	*out = align_down(sum, align);
	return true;
}

/* Rounded up, without a sum that could wrap; @by is not 0. */
static inline uint64_t div_round_up(uint64_t value, uint64_t by)
{
	return value / by + (value % by != 0);
}

#endif
