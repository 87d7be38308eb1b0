/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
#ifndef KERNEL_SHIM_ASSERT_H
#define KERNEL_SHIM_ASSERT_H

#include <linux/build_bug.h> /* static_assert */

#endif
