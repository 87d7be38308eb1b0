/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmaps of 64-bit words.
 *
 * Bit i is bit i % 64 of word i / 64. On a little-endian machine, the only kind that is built,
 * that equals bit i % 8 of byte i / 8, so that a bitmap is also the little-endian bit string of
 * KVM, VFIO and vfio-user, without conversion.
 *
 * Threads: the functions with "atomic" or "take" in their names may meet each other on one map
 * without a lock (relaxed order: they move bits and order nothing else). All others need the map
 * for themselves, or at least no writer beside readers.
 *
 * Ranges are [start, start + len) in bits; the caller has checked them against the map's size.
 */
#ifndef BASE_BITMAP_H
#define BASE_BITMAP_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#define BITMAP_WORD_BITS 64u

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "dirty bitmaps are little endian");

/* Words that hold @bits bits. */
static inline uint64_t bitmap_words(uint64_t bits)
{
	return bits / BITMAP_WORD_BITS + (bits % BITMAP_WORD_BITS != 0);
}

static inline void bitmap_set(uint64_t *map, uint64_t bit)
{
	map[bit / BITMAP_WORD_BITS] |= UINT64_C(1) << (bit % BITMAP_WORD_BITS);
}

static inline void bitmap_clear(uint64_t *map, uint64_t bit)
{
	map[bit / BITMAP_WORD_BITS] &= ~(UINT64_C(1) << (bit % BITMAP_WORD_BITS));
}

static inline bool bitmap_test(const uint64_t *map, uint64_t bit)
{
	return map[bit / BITMAP_WORD_BITS] >> (bit % BITMAP_WORD_BITS) & 1;
}

void bitmap_set_range(uint64_t *map, uint64_t start, uint64_t len);
void bitmap_clear_range(uint64_t *map, uint64_t start, uint64_t len);

/* OR @bits into one word. */
static inline void bitmap_or_word_atomic(uint64_t *word, uint64_t bits)
{
	if (bits)
		__atomic_fetch_or(word, bits, __ATOMIC_RELAXED);
}

/* OR @words words of @src, which nobody else writes, into @map. */
void bitmap_or_atomic(uint64_t *map, const uint64_t *src, uint64_t words);

/* Set a range like bitmap_set_range, beside other atomic users. */
void bitmap_set_range_atomic(uint64_t *map, uint64_t start, uint64_t len);

/*
 * Fetch and clear: the bits of the range leave @map and are ORed into @out at the same places.
 * Every bit that is set meanwhile is either taken or still in the map. @out belongs to the caller
 * alone. Returns how many bits were taken.
 */
uint64_t bitmap_take(uint64_t *map, uint64_t *out, uint64_t start, uint64_t len);

/* How many bits of the range are set. */
uint64_t bitmap_count_range(const uint64_t *map, uint64_t start, uint64_t len);

/* How many of the first @bits bits are set. */
static inline uint64_t bitmap_count(const uint64_t *map, uint64_t bits)
{
	return bitmap_count_range(map, 0, bits);
}

/* The first set (zero) bit at or after @from, @bits if there is none before @bits. */
uint64_t bitmap_find_next_set(const uint64_t *map, uint64_t bits, uint64_t from);
uint64_t bitmap_find_next_zero(const uint64_t *map, uint64_t bits, uint64_t from);

#endif
