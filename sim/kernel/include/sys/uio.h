/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
#ifndef KERNEL_SHIM_SYS_UIO_H
#define KERNEL_SHIM_SYS_UIO_H

#include <linux/types.h>

/* Of the kernel's own memory, unlike the kernel's struct of that name. */
struct sim_iovec {
	void *iov_base;
	size_t iov_len;
};
#define iovec sim_iovec

#endif
