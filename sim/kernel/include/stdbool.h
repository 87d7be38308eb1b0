/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
#ifndef KERNEL_SHIM_STDBOOL_H
#define KERNEL_SHIM_STDBOOL_H

#include <linux/types.h>

#endif
