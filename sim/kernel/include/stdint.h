/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
#ifndef KERNEL_SHIM_STDINT_H
#define KERNEL_SHIM_STDINT_H

#include <linux/limits.h>
#include <linux/types.h>

/* The kernel's uint64_t is unsigned long long. */
#define UINT64_C(c) c##ULL
#define UINT32_MAX  U32_MAX
#define UINT64_MAX  U64_MAX
#define INT64_MAX   S64_MAX

#endif
