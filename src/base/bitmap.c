/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bitmap.h"
#include "base/compiler.h"

/* A range is walked as pieces: the part of it that lies in one word, as a mask. */
struct piece {
	uint64_t word;
	uint64_t mask;
};

/* Cut the first piece off the range. False: the range is empty. */
static bool next_piece(uint64_t *start, uint64_t *len, struct piece *piece)
{
	uint64_t offset = *start % BITMAP_WORD_BITS;
	uint64_t bits = MIN(*len, BITMAP_WORD_BITS - offset);

	if (!bits)
		return false;
	piece->word = *start / BITMAP_WORD_BITS;
	piece->mask = (~UINT64_C(0) >> (BITMAP_WORD_BITS - bits)) << offset;
	*start += bits;
	*len -= bits;
	return true;
}

void bitmap_set_range(uint64_t *map, uint64_t start, uint64_t len)
{
	struct piece piece;

	while (next_piece(&start, &len, &piece))
		map[piece.word] |= piece.mask;
}

void bitmap_clear_range(uint64_t *map, uint64_t start, uint64_t len)
{
	struct piece piece;

	while (next_piece(&start, &len, &piece))
		map[piece.word] &= ~piece.mask;
}

void bitmap_or_atomic(uint64_t *map, const uint64_t *src, uint64_t words)
{
	for (uint64_t i = 0; i < words; i++)
		bitmap_or_word_atomic(&map[i], src[i]);
}

void bitmap_set_range_atomic(uint64_t *map, uint64_t start, uint64_t len)
{
	struct piece piece;

	while (next_piece(&start, &len, &piece))
		bitmap_or_word_atomic(&map[piece.word], piece.mask);
}

uint64_t bitmap_take(uint64_t *map, uint64_t *out, uint64_t start, uint64_t len)
{
	uint64_t taken = 0;
	struct piece piece;

	while (next_piece(&start, &len, &piece)) {
		uint64_t *word = &map[piece.word];
		uint64_t bits;

		/* A clean word costs a load and no bus lock. */
		if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & piece.mask))
			continue;
		bits = __atomic_fetch_and(word, ~piece.mask, __ATOMIC_RELAXED) & piece.mask;
		out[piece.word] |= bits;
		taken += (uint64_t)__builtin_popcountll(bits);
	}
	return taken;
}

uint64_t bitmap_count_range(const uint64_t *map, uint64_t start, uint64_t len)
{
	uint64_t count = 0;
	struct piece piece;

	while (next_piece(&start, &len, &piece))
		count += (uint64_t)__builtin_popcountll(map[piece.word] & piece.mask);
	return count;
}

/* The first bit from @from that differs from @flip, a word of all zeroes or all ones. */
static uint64_t find_next(const uint64_t *map, uint64_t bits, uint64_t from, uint64_t flip)
{
	uint64_t start = from, len = from < bits ? bits - from : 0;
	struct piece piece;

	while (next_piece(&start, &len, &piece)) {
		uint64_t found = (map[piece.word] ^ flip) & piece.mask;

		if (found)
			return piece.word * BITMAP_WORD_BITS + (uint64_t)__builtin_ctzll(found);
	}
	return bits;
}

uint64_t bitmap_find_next_set(const uint64_t *map, uint64_t bits, uint64_t from)
{
	return find_next(map, bits, from, 0);
}

uint64_t bitmap_find_next_zero(const uint64_t *map, uint64_t bits, uint64_t from)
{
	return find_next(map, bits, from, ~UINT64_C(0));
}
