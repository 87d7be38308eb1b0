/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
#ifndef KERNEL_SHIM_XXHASH_H
#define KERNEL_SHIM_XXHASH_H

#include <linux/types.h>
#include <linux/xxhash.h>

/* The library's names for the part of it that the kernel has. */
typedef struct xxh64_state XXH64_state_t;

XXH64_state_t *XXH64_createState(void);
void XXH64_freeState(XXH64_state_t *state);

/* In pieces, with a chance for others between them. */
u64 XXH64(const void *data, size_t size, u64 seed);

#define XXH64_reset(state, seed)        xxh64_reset(state, seed)
#define XXH64_update(state, data, size) ((void)xxh64_update(state, data, size))
#define XXH64_digest(state)             xxh64_digest(state)

#endif
