// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/*
 * What the device's core finds in the C library and in sim/platform.h, of the kernel's parts. Its
 * sizes are the administrator's choice (the state) or have limits in the core (the log).
 */
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include <stdlib.h>
#include <xxhash.h>
#include "sim/device.h"
#include "sim/platform.h"

#define HASH_STRETCH (1u << 20) /* bytes that are hashed without looking up */

void *platform_calloc(size_t count, size_t size)
{
	return kvcalloc(count, size, GFP_KERNEL);
}

void *platform_realloc(void *at, size_t size)
{
	return kvrealloc(at, size, GFP_KERNEL);
}

void platform_release(void *at)
{
	kvfree(at);
}

void platform_sort(void *base, size_t count, size_t size,
		   int (*compare)(const void *a, const void *b))
{
	sort(base, count, size, compare, NULL);
}

/* An administrator who wants too much is told so: nobody is killed for it. */
void *platform_alloc(u64 bytes)
{
	return __vmalloc(bytes, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN | __GFP_RETRY_MAYFAIL);
}

void platform_free(void *at, u64 bytes)
{
	vfree(at);
}

/* Memory that remap_vmalloc_range() takes. */
int platform_create_mailbox(struct mailbox *mailbox)
{
	BUILD_BUG_ON(SIM_BAR_SIZE % PAGE_SIZE);
	mailbox->words = vmalloc_user(SIM_BAR_SIZE);
	return mailbox->words ? 0 : -ENOMEM;
}

void platform_destroy_mailbox(struct mailbox *mailbox)
{
	vfree(mailbox->words);
}

void platform_yield(void)
{
	cond_resched();
}

XXH64_state_t *XXH64_createState(void)
{
	return kmalloc(sizeof(XXH64_state_t), GFP_KERNEL);
}

void XXH64_freeState(XXH64_state_t *state)
{
	kfree(state);
}

u64 XXH64(const void *data, size_t size, u64 seed)
{
	struct xxh64_state state;
	size_t part;

	xxh64_reset(&state, seed);
	for (; size; size -= part, data += part) {
		part = min_t(size_t, size, HASH_STRETCH);
		xxh64_update(&state, data, part);
		cond_resched();
	}
	return xxh64_digest(&state);
}
