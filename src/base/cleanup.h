/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cleanup at the end of a scope, for locals:
 *     CLEANUP(cleanup_free) char *copy = NULL;
 *     CLEANUP(cleanup_close) int fd = -1;
 * The variable must have a value before the first return. To hand the resource on, take it with
 * take_fd() or TAKE_PTR(). errno survives.
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/compiler.h"

/* @ptr is the address of a pointer variable of any type. */
static inline void cleanup_free(void *ptr)
{
	void *memory;

	memcpy(&memory, ptr, sizeof(memory));
	free(memory);
}

static inline void cleanup_close(const int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define TAKE_PTR(ptr)                                                                              \
	({                                                                                         \
		__typeof__(ptr) taken_ptr = (ptr);                                                 \
		(ptr) = NULL;                                                                      \
		taken_ptr;                                                                         \
	})

#endif
