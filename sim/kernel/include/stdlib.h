/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
#ifndef KERNEL_SHIM_STDLIB_H
#define KERNEL_SHIM_STDLIB_H

#include <linux/types.h>

/* Memory of any size, for the device: ../platform.c */
void *platform_calloc(size_t count, size_t size);
void *platform_realloc(void *at, size_t size);
void platform_release(void *at);
void platform_sort(void *base, size_t count, size_t size,
		   int (*compare)(const void *a, const void *b));

#define malloc(size)                       platform_realloc(NULL, size)
#define calloc(count, size)                platform_calloc(count, size)
#define realloc(at, size)                  platform_realloc(at, size)
#define free(at)                           platform_release(at)
#define qsort(base, count, size, compare)  platform_sort(base, count, size, compare)

#endif
