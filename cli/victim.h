/* SPDX-License-Identifier: BSD-3-Clause */
/* A process of ours that uses a device until it is killed: `vfio-migrate check --hold`. */
#ifndef CLI_VICTIM_H
#define CLI_VICTIM_H

#include "process.h"

struct victim {
	struct process process;
	int log; /* a memfd with what it says */
};

/* Until it says that it is at it. 0 or -errno: -ETIMEDOUT, -ECHILD: it ended by itself. */
int victim_start(struct victim *victim, const char *device, const char *what);
/* SIGKILL, and wait until it has ended. */
void victim_kill(struct victim *victim);

#endif
