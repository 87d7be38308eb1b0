/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
#ifndef KERNEL_SHIM_ERRNO_H
#define KERNEL_SHIM_ERRNO_H

#include <linux/errno.h>

#endif
