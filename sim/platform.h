/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the device needs of where it runs, beside the C library's names: platform-user.c here, and
 * kernel/platform.c in the kernel.
 */
#ifndef SIM_PLATFORM_H
#define SIM_PLATFORM_H

#include <stdint.h>

struct mailbox;

/* The internal memory: @bytes of zeroes, NULL if there is not so much. Freeing NULL is allowed. */
void *platform_alloc(uint64_t bytes);
void platform_free(void *at, uint64_t bytes);

/* The mailbox' memory, zeroes, which others can map. What a failed call leaves is destroyed, too. */
int platform_create_mailbox(struct mailbox *mailbox);
void platform_destroy_mailbox(struct mailbox *mailbox);

/* Others may want the processor: called within long work. */
void platform_yield(void);

#endif
