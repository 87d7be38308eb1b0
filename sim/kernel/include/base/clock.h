/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/* Of src/base/clock.h, what the device needs, which has no clock. */
#ifndef KERNEL_SHIM_BASE_CLOCK_H
#define KERNEL_SHIM_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_SEC  UINT64_C(1000000000)
#define NS_PER_MSEC UINT64_C(1000000)
#define NS_PER_USEC UINT64_C(1000)

#endif
