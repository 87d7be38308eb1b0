/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Little-endian integers as types of their own: a wire struct made of them has no padding and
 * no alignment, and a host number cannot be stored in it by accident.
 */
#ifndef BASE_BYTEORDER_H
#define BASE_BYTEORDER_H

#include <assert.h>
#include <endian.h>
#include <stdint.h>
#include "base/compiler.h"

typedef struct {
	uint16_t raw;
} PACKED le16;

typedef struct {
	uint32_t raw;
} PACKED le32;

typedef struct {
	uint64_t raw;
} PACKED le64;

static_assert(sizeof(le16) == 2 && _Alignof(le16) == 1, "le16 is two bytes anywhere");
static_assert(sizeof(le32) == 4 && _Alignof(le32) == 1, "le32 is four bytes anywhere");
static_assert(sizeof(le64) == 8 && _Alignof(le64) == 1, "le64 is eight bytes anywhere");

static inline uint16_t get_le16(le16 value)
{
	return le16toh(value.raw);
}

static inline uint32_t get_le32(le32 value)
{
	return le32toh(value.raw);
}

static inline uint64_t get_le64(le64 value)
{
	return le64toh(value.raw);
}

static inline le16 put_le16(uint16_t value)
{
	return (le16){.raw = htole16(value)};
}

static inline le32 put_le32(uint32_t value)
{
	return (le32){.raw = htole32(value)};
}

static inline le64 put_le64(uint64_t value)
{
	return (le64){.raw = htole64(value)};
}

#endif
