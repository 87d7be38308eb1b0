/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM that does nothing: memory, and calls that return at once.
 *
 * The memory is a memfd, as a VMM's is that has vfio-user devices. It can be made of a smaller file
 * that is mapped over and over, so that a large VM costs little of this machine's memory: pages
 * that are the same file page then have the same content on both sides, and still travel each.
 */
#ifndef BENCH_GUEST_H
#define BENCH_GUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <vfio-migrate/vm.h>

struct guest {
	uint8_t *memory;
	uint64_t size;
	struct vfm_region region;
	bool running;
	uint64_t seed; /* saved and loaded: the VMM's state */
};

/* @file_size: of the file behind it, a divisor of @size. Every page is touched. 0 or -errno. */
int guest_init(struct guest *guest, uint64_t size, uint64_t file_size);
void guest_destroy(struct guest *guest);

/* Numbers that look random in every word; or zero. Over @size bytes from the start. */
void guest_fill(struct guest *guest, uint64_t size, uint64_t seed);
void guest_clear(struct guest *guest, uint64_t size);

/* Is all memory, and the state, the same? */
bool guest_equal(const struct guest *a, const struct guest *b);

extern const struct vfm_vm_ops guest_ops; /* opaque: struct guest */

#endif
