/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices whose state takes no memory: its bytes are computed from their place when they are read,
 * and compared when they are written. So what a process holds is the engine's.
 */
#ifndef BENCH_COMPUTED_H
#define BENCH_COMPUTED_H

#include "device/device.h"

struct computed {
	struct vfm_device dev; /* the first member */
	uint64_t size;         /* bytes of state, a multiple of 8 */
	uint64_t at;           /* next byte of the data session */
};

/* 0 or -errno. Leaving RESUMING fails with EBADMSG unless all of it came. */
int computed_init(struct computed *device, const char *name, uint64_t size);

#endif
