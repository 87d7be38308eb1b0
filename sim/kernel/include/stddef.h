/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
#ifndef KERNEL_SHIM_STDDEF_H
#define KERNEL_SHIM_STDDEF_H

#include <linux/stddef.h>
#include <linux/types.h>

#endif
