/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/* As src/base/compiler.h, with the kernel's words for what it has itself. */
#ifndef KERNEL_SHIM_BASE_COMPILER_H
#define KERNEL_SHIM_BASE_COMPILER_H

#include <linux/array_size.h>
#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/container_of.h>
#include <linux/minmax.h> /* before what is below */

#define PACKED      __packed
#define UNUSED      __maybe_unused
#define MUST_CHECK  __must_check
#define FALLTHROUGH fallthrough
#define VFM_API

/* Without libgcc. */
#define __builtin_popcountll(x) hweight64(x)

/* The kernel's, where it has them, evaluate twice. */
#undef MIN
#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) min_a = (a);                                                         \
		__typeof__(b) min_b = (b);                                                         \
		min_a < min_b ? min_a : min_b;                                                     \
	})
#undef MAX
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) max_a = (a);                                                         \
		__typeof__(b) max_b = (b);                                                         \
		max_a > max_b ? max_a : max_b;                                                     \
	})

#endif
