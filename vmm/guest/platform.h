/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the work needs of the machine under it. It exists twice: guest/main.c on a virtual
 * machine without anything, and vmm/thread.c on a host thread. The work itself is the same.
 */
#ifndef VMM_GUEST_PLATFORM_H
#define VMM_GUEST_PLATFORM_H

#include "vmm/guest/abi.h"

struct platform;

/* Guest time: never goes back, also not over a migration. */
uint64_t platform_now(struct platform *p);

uint32_t platform_read32(struct platform *p, uint64_t gpa);
uint64_t platform_read64(struct platform *p, uint64_t gpa);
void platform_write32(struct platform *p, uint64_t gpa, uint32_t value);
void platform_write64(struct platform *p, uint64_t gpa, uint64_t value);

/* I/O ports. */
uint8_t platform_in8(struct platform *p, uint16_t port);
uint32_t platform_in32(struct platform *p, uint16_t port);
void platform_out8(struct platform *p, uint16_t port, uint8_t value);
void platform_out32(struct platform *p, uint16_t port, uint32_t value);

/* Let @pin of the I/O APIC, a level, interrupt vCPU 0 with @vector. */
void platform_route(struct platform *p, uint32_t pin, uint32_t vector);

/* A character to the serial port. */
void platform_put(struct platform *p, char c);

/* Tell the VMM that the failure record is complete. */
void platform_panic(struct platform *p);

/* The VMM's parameters, and guest memory at @gpa. */
#ifdef GUEST_FREESTANDING
static inline const struct guest_params *platform_params(struct platform *p)
{
	return (const struct guest_params *)(uint64_t)GUEST_PARAMS_GPA;
}

static inline void *platform_ptr(struct platform *p, uint64_t gpa)
{
	return (void *)gpa;
}

static inline void platform_stored(struct platform *p, uint64_t gpa, uint64_t size)
{
	/* KVM sees stores by itself. */
}
#else
/* The VMM's own copy: the one in guest memory may have come from a peer. */
const struct guest_params *platform_params(struct platform *p);
void *platform_ptr(struct platform *p, uint64_t gpa);

/* Said after each store to guest memory, never before: a page that is marked first could be
 * sent and forgotten before the store happens. */
void platform_stored(struct platform *p, uint64_t gpa, uint64_t size);
#endif

#endif
