/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
#ifndef KERNEL_SHIM_ENDIAN_H
#define KERNEL_SHIM_ENDIAN_H

#include <asm/byteorder.h>
#include <linux/types.h>

#define le16toh(x) le16_to_cpu((__force __le16)(x))
#define le32toh(x) le32_to_cpu((__force __le32)(x))
#define le64toh(x) le64_to_cpu((__force __le64)(x))
#define htole16(x) ((__force u16)cpu_to_le16(x))
#define htole32(x) ((__force u32)cpu_to_le32(x))
#define htole64(x) ((__force u64)cpu_to_le64(x))

#endif
