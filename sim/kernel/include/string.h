/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
#ifndef KERNEL_SHIM_STRING_H
#define KERNEL_SHIM_STRING_H

#include <linux/string.h>

#endif
